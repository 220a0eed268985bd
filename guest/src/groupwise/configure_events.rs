//! configureEventsRequest: makes or alters the configuration of a key. One that says nothing of what is to be recorded
//! keeps what was said before; everything else is as it is said now.

use super::asked::text_of;
use super::events::configuration::{Configuration, Containers, DEFAULT_PERSISTENCE, Definition, words};
use super::events::key::Key;
use super::events::times;
use super::events::words::{EventType, Field, ItemType};
use super::status::Status;
use super::{Answer, Call};
use crate::hosts;
use crate::mailboxes::Condition;
use crate::settings::Settings;
use crate::soap::{Document, Node};

/// The longest key, in bytes.
const MAX_KEY: usize = 256;

/// Answers the operation.
pub fn answer(call: Call<'_>) -> Answer {
    let Call { state, turn, asked, .. } = call;
    let Some(events) = asked.child("events") else {
        return Ok(Vec::new());
    };
    let name = text_of(asked.document, events, "key").filter(|key| key.len() <= MAX_KEY).ok_or(Status::BadParameter)?;
    let mut configuration = read(asked.document, events, &state.settings)?;
    if configuration.bytes() > state.settings.key_bytes as usize {
        state.events.counts.configurations_refused += 1;
        turn.changed = true;
        return Err(Status::BadParameter);
    }
    let account = asked.account()?;
    let mailbox = state.mailbox_named(account, turn).ok_or(Status::TooManyKeys)?;
    if state.mailboxes.get(mailbox).condition == Condition::Closed {
        return Err(Status::InvalidSession);
    }
    let known = state.events.find(mailbox, name).and_then(|number| state.events.get(number));
    let taken = known.map_or(0, Key::weight);
    match known {
        Some(key) if configuration.definition.is_none() => {
            configuration.definition = key.valid_configuration().and_then(|known| known.definition.clone());
        }
        Some(_) => {}
        None if state.events.of_mailbox(mailbox).count() >= state.settings.keys_per_account as usize => {
            state.events.counts.keys_refused += 1;
            return Err(Status::TooManyKeys);
        }
        None => {}
    }
    let more = Key::weight_of(name, Some(&configuration)).saturating_sub(taken);
    if more > 0 && state.events.key_bytes() + more > state.settings.keys_total_bytes {
        state.events.counts.keys_refused += 1;
        return Err(Status::TooManyKeys);
    }
    state.events.configure(mailbox, name, configuration, turn.at.now);
    Ok(Vec::new())
}

fn read(document: &Document<'_>, events: Node, settings: &Settings) -> Result<Configuration, Status> {
    let text = |name: &str| text_of(document, events, name);
    let span = |name: &str| text(name).map(|said| times::duration(said).ok_or(Status::BadParameter)).transpose();
    // What a notification by HTTP would have to look like is not known.
    if flag(text("http"))? {
        return Err(Status::BadParameter);
    }
    let persistence = span("persistence")?.unwrap_or(DEFAULT_PERSISTENCE.min(settings.persistence_seconds()));
    if persistence > settings.persistence_seconds() {
        return Err(Status::BadParameter);
    }
    let address = text("ipAddress").unwrap_or_default();
    if !address.is_empty() && !hosts::may_be_called(address, &settings.push_allow) {
        return Err(Status::BadParameter);
    }
    let port = match text("port") {
        None => 0,
        // What clients send that have a number in its place in any case, and do not listen.
        Some("0") if address.is_empty() => 0,
        Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or(Status::BadParameter)?,
    };
    let definition = document.child(events, "definition").map(|definition| self::definition(document, definition));
    Ok(Configuration {
        enabled: flag(document.attribute(events, "enabled"))?,
        persistence,
        address: address.to_owned(),
        port,
        ignore_after: span("ignoreAfter")?,
        definition: definition.transpose()?,
    })
}

/// Each type of event has an element of its own; a list in one is read, too.
fn definition(document: &Document<'_>, definition: Node) -> Result<Definition, Status> {
    let mut events = 0;
    for event in document.child(definition, "events").into_iter().flat_map(|events| document.children(events)) {
        events |= words::<EventType>(document.text(event)).ok_or(Status::BadParameter)?;
    }
    if events == 0 {
        return Err(Status::BadParameter);
    }
    let text = |name: &str| text_of(document, definition, name).unwrap_or_default();
    let containers = document.child(definition, "containers").map(|containers| self::containers(document, containers));
    Ok(Definition {
        events,
        types: words::<ItemType>(text("type")).ok_or(Status::BadParameter)?,
        fields: words::<Field>(text("field")).ok_or(Status::BadParameter)?,
        containers: containers.transpose()?.flatten(),
        sub_type: text("subType").to_owned(),
    })
}

/// An empty list restricts nothing.
fn containers(document: &Document<'_>, containers: Node) -> Result<Option<Containers>, Status> {
    let not = flag(document.attribute(containers, "not"))?;
    let said: Vec<_> = document.children(containers).map(|container| document.text(container).into()).collect();
    if said.is_empty() {
        return Ok(None);
    }
    Containers::new(not, said).map(Some).ok_or(Status::BadParameter)
}

fn flag(text: Option<&str>) -> Result<bool, Status> {
    match text {
        Some("1" | "true") => Ok(true),
        None | Some("" | "0" | "false") => Ok(false),
        Some(_) => Err(Status::BadParameter),
    }
}
