//! Interest types: what a WaitSet waits for in an account.

use serde::{Deserialize, Serialize};

/// A set of interest types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Types(u8);

/// Their letters in the order of the bits, which is that of a list on the wire.
const LETTERS: [&str; 6] = ["f", "m", "c", "a", "t", "d"];

/// The order of the bits in which QueryWaitSet gives them.
const GLUED: [usize; 6] = [0, 1, 2, 5, 3, 4];

impl Types {
    /// Nothing.
    pub const NONE: Types = Types(0);
    /// Folders.
    pub const FOLDERS: Types = Types(1);
    /// Everything that has a letter.
    pub const ALL: Types = Types(0b11_1111);
    /// All sets of types that an index may hold after this one.
    pub const LAST: Types = Types(u8::MAX);

    /// What a list says (`f,m`, `all`), with white space around its items; none where an item is no type.
    pub fn read(list: &str) -> Option<Types> {
        list.split(',').try_fold(Types::NONE, |types, item| match item.trim() {
            "all" => Some(Types::ALL),
            letter => {
                let bit = LETTERS.iter().position(|known| *known == letter)?;
                Some(Types(types.0 | 1 << bit))
            }
        })
    }

    /// The type of an item of this kind; none for kinds that no letter covers. Without a kind, it is a message.
    pub fn of_kind(kind: &str) -> Types {
        let bit = match kind {
            "folder" => 0,
            "message" | "" => 1,
            "contact" | "group" => 2,
            "appointment" => 3,
            "task" => 4,
            "document" => 5,
            _ => return Types::NONE,
        };
        Types(1 << bit)
    }

    /// Both.
    pub fn and(self, other: Types) -> Types {
        Types(self.0 | other.0)
    }

    /// Whether they have one in common.
    pub fn meets(self, other: Types) -> bool {
        self.0 & other.0 != 0
    }

    /// The next set in an index.
    pub fn next(self) -> Option<Types> {
        self.0.checked_add(1).map(Types)
    }

    /// Each single one.
    pub fn each(self) -> impl Iterator<Item = u8> {
        (0..6).filter(move |bit| self.0 & 1 << bit != 0)
    }

    /// As a list: `f,m`.
    pub fn list(self) -> String {
        let letters: Vec<&str> = self.each().map(|bit| LETTERS[usize::from(bit)]).collect();
        letters.join(",")
    }

    /// As QueryWaitSet says it: `all`, or letters without commas.
    pub fn glued(self) -> String {
        if self == Types::ALL {
            return "all".to_owned();
        }
        GLUED.iter().filter(|bit| self.0 & 1 << **bit != 0).map(|bit| LETTERS[*bit]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written() {
        for (list, expected, glued) in [
            ("f,m", Some("f,m"), "fm"),
            (" c , a ", Some("c,a"), "ca"),
            ("all", Some("f,m,c,a,t,d"), "all"),
            ("m,all,m", Some("f,m,c,a,t,d"), "all"),
            ("t,d,m", Some("m,t,d"), "mdt"),
            ("", None, ""),
            ("x", None, ""),
            ("m,,c", None, ""),
            ("M", None, ""),
        ] {
            let types = Types::read(list);
            assert_eq!(types.map(Types::list).as_deref(), expected, "{list}");
            assert_eq!(types.map(Types::glued).unwrap_or_default(), glued, "{list}");
        }
    }
}
