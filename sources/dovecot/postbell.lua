-- Hands what happens in mailboxes to `postbell source dovecot`: a script for the Lua driver of Dovecot's push notifications.
--
-- Every transaction is one write to the end of a file, so neither deliveries nor clients ever wait for a network, and
-- nothing is lost while nobody reads. The file's folder must exist; whoever Dovecot delivers as must be able to write there.

local default_file = "/var/spool/postbell/events"

-- What is left out (message_read, message_trash) only repeats flags_set.
local names = {
  "message_new", "message_append", "message_expunge", "flags_set", "flags_clear", "mailbox_create", "mailbox_delete",
  "mailbox_rename",
}

-- What is passed on of an event; the rest of it tells of the message's content.
local members = {
  "name", "mailbox", "mailbox_old", "uid", "uid_validity", "message_id", "flags", "keywords",
}

local escaped = '[%c"\\]'

local function escape(character)
  return string.format("\\u%04x", string.byte(character))
end

local function json(value)
  if type(value) == "number" then return string.format("%d", value) end
  if type(value) == "table" then
    local items = {}
    for index, item in ipairs(value) do items[index] = json(item) end
    return "[" .. table.concat(items, ",") .. "]"
  end
  return '"' .. tostring(value):gsub(escaped, escape) .. '"'
end

local function line(user, event, more)
  local parts = { '"user":' .. json(user), '"time":' .. json(os.time()) }
  for _, member in ipairs(members) do
    if event[member] ~= nil then parts[#parts + 1] = json(member) .. ":" .. json(event[member]) end
  end
  for member, value in pairs(more) do parts[#parts + 1] = json(member) .. ":" .. json(value) end
  return "{" .. table.concat(parts, ",") .. "}\n"
end

-- How full a mailbox is now, and its highest modification sequence. It may be gone already, or be another user's: then
-- nothing is said of it.
local function state(user, mailbox)
  local known, status = pcall(function()
    local box = user:mailbox(mailbox)
    box:sync()
    local storage = dovecot.storage
    local status = box:status(storage.STATUS_UNSEEN, storage.STATUS_MESSAGES, storage.STATUS_HIGHESTMODSEQ)
    box:free()
    return status
  end)
  if not known then return {} end
  return { unread = status.unseen, messages = status.messages, modseq = status.highest_modseq }
end

-- One write, whole or not at all: the file is opened to append, and the buffer is larger than what is written.
local function append(file, text)
  local handle, problem = io.open(file, "a")
  if not handle then return dovecot.i_error("postbell: nothing is told: " .. tostring(problem)) end
  handle:setvbuf("full", #text + 1)
  local written, why = handle:write(text)
  local closed, reason = handle:close()
  if not written or not closed then dovecot.i_error("postbell: nothing is told: " .. tostring(why or reason)) end
end

function dovecot_lua_notify_begin_txn(user)
  return { user = user, events = {} }
end

for _, name in ipairs(names) do
  _G["dovecot_lua_notify_event_" .. name] = function(transaction, event)
    -- Before flags are set Dovecot tells of flags that were cleared, though none was.
    if (name == "flags_set" or name == "flags_clear") and #event.flags == 0 and #event.keywords == 0 then return end
    -- The table is Dovecot's: it is gone when this returns.
    local kept = {}
    for _, member in ipairs(members) do kept[member] = event[member] end
    transaction.events[#transaction.events + 1] = kept
  end
end

function dovecot_lua_notify_end_txn(transaction, success)
  local events, lines, states = transaction.events, {}, {}
  -- The counts are those after all of it: they stand with the last event of each mailbox.
  for index = #events, 1, -1 do
    local event, more = events[index], {}
    if event.uid ~= nil and states[event.mailbox] == nil then
      more = state(transaction.user, event.mailbox)
      states[event.mailbox] = more
    elseif event.uid ~= nil then
      more = { modseq = states[event.mailbox].modseq }
    end
    lines[index] = line(transaction.user.username, event, more)
  end
  if #lines > 0 then
    append(transaction.user:plugin_getenv("postbell_events") or default_file, table.concat(lines))
  end
end
