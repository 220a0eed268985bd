//! The events of an answer as most programs would write them: by `core::fmt`, from values that are at hand. The rest of such an
//! answer's work is that of one without events.

use std::fmt::{Display, Formatter, Result};

use base64::Engine;
use base64::display::Base64Display;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use roxmltree::{Document, Node};

/// Events of items that were modified, with what each says.
pub struct Events(Vec<Event>);

struct Event {
    watermark: String,
    /// Year, month, day, hours, minutes and seconds.
    time: [u16; 6],
    item: Id,
    folder: Id,
}

struct Id {
    id: Vec<u8>,
    change_key: Vec<u8>,
}

impl Events {
    /// What an answer to GetEvents says. Written, it is the same text.
    pub fn of(answer: &str) -> Events {
        let document = Document::parse(answer).expect("the answer is XML");
        let events = document.descendants().filter(|node| node.tag_name().name() == "ModifiedEvent");
        let events = Events(events.map(|event| Event::of(&event)).collect());
        assert!(answer.contains(&events.to_string()), "what is written is not what the answer says: {events}");
        events
    }
}

impl Event {
    fn of(event: &Node<'_, '_>) -> Event {
        let child = |name| event.children().find(|child| child.tag_name().name() == name).expect("each event has it");
        let text = |name| child(name).text().expect("it says something");
        let mut numbers = text("TimeStamp").split(['-', 'T', ':', 'Z']).map(|number| number.parse().expect("a number"));
        Event {
            watermark: text("Watermark").to_owned(),
            time: [(); 6].map(|()| numbers.next().expect("a time has six")),
            item: Id::of(&child("ItemId")),
            folder: Id::of(&child("ParentFolderId")),
        }
    }
}

impl Id {
    fn of(element: &Node<'_, '_>) -> Id {
        let attribute = |name| element.attribute(name).expect("an id has both");
        Id {
            id: URL_SAFE_NO_PAD.decode(attribute("Id")).expect("base64"),
            change_key: STANDARD.decode(attribute("ChangeKey")).expect("base64"),
        }
    }
}

impl Display for Events {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.0.iter().try_for_each(|event| event.fmt(f))
    }
}

impl Display for Event {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Event { watermark, time: [year, month, day, hours, minutes, seconds], item, folder } = self;
        write!(f, "<t:ModifiedEvent><t:Watermark>{watermark}</t:Watermark>")?;
        write!(f, "<t:TimeStamp>{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}Z</t:TimeStamp>")?;
        write!(f, "<t:ItemId {item}/><t:ParentFolderId {folder}/></t:ModifiedEvent>")
    }
}

impl Display for Id {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (id, change_key) =
            (Base64Display::new(&self.id, &URL_SAFE_NO_PAD), Base64Display::new(&self.change_key, &STANDARD));
        write!(f, r#"Id="{id}" ChangeKey="{change_key}""#)
    }
}
