//! getEventConfigurationRequest: the configuration of one key, or of all keys of the account.

use super::events::configuration::{Configuration, Definition};
use super::events::occurrence::list;
use super::events::times;
use super::events::words::{EventType, Field, ItemType, Word};
use super::status::Status;
use super::{Answer, Call};
use crate::reply::Text;

/// How many types of events a configuration names at most (events.xsd, EventTypeList).
const MAX_EVENTS: u32 = 36;

/// What nothing causes in GroupWise either, left out where a configuration names more types than it may: so it names
/// all that are left.
const UNUSED: [EventType; 3] =
    [EventType::FolderItemDelete, EventType::PersonalGroupItemAdd, EventType::PersonalGroupItemDelete];

/// Answers the operation.
pub fn answer(call: Call<'_>) -> Answer {
    let wanted = call.asked.text("key");
    let mailbox = call.mailbox()?;
    let keys = mailbox.into_iter().flat_map(|mailbox| call.state.events.of_mailbox(mailbox));
    let mut out = Vec::with_capacity(1024);
    let mut any = false;
    out.raw("<e:events>");
    for (_, key) in keys.filter(|(_, key)| wanted.is_none_or(|wanted| key.name == wanted)) {
        if let Some(configuration) = key.valid_configuration() {
            write(&mut out, &key.name, configuration);
            any = true;
        }
        if out.len() > crate::turn::MAX_ANSWER / 2 {
            return Err(Status::ResponseTooLarge);
        }
    }
    out.raw("</e:events>");
    if wanted.is_some() && !any { Err(Status::NoSuchKey) } else { Ok(out) }
}

fn write(out: &mut Vec<u8>, key: &str, configuration: &Configuration) {
    out.raw(if configuration.enabled { r#"<e:event enabled="1">"# } else { r#"<e:event enabled="0">"# });
    element(out, "key", key);
    element(out, "persistence", &times::duration_text(configuration.persistence));
    if !configuration.address.is_empty() {
        element(out, "ipAddress", &configuration.address);
    }
    if configuration.port != 0 {
        element(out, "port", &configuration.port.to_string());
    }
    element(out, "http", "0");
    if let Some(ignore_after) = configuration.ignore_after {
        element(out, "ignoreAfter", &times::duration_text(ignore_after));
    }
    if let Some(definition) = &configuration.definition {
        write_definition(out, definition);
    }
    out.raw("</e:event>");
}

fn write_definition(out: &mut Vec<u8>, definition: &Definition) {
    out.raw("<e:definition><e:events>");
    let unused = UNUSED.iter().fold(0, |set, event| set | event.bit());
    let too_many = definition.events.count_ones() > MAX_EVENTS;
    for event in EventType::of(definition.events & if too_many { !unused } else { u64::MAX }) {
        element(out, "event", event.name());
    }
    out.raw("</e:events>");
    if definition.types != 0 {
        out.raw("<e:type>");
        list::<ItemType>(out, definition.types);
        out.raw("</e:type>");
    }
    if definition.fields != 0 {
        out.raw("<e:field>");
        list::<Field>(out, definition.fields);
        out.raw("</e:field>");
    }
    if let Some(containers) = &definition.containers {
        out.raw(if containers.not { r#"<e:containers not="1">"# } else { r#"<e:containers not="0">"# });
        containers.said.iter().for_each(|container| element(out, "container", container));
        out.raw("</e:containers>");
    }
    if !definition.sub_type.is_empty() {
        element(out, "subType", &definition.sub_type);
    }
    out.raw("</e:definition>");
}

fn element(out: &mut Vec<u8>, name: &str, text: &str) {
    out.raw("<e:");
    out.raw(name);
    out.raw(">");
    out.text(text);
    out.raw("</e:");
    out.raw(name);
    out.raw(">");
}
