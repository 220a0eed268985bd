//! Ids on the wire: `<the source's id>@<kind of record>:GroupWiseSystemAddressBook@52`.
//!
//! What identifies an item stands before the first `@` (types.xsd, uid), so an `@` of the source's is written `%40`, and
//! so is what white space or XML would spoil.

use crate::book::Kind;
use crate::reply::Text;
use crate::soap::is_xml_char;

/// The id of the system address book.
pub const BOOK: &str = "GroupWiseSystemAddressBook@52";

const HEXADECIMAL: &[u8; 16] = b"0123456789ABCDEF";

/// Appends the id of an entry.
pub fn write_entry(out: &mut Vec<u8>, id: &str, kind: Kind) {
    write_part(out, id);
    out.raw(match kind {
        Kind::Contact | Kind::Other => "@56:",
        Kind::Resource => "@55:",
        Kind::Group => "@57:",
        Kind::Organization => "@58:",
    });
    out.raw(BOOK);
}

/// The source's id of an entry; none if this is the id of something else. The kind of record is not looked at: it may
/// have changed.
pub fn read_entry(text: &str) -> Option<String> {
    let (id, rest) = text.split_once('@').unwrap_or((text, ""));
    let container = rest.split_once(':').map_or("", |(_, container)| container);
    if !container.is_empty() && container != BOOK {
        return None;
    }
    read_part(id).filter(|id| !id.is_empty())
}

/// Whether this is the id of the system address book.
pub fn is_book(text: &str) -> bool {
    text == BOOK
}

/// Appends an id of a source's as the first part of one on the wire.
pub fn write_part(out: &mut Vec<u8>, id: &str) {
    let mut done = 0;
    for (at, character) in id.char_indices() {
        let plain = is_xml_char(character) && character > ' ' && !matches!(character, '%' | '@' | '\u{7F}');
        if plain {
            continue;
        }
        out.text(&id[done..at]);
        done = at + character.len_utf8();
        for byte in id[at..done].bytes() {
            out.extend_from_slice(&[b'%', HEXADECIMAL[usize::from(byte >> 4)], HEXADECIMAL[usize::from(byte & 15)]]);
        }
    }
    out.text(&id[done..]);
}

/// The source's id that a first part stands for.
pub fn read_part(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => bytes.push(digit(rest.next()?)? << 4 | digit(rest.next()?)?),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_were_written() {
        for id in ["e1", "Ann@example.org", "100%", "a b\n", "\u{FFFF}", "ü<&>", "cn=a:b@c"] {
            let mut written = Vec::new();
            write_entry(&mut written, id, Kind::Group);
            let written = String::from_utf8(written).expect("text is UTF-8");
            assert_eq!(written.matches('@').count(), 2, "{written}");
            let read = written.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
            assert_eq!(read_entry(&read).as_deref(), Some(id));
        }
        assert_eq!(read_entry("e1").as_deref(), Some("e1"));
        assert_eq!(read_entry("e1@56").as_deref(), Some("e1"));
        for other in ["", "@56:GroupWiseSystemAddressBook@52", "e1@1:7.domain@16", "%4", "%zz", "%ff"] {
            assert_eq!(read_entry(other), None, "{other}");
        }
    }
}
