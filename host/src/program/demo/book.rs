//! The demo's address book: its people, a distribution list, a room and their company.

use crate::contract::changes::{BookChange, Entry, Field, Member};

/// Who is in the book, and in the list: the id, which is the local part of the address too, first and last name, the
/// number of the telephone.
const PEOPLE: [(&str, &str, &str, &str); 3] = [
    ("alice", "Alice", "Archer", "+1 202 555 0101"),
    ("bob", "Bob", "Baker", "+1 202 555 0102"),
    ("carol", "Carol", "Carter", "+1 202 555 0103"),
];

/// All entries, each as an addition.
pub fn entries() -> Vec<BookChange> {
    let people = PEOPLE.iter().map(|(id, first, last, phone)| person(id, first, last, phone));
    people.chain([staff(), room(), company()]).map(BookChange::Added).collect()
}

fn person(id: &str, first: &str, last: &str, phone: &str) -> Entry {
    let phone = Field { label: "Office".into(), ..field("phoneList/phone", phone) };
    let fields = [
        field("fullName/displayName", &format!("{first} {last}")),
        field("fullName/firstName", first),
        field("fullName/lastName", last),
        field("emailList/email", &address(id)),
        phone,
        field("userid", id),
    ];
    entry("contact", id, fields.into())
}

fn staff() -> Entry {
    let member = |(id, first, last, _): &(&str, &str, &str, &str)| Member {
        id: (*id).into(),
        name: format!("{first} {last}"),
        email: address(id),
        kind: "TO".into(),
    };
    let fields = vec![field("name", "Staff"), field("email", &address("staff"))];
    Entry { members: PEOPLE.iter().map(member).collect(), ..entry("group", "staff", fields) }
}

fn room() -> Entry {
    let owner = Field { label: "carol".into(), ..field("owner", "Carol Carter") };
    let fields = [field("name", "Room 1"), field("resourceType", "Place"), field("email", &address("room-1")), owner];
    entry("resource", "room-1", fields.into())
}

fn company() -> Entry {
    let fields = [field("name", "Example"), field("phone", "+1 202 555 0100"), field("website", "http://example.org/")];
    entry("organization", "example", fields.into())
}

fn entry(kind: &str, id: &str, fields: Vec<Field>) -> Entry {
    Entry { id: id.into(), uuid: None, kind: kind.into(), fields, members: Vec::new() }
}

fn field(name: &str, value: &str) -> Field {
    Field { name: name.into(), label: String::new(), value: value.into() }
}

fn address(id: &str) -> String {
    format!("{id}@{}", super::DOMAIN)
}
