//! The contract's records and variants as JSON has them, one beside the other; nothing here decides anything.

use serde::Deserialize;

use crate::contract::changes;

/// A value as JSON has it, that becomes one of the contract.
pub(super) trait Wire {
    type Contract;
    fn contract(self) -> Self::Contract;
}

macro_rules! plain {
    ($($type:ty),*) => { $(
        impl Wire for $type {
            type Contract = $type;
            fn contract(self) -> $type { self }
        }
    )* };
}
plain!(u32, u64, String);

impl<T: Wire> Wire for Option<T> {
    type Contract = Option<T::Contract>;
    fn contract(self) -> Self::Contract {
        self.map(T::contract)
    }
}

impl<T: Wire> Wire for Vec<T> {
    type Contract = Vec<T::Contract>;
    fn contract(self) -> Self::Contract {
        self.into_iter().map(T::contract).collect()
    }
}

/// A record of the contract under the same name. A field that the contract gains does not compile until it is here.
macro_rules! record {
    ($(#[$shape:meta])* $name:ident { $($(#[$absent:meta])* $field:ident: $type:ty),* $(,)? }) => {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        $(#[$shape])*
        pub(super) struct $name { $($(#[$absent])* $field: $type),* }

        impl Wire for $name {
            type Contract = changes::$name;
            fn contract(self) -> changes::$name {
                changes::$name { $($field: self.$field.contract()),* }
            }
        }
    };
}

/// A variant of the contract under the same name.
macro_rules! variant {
    ($name:ident { $($case:ident $(($payload:ident: $type:ty))?),* $(,)? }) => {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub(super) enum $name { $($case $(($type))?),* }

        impl Wire for $name {
            type Contract = changes::$name;
            fn contract(self) -> changes::$name {
                match self { $(Self::$case $(($payload))? => changes::$name::$case $(($payload.contract()))?),* }
            }
        }
    };
}

variant!(Happening {
    Baseline(folders: Vec<Folder>),
    MessageDelivered(item: Item),
    ItemCreated(item: Item),
    ItemModified(alteration: ItemAlteration),
    ItemDeleted(item: Item),
    ItemMoved(relocation: ItemRelocation),
    ItemCopied(relocation: ItemRelocation),
    FolderCreated(folder: Folder),
    FolderModified(alteration: FolderAlteration),
    FolderDeleted(folder: Folder),
    FolderMoved(relocation: FolderRelocation),
    FolderCopied(relocation: FolderRelocation),
    FreeBusyChanged(item: Item),
    TagCreated(tag: Tag),
    TagModified(tag: Tag),
    TagDeleted(tag: Tag),
    Hinted(kinds: Vec<String>),
    Gap,
    AccountOpened(account: Account),
    AccountModified(account: Account),
    AccountClosed,
    AccountUnavailable(absence: Absence),
    AccountAvailable,
    AccessChanged(change: AccessChange),
    VisitBegan(visit: Visit),
    VisitEnded(visit: Visit),
});

variant!(Absence { Maintenance, Moved(to: String) });

variant!(BookChange {
    Added(entry: Entry),
    Modified(entry: Entry),
    Deleted(id: String),
    Gap,
    RebuildStarted,
    RebuildFinished,
});

record!(
    #[serde(default)]
    Item {
        kind: String,
        id: String,
        folder: String,
        number: Option<u64>,
        imap_uid: Option<u32>,
        revision: Option<u64>,
        flags: u64,
        tags: Vec<String>,
    }
);

record!(ItemAlteration {
    item: Item,
    flags_before: Option<u64>,
    tags_before: Option<Vec<String>>,
    #[serde(default)]
    fields: Vec<String>,
});

record!(
    #[serde(default)]
    Folder {
        id: String,
        parent: String,
        name: String,
        role: String,
        holds: String,
        number: Option<u64>,
        revision: Option<u64>,
        unread: Option<u32>,
        total: Option<u32>,
    }
);

record!(FolderAlteration {
    folder: Folder,
    #[serde(default)]
    fields: Vec<String>,
});

record!(ItemRelocation { before: Item, after: Item });
record!(FolderRelocation { before: Folder, after: Folder });

record!(FolderCounts {
    #[serde(default)]
    folder: String,
    unread: u32,
    total: u32,
    revision: Option<u64>,
});

record!(
    #[serde(default)]
    Account { id: String, name: String, aliases: Vec<String> }
);

record!(
    #[serde(default)]
    Tag { id: String, name: String }
);

record!(
    #[serde(default)]
    AccessChange { kind: String, who: String }
);

record!(
    #[serde(default)]
    Visit { kind: String, by: String }
);

record!(
    #[serde(default)]
    Entry { id: String, uuid: Option<String>, kind: String, fields: Vec<Field>, members: Vec<Member> }
);

record!(
    #[serde(default)]
    Field { name: String, label: String, value: String }
);

record!(
    #[serde(default)]
    Member { id: String, name: String, email: String, kind: String }
);
