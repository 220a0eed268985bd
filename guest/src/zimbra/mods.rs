//! Pending modifications: what changed in the folders that a member is interested in, for clients that ask with
//! `expand` (Zimbra's remote IMAP daemon).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::wire::{Node, Value};
use crate::contract::Item;
use crate::ids::Keys;

/// How many bytes the modifications of one account may come to; beyond, only the account is told.
pub const MAX_BYTES: usize = 64 << 10;

/// How long a name, a path or a list of tags is told, in bytes.
const MAX_TEXT: usize = 1024;

/// Bits that say what was altered (`Change` of Zimbra's mailbox).
pub mod altered {
    pub const UNREAD: u32 = 0x1;
    pub const TAGS: u32 = 0x2;
    pub const FLAGS: u32 = 0x4;
    pub const DATE: u32 = 0x20;
    pub const SUBJECT: u32 = 0x40;
    pub const FOLDER: u32 = 0x100;
    pub const NAME: u32 = 0x1000;
    pub const COLOR: u32 = 0x2000;
    pub const CONTENT: u32 = 0x10000;
    pub const INVITE: u32 = 0x20000;
    pub const METADATA: u32 = 0x80000;
    pub const ACL: u32 = 0x20_0000;
}

/// Names of the types of items, in the order of the bits of [`super::types::Types`].
const KINDS: [(&str, &str); 6] = [
    ("FOLDER", "folder"),
    ("MESSAGE", "message"),
    ("CONTACT", "contact"),
    ("APPOINTMENT", "appointment"),
    ("TASK", "task"),
    ("DOCUMENT", "document"),
];

/// Stands for a tag among the types.
const TAG: u8 = 6;

/// An item as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    id: u64,
    uid: u64,
    kind: u8,
    flags: u32,
    tags: String,
}

/// One modification in one folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mod {
    /// An item came to be there.
    Created(Told),
    /// Something is gone: its number and its type.
    Deleted(u64, u8),
    /// An item was altered: the bits of what, and the item as it is now.
    Modified(u32, Told),
    /// A tag was altered: the bits of what, its id and its name.
    Tag(u32, String, String),
    /// The folder itself was altered: the bits of what, and its path.
    Folder(u32, String),
}

/// The modifications of one account, by the numbers of its folders.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mods {
    folders: BTreeMap<i64, Vec<Mod>>,
    /// There were too many: none is told.
    lost: bool,
}

impl Told {
    /// An item of the type with this bit.
    pub fn new(item: &Item, kind: u8, keys: &Keys) -> Self {
        let id = number(item, keys);
        let uid = item.imap_uid.map_or(id, u64::from);
        Self { id, uid, kind, flags: flags(item.flags), tags: cut(&item.tags.join(",")) }
    }

    /// Its number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The bit of its type.
    pub fn kind(&self) -> u8 {
        self.kind
    }

    fn node(&self) -> Node {
        let node = Node::new("m").with("id", self.id).with("i4uid", self.uid);
        let node = node.with("t", KINDS[usize::from(self.kind)].0).with("f", u64::from(self.flags));
        node.with_some("tn", Some(self.tags.clone()).filter(|tags| !tags.is_empty()))
    }
}

impl Mod {
    /// A tag was altered.
    pub fn tag(id: &str, name: &str) -> Self {
        Self::Tag(altered::NAME, cut(id), cut(name))
    }

    /// A tag is gone.
    pub fn tag_gone(id: &str, keys: &Keys) -> Self {
        Self::Deleted(id.parse().unwrap_or_else(|_| keys.item_number(id)), TAG)
    }

    /// The folder itself was altered.
    pub fn folder(bits: u32, path: &str) -> Self {
        Self::Folder(bits, cut(path))
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Created(told) | Self::Modified(_, told) => 96 + weight(&told.tags),
            Self::Deleted(..) => 64,
            Self::Tag(_, id, name) => 80 + weight(id) + weight(name),
            Self::Folder(_, path) => 64 + weight(path),
        }
    }
}

impl Mods {
    /// Adds a modification; what it makes needless is left out.
    pub fn add(&mut self, folder: i64, fresh: Mod) {
        if self.lost {
            return;
        }
        merge(self.folders.entry(folder).or_default(), fresh);
        if self.bytes() > MAX_BYTES {
            *self = Self { folders: BTreeMap::new(), lost: true };
        }
    }

    /// Adds later modifications.
    pub fn append(&mut self, later: Mods) {
        if later.lost {
            *self = later;
            return;
        }
        for (folder, mods) in later.folders {
            mods.into_iter().for_each(|fresh| self.add(folder, fresh));
        }
    }

    /// What they come to on the wire.
    pub fn bytes(&self) -> usize {
        self.folders.values().flatten().map(Mod::bytes).sum::<usize>() + self.folders.len() * 64
    }

    /// One element for each folder. The wrapper is in another namespace than what it holds, as Zimbra's is.
    pub fn nodes(&self) -> impl Iterator<Item = Node> {
        self.folders.iter().map(|(folder, mods)| node(*folder, mods))
    }
}

fn node(folder: i64, mods: &[Mod]) -> Node {
    const MAIL: &str = "urn:zimbraMail";
    let wrapper = Node::of("mods", "urn:zimbra").with("id", folder as u64);
    let created = mods.iter().filter_map(|it| match it {
        Mod::Created(told) => Some(Node::of("created", MAIL).many([told.node()])),
        _ => None,
    });
    let deleted = mods.iter().filter_map(|it| match it {
        Mod::Deleted(id, kind) => {
            let kind = KINDS.get(usize::from(*kind)).map_or("tag", |(_, name)| name);
            Some(Node::of("deleted", MAIL).with("id", *id).with("t", kind))
        }
        _ => None,
    });
    let modified = mods.iter().filter_map(|it| match it {
        Mod::Modified(bits, told) => {
            Some(Node::of("modMsgs", MAIL).with("change", u64::from(*bits)).many([told.node()]))
        }
        _ => None,
    });
    let tags = mods.iter().filter_map(|it| match it {
        Mod::Tag(bits, id, name) => {
            let node = Node::of("modTags", MAIL).with("change", u64::from(*bits));
            Some(node.holding("id", Value::Text(id.clone())).holding("name", Value::Text(name.clone())))
        }
        _ => None,
    });
    let folders = mods.iter().filter_map(|it| match it {
        Mod::Folder(bits, path) => {
            let node = Node::of("modFolders", MAIL).with("id", folder as u64).with("path", path.clone());
            Some(node.with("change", u64::from(*bits)))
        }
        _ => None,
    });
    wrapper.many(created).many(deleted).many(modified).many(tags).many(folders)
}

/// Joins a modification with those before it: an item that came and was altered is one that came, one that came and went
/// was never there, one that was altered twice was altered once.
fn merge(mods: &mut Vec<Mod>, fresh: Mod) {
    match fresh {
        Mod::Modified(bits, told) => {
            for before in mods.iter_mut() {
                match before {
                    Mod::Created(known) if known.id == told.id => return *known = told,
                    Mod::Modified(known_bits, known) if known.id == told.id => {
                        *known_bits |= bits;
                        return *known = told;
                    }
                    _ => {}
                }
            }
            mods.push(Mod::Modified(bits, told));
        }
        Mod::Deleted(id, kind) if kind != TAG => {
            let before = mods.len();
            mods.retain(|it| !matches!(it, Mod::Created(told) if told.id == id));
            let came = mods.len() < before;
            mods.retain(|it| !matches!(it, Mod::Modified(_, told) if told.id == id));
            if !came {
                mods.push(Mod::Deleted(id, kind));
            }
        }
        Mod::Folder(bits, path) => {
            let known = mods.iter_mut().find_map(|it| match it {
                Mod::Folder(bits, path) => Some((bits, path)),
                _ => None,
            });
            match known {
                Some((known_bits, known_path)) => (*known_bits, *known_path) = (*known_bits | bits, path),
                None => mods.push(Mod::Folder(bits, path)),
            }
        }
        Mod::Tag(bits, id, name) => {
            mods.retain(|it| !matches!(it, Mod::Tag(_, known, _) if *known == id));
            mods.push(Mod::Tag(bits, id, name));
        }
        other => mods.push(other),
    }
}

/// An item's integer id: the source's number, else its id if that is one, else its IMAP UID, else one made of its id.
fn number(item: &Item, keys: &Keys) -> u64 {
    let own = item.number.or_else(|| item.id.parse::<u32>().ok().map(u64::from));
    own.or(item.imap_uid.map(u64::from)).unwrap_or_else(|| keys.item_number(&item.id))
}

/// Zimbra's bits for the flags of an item; it has one for unread, not for seen.
fn flags(flags: u64) -> u32 {
    const BITS: [(u64, u32); 5] = [(2, 4), (4, 32), (8, 64), (16, 128), (32, 8)];
    const UNREAD: u32 = 512;
    let set = BITS.iter().filter(|(ours, _)| flags & ours != 0).fold(0, |bits, (_, theirs)| bits | theirs);
    if flags & 1 == 0 { set | UNREAD } else { set }
}

fn cut(text: &str) -> String {
    let end = (0..=text.len().min(MAX_TEXT)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].to_owned()
}

/// How many bytes a text comes to on the wire at most.
pub fn weight(text: &str) -> usize {
    let heavy = |byte: u8| byte < b' ' || matches!(byte, b'"' | b'&' | b'<' | b'>' | b'\\' | 0x7F);
    text.bytes().map(|byte| if heavy(byte) { 6 } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(id: u64, flags: u32) -> Told {
        Told { id, uid: id, kind: 1, flags, tags: String::new() }
    }

    #[test]
    fn modifications_are_joined() {
        let mut mods = Mods::default();
        mods.add(2, Mod::Created(told(1, 512)));
        mods.add(2, Mod::Modified(altered::UNREAD, told(1, 0)));
        mods.add(2, Mod::Created(told(2, 512)));
        mods.add(2, Mod::Deleted(2, 1));
        mods.add(2, Mod::Modified(altered::FLAGS, told(3, 32)));
        let mut later = Mods::default();
        later.add(2, Mod::Modified(altered::UNREAD, told(3, 0)));
        later.add(2, Mod::Deleted(4, 1));
        later.add(5, Mod::folder(altered::NAME, "/Sent"));
        mods.append(later);
        let expected = [
            (2, vec![Mod::Created(told(1, 0)), Mod::Modified(5, told(3, 0)), Mod::Deleted(4, 1)]),
            (5, vec![Mod::Folder(altered::NAME, "/Sent".into())]),
        ];
        assert_eq!(mods.folders, BTreeMap::from(expected));
    }

    #[test]
    fn too_many_are_not_told() {
        let mut mods = Mods::default();
        (0..2000).for_each(|id| mods.add(2, Mod::Created(told(id, 0))));
        assert_eq!(mods, Mods { folders: BTreeMap::new(), lost: true });
        assert_eq!(mods.nodes().count(), 0);
    }
}
