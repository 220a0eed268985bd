//! A script of Lua instead of the notification logic, in the interpreter that this was built with. It knows subscriptions of
//! EWS and WaitSets, and of an input no more than what they need: it is less than what it is beside.

use mlua::{Function, Lua, Result, Table};
use postbell_contest::{Input, Rival, play};
use postbell_notify::contract::{Batch, Change, Happening, Item, Moment, Reaction, Reply, Request};

struct Script {
    lua: Lua,
    ingest: Function,
    subscribe: Function,
    make_set: Function,
    wait: Function,
}

fn main() -> Result<()> {
    let lua = Lua::new();
    let exported: Table = lua.load(include_str!("notify.lua")).set_name("notify.lua").eval()?;
    let [ingest, subscribe, make_set, wait] =
        ["ingest", "subscribe", "make_set", "wait"].map(|name| exported.get(name));
    play(Script { ingest: ingest?, subscribe: subscribe?, make_set: make_set?, wait: wait?, lua });
    Ok(())
}

impl Rival for Script {
    fn take(&mut self, at: Moment, input: Input) -> Option<Reaction> {
        match input {
            Input::Ingest(batch) => Some(self.ingest(at, &batch).expect("the script has no fault")),
            Input::Answer(request) => {
                self.answer(&request).expect("the script has no fault");
                None
            }
            Input::Open { .. } | Input::Settled(_) | Input::Swap => None,
        }
    }
}

impl Script {
    /// What of a batch scripts are told, as tables; and the answers that they give to whoever waits.
    fn ingest(&self, at: Moment, batch: &Batch) -> Result<Reaction> {
        let groups = self.lua.create_table_with_capacity(batch.accounts.len(), 0)?;
        for group in &batch.accounts {
            let changes = self.lua.create_table_with_capacity(group.changes.len(), 0)?;
            for change in &group.changes {
                changes.raw_push(self.change(change)?)?;
            }
            let entry = self.lua.create_table_with_capacity(0, 2)?;
            entry.raw_set("account", group.account.as_str())?;
            entry.raw_set("changes", changes)?;
            groups.raw_push(entry)?;
        }
        let answers: Table = self.ingest.call((groups, at.now))?;
        let mut reaction = Reaction::default();
        for answer in answers.sequence_values::<Table>() {
            let answer = answer?;
            let body = answer.raw_get::<mlua::LuaString>("body")?.as_bytes().to_vec();
            reaction.replies.push(Reply { to: answer.raw_get("to")?, status: 200, body, ..Reply::default() });
        }
        Ok(reaction)
    }

    fn change(&self, change: &Change) -> Result<Table> {
        let (what, item) = told(&change.what);
        let table = self.lua.create_table_with_capacity(0, 7)?;
        table.raw_set("what", what)?;
        table.raw_set("at", change.at)?;
        table.raw_set("id", item.id.as_str())?;
        table.raw_set("folder", item.folder.as_str())?;
        if let Some(counts) = change.counts.first() {
            table.raw_set("counted", counts.folder.as_str())?;
            table.raw_set("unread", counts.unread)?;
            table.raw_set("total", counts.total)?;
        }
        Ok(table)
    }

    /// Of requests it is told who asks for what: what reads them is no part of the script.
    fn answer(&self, request: &Request) -> Result<()> {
        let body = String::from_utf8_lossy(&request.body);
        let names = || body.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next());
        if body.contains("<m:Subscribe>") {
            let postbell_notify::contract::Access::Granted(grant) = &request.access else { return Ok(()) };
            self.subscribe.call::<()>(grant.account.id.as_str())
        } else if body.contains("<CreateWaitSetRequest") {
            self.make_set.call::<()>(self.lua.create_sequence_from(names())?)
        } else if body.contains("<WaitSetRequest") {
            self.wait.call::<()>((request.id, self.lua.create_sequence_from(names())?))
        } else {
            Ok(())
        }
    }
}

/// What happened, in a word, to which item.
fn told(what: &Happening) -> (&'static str, &Item) {
    match what {
        Happening::MessageDelivered(item) => ("delivered", item),
        Happening::ItemCreated(item) => ("created", item),
        Happening::ItemModified(alteration) => ("modified", &alteration.item),
        Happening::ItemDeleted(item) => ("deleted", item),
        other => panic!("the bench has none of these: {other:?}"),
    }
}
