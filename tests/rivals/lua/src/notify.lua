-- Who is told of what happens in mailboxes: the events of each account, as many as EWS's subscriptions may still ask for, and
-- one WaitSet of Zimbra's with all of its members.

local HISTORY = 60 -- events that are kept of an account
local KINDS = {
  delivered = { "CreatedEvent", "NewMailEvent" },
  created = { "CreatedEvent" },
  modified = { "ModifiedEvent" },
  deleted = { "DeletedEvent" },
}

local accounts = {} -- by name
local sequence = 0
local set = { members = {}, changed = {}, seq = 0, waiting = nil }

local function account(name)
  local found = accounts[name]
  if not found then
    found = { events = {}, first = 1, last = 0, subscriptions = {} }
    accounts[name] = found
  end
  return found
end

local function record(here, event)
  here.last = here.last + 1
  here.events[here.last] = event
  if here.last - here.first >= HISTORY then
    here.events[here.first] = nil
    here.first = here.first + 1
  end
end

-- Subscribes to all folders and all kinds of events.
local function subscribe(name)
  local here = account(name)
  here.subscriptions[#here.subscriptions + 1] = { read = here.last, pending = 0 }
end

local function add(names)
  for _, name in ipairs(names) do
    set.members[name] = true
  end
end

-- Waits; what changed since is answered with the next change, as nobody asks twice here.
local function wait(request, names)
  add(names)
  set.waiting = request
end

local function answer()
  local parts = {
    '<soap:Envelope xmlns:soap="http://www.w3.org/2003/05/soap-envelope"><soap:Header><context xmlns="urn:zimbra"/>',
    '</soap:Header><soap:Body><WaitSetResponse xmlns="urn:zimbraMail" waitSet="1" seq="', tostring(set.seq), '">',
  }
  for name in pairs(set.changed) do
    parts[#parts + 1] = '<a id="' .. name .. '"/>'
  end
  parts[#parts + 1] = "</WaitSetResponse></soap:Body></soap:Envelope>"
  set.changed = {}
  return table.concat(parts)
end

local function ingest(groups, now)
  local answers = {}
  for _, group in ipairs(groups) do
    local name = group.account
    local here = accounts[name]
    for _, change in ipairs(group.changes) do
      sequence = sequence + 1
      if here and #here.subscriptions > 0 then
        local before = here.last
        for _, kind in ipairs(KINDS[change.what]) do
          record(here, { kind = kind, id = change.id, folder = change.folder, at = change.at, sequence = sequence })
        end
        if change.counted then
          record(here, {
            kind = "ModifiedEvent", id = change.counted, at = change.at, sequence = sequence,
            unread = change.unread, total = change.total,
          })
        end
        for _, subscription in ipairs(here.subscriptions) do
          subscription.pending = subscription.pending + here.last - before
          -- What it has not read is gone: it has missed events.
          if subscription.read < here.first - 1 then
            subscription.missed = true
          end
        end
      end
      if set.members[name] then
        set.changed[name] = true
      end
    end
  end
  if set.waiting and next(set.changed) then
    set.seq = sequence
    answers[1] = { to = set.waiting, body = answer() }
    set.waiting = nil
  end
  return answers
end

return { ingest = ingest, subscribe = subscribe, make_set = add, wait = wait }
