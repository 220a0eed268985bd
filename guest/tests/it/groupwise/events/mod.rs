//! Events: what is configured, recorded, read and removed, and who is told.

mod model;
mod notifying;
mod recording;

use postbell_notify::contract::*;

use super::{exchange, log_in, soap, status};
use crate::world::{World, element, text};

const DAY: u64 = 86_400_000;

/// A client with a session, in a world with the folders inbox, drafts, calendar, contacts and the trash.
struct Site {
    world: World,
    session: String,
}

impl Site {
    fn new() -> Site {
        Site::with(&[])
    }

    fn with(settings: &[(&str, &str)]) -> Site {
        let allow = [("push-allow", "127.0.0.0/8")];
        let mut world = World::with(&[&allow, settings].concat());
        let trash = Folder { role: "deleteditems".into(), ..crate::world::folder("trash") };
        let contacts = Folder { holds: "contact".into(), ..crate::world::folder("people") };
        world.happens(Happening::Baseline(vec![trash, contacts]));
        let session = log_in(&mut world);
        Site { world, session }
    }

    /// A request of the session, which is made anew where it has ended.
    fn ask(&mut self, operation: &str) -> Reaction {
        let reaction = exchange(&mut self.world, &soap(&self.session, operation));
        if status(&text(&reaction.replies[0])) != 59910 {
            return reaction;
        }
        self.session = log_in(&mut self.world);
        exchange(&mut self.world, &soap(&self.session, operation))
    }

    /// The status of an operation.
    fn status(&mut self, operation: &str) -> u32 {
        status(&text(&self.ask(operation).replies[0]))
    }

    fn configure(&mut self, key: &str, rest: &str) -> u32 {
        self.status(&configuration(key, rest))
    }

    /// The records of a key, in short; the answer arrives. The status, if that is not 0.
    fn events(&mut self, key: &str, rest: &str) -> Vec<String> {
        let reaction = self.ask(&get_events(key, rest));
        self.settle(&reaction, 1);
        short(&text(&reaction.replies[0]))
    }

    /// The answer that was just given arrives, or does not.
    fn settle(&mut self, reaction: &Reaction, parts: u32) -> Reaction {
        let reply = &reaction.replies[0];
        if !reply.confirm {
            return Reaction::default();
        }
        let end = if parts > 0 { End::Complete } else { End::Gone };
        self.world.settle(reply.to, parts, Some(end))
    }

    fn happens(&mut self, what: Happening) -> Reaction {
        self.world.happens(what)
    }

    /// Goes on in a new instance, from a snapshot.
    fn reload(&mut self) {
        let parts = self.world.saved();
        let mut loaded = postbell_notify::Notify::default();
        let format = postbell_notify::describe().state_formats[0].clone();
        for (place, part) in parts.iter().enumerate() {
            loaded.load(&format, part, place + 1 < parts.len()).expect("a snapshot loads");
        }
        assert_eq!(loaded.outstanding(), self.world.notify.outstanding());
        self.world.notify = loaded;
        assert_eq!(self.world.saved(), parts);
    }
}

fn configuration(key: &str, rest: &str) -> String {
    format!("<configureEventsRequest><events enabled=\"1\"><key>{key}</key>{rest}</events></configureEventsRequest>")
}

/// A definition of these types of events, with what else it says.
fn definition(events: &str, rest: &str) -> String {
    let events: String = events.split(' ').map(|event| format!("<event>{event}</event>")).collect();
    format!("<definition><events>{events}</events>{rest}</definition>")
}

fn get_events(key: &str, rest: &str) -> String {
    format!("<getEventsRequest><key>{key}</key>{rest}</getEventsRequest>")
}

/// An address on loopback, which is allowed here.
const LISTENER: &str = "<ipAddress>127.0.0.1</ipAddress><port>5221</port>";

/// The records in an answer, each as `Event id container<-from field type`; its status, if that is not 0.
fn short(body: &str) -> Vec<String> {
    if status(body) != 0 {
        return vec![status(body).to_string()];
    }
    let document = roxmltree::Document::parse(body).expect("answers are well-formed");
    let records = document.descendants().filter(|node| node.tag_name().name() == "event" && node.has_children());
    let records = records.filter(|node| node.children().any(|child| child.is_element()));
    let text = |node: roxmltree::Node<'_, '_>, name: &str| {
        let child = node.children().find(|child| child.tag_name().name() == name);
        child.and_then(|child| child.text()).unwrap_or("-").to_owned()
    };
    let short = |node| {
        let [event, id, container, from, field, kind] =
            ["event", "id", "container", "from", "field", "type"].map(|name| text(node, name));
        format!("{event} {id} {container}<-{from} {field} {kind}")
    };
    records.map(short).collect()
}
