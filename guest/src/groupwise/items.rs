//! Entries of the address book as items of the wire, in the order of the schema.

use crate::book::{Book, Found, Kind, SyncType};
use crate::reply::Text;
use crate::turn::MAX_ANSWER;

use super::fields::{
    ADDRESS, CONTACT, DIRECTORY, FULL_NAME, Gathered, ITEM, Named, ORGANIZATION, PHONES, PLACES, RESOURCE, Shape, label,
};
use super::ids;
use super::view::View;

/// How large the items of one answer may be, in bytes: its envelope has room, too.
const MAX_ITEMS: usize = MAX_ANSWER - 4096;

/// Has something written after what there is, unless it would be too much for one answer; whether it was.
pub fn if_it_fits(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> bool {
    let before = out.len();
    write(out);
    let fits = out.len() <= MAX_ITEMS;
    if !fits {
        out.truncate(before);
    }
    fits
}

/// Writes an entry as an item. `tag`: its element, with its prefix; `sync`: what happened to it, where that is told.
pub fn write(out: &mut Vec<u8>, tag: &str, book: &Book, found: &Found<'_>, view: View<'_>, sync: Option<SyncType>) {
    let kind = found.kind();
    open(out, tag, kind, found.first("external").filter(|value| Shape::Flag.fits(value)));
    id(out, found.id, kind);
    if let Some(name) = name(found).filter(|_| view.shows("name")) {
        element(out, "name", name);
    }
    named(out, found, view, &ITEM);
    container(out);
    named(out, found, view, &[("created", Shape::Instant)]);
    if let Some(uuid) = found.uuid().filter(|_| view.shows("uuid")) {
        element(out, "uuid", uuid);
    }
    named(out, found, view, &[("comment", Shape::Text)]);
    self::sync(out, sync);
    named(out, found, view, &DIRECTORY);
    match kind {
        Kind::Contact => contact(out, found, view),
        Kind::Group => group(out, book, found, view),
        Kind::Resource => resource(out, found, view),
        Kind::Organization => organization(out, found, view),
        Kind::Other => {}
    }
    out.raw("</");
    out.raw(tag);
    out.raw(">");
}

/// Writes an entry that is no longer there.
pub fn write_deleted(out: &mut Vec<u8>, entry: &str, kind: Kind) {
    open(out, "item", kind, None);
    id(out, entry, kind);
    container(out);
    sync(out, Some(SyncType::Delete));
    out.raw("</item>");
}

/// The name that people read: not every source gives it by itself.
pub fn name<'b>(found: &Found<'b>) -> Option<&'b str> {
    let given = found.first("name").or_else(|| found.first("fullName/displayName"));
    given.filter(|name| !name.is_empty()).or_else(|| found.first("userid"))
}

fn open(out: &mut Vec<u8>, tag: &str, kind: Kind, external: Option<&str>) {
    out.raw("<");
    out.raw(tag);
    out.raw(r#" xsi:type=""#);
    out.raw(match kind {
        Kind::Contact => "Contact",
        Kind::Group => "Group",
        Kind::Resource => "Resource",
        Kind::Organization => "Organization",
        Kind::Other => "AddressBookItem",
    });
    if let Some(external) = external {
        out.raw(r#"" external=""#);
        out.raw(external);
    }
    out.raw(r#"">"#);
}

fn id(out: &mut Vec<u8>, entry: &str, kind: Kind) {
    out.raw("<id>");
    ids::write_entry(out, entry, kind);
    out.raw("</id>");
}

fn container(out: &mut Vec<u8>) {
    element(out, "container", ids::BOOK);
}

fn sync(out: &mut Vec<u8>, sync: Option<SyncType>) {
    let word = match sync {
        None => return,
        Some(SyncType::Add) => "add",
        Some(SyncType::Update) => "update",
        Some(SyncType::Delete) => "delete",
    };
    element(out, "sync", word);
}

fn contact(out: &mut Vec<u8>, found: &Found<'_>, view: View<'_>) {
    gathered(out, found, view, &FULL_NAME);
    email_list(out, found, view);
    im_list(out, found, view);
    phone_list(out, found, view);
    address_list(out, found, view);
    CONTACT.iter().for_each(|element| gathered(out, found, view, element));
}

fn group(out: &mut Vec<u8>, book: &Book, found: &Found<'_>, view: View<'_>) {
    email(out, found, view);
    if !view.shows("members") {
        return;
    }
    out.raw("<members>");
    for (entry, name, email, kind) in found.members() {
        let known = book.entries.get(entry).map(|it| it.kind());
        out.raw("<member>");
        if !entry.is_empty() {
            id(out, entry, known.unwrap_or(Kind::Contact));
        }
        [("name", name), ("email", email)].iter().for_each(|(tag, value)| {
            if !value.is_empty() {
                element(out, tag, value);
            }
        });
        element(out, "distType", if kind.is_empty() { "TO" } else { distribution(kind) });
        element(out, "itemType", item_type(known));
        out.raw("</member>");
    }
    out.raw("</members>");
}

/// DistributionType.
fn distribution(kind: &str) -> &'static str {
    let known = [("cc", "CC"), ("bc", "BC"), ("bcc", "BC"), ("replyTo", "replyTo")];
    known.iter().find(|(word, _)| word.eq_ignore_ascii_case(kind)).map_or("TO", |(_, name)| name)
}

/// ContactType.
fn item_type(kind: Option<Kind>) -> &'static str {
    match kind {
        Some(Kind::Group) => "Group",
        Some(Kind::Resource) => "Resource",
        Some(Kind::Organization) => "Organization",
        Some(Kind::Contact | Kind::Other) | None => "Contact",
    }
}

fn resource(out: &mut Vec<u8>, found: &Found<'_>, view: View<'_>) {
    named(out, found, view, &RESOURCE);
    email(out, found, view);
    named(out, found, view, &[("owner", Shape::Reference(Kind::Contact))]);
}

fn organization(out: &mut Vec<u8>, found: &Found<'_>, view: View<'_>) {
    named(out, found, view, &ORGANIZATION);
    let place = found.fields().find(|(name, ..)| name.starts_with("address/")).map(|(_, place, _)| place);
    if let Some(place) = place.filter(|_| view.shows("address")) {
        address(out, found, "address", place);
    }
    named(out, found, view, &[("website", Shape::Text)]);
}

/// The addresses of an entry: a source may write either path, whatever the kind.
fn emails<'b>(found: &Found<'b>) -> impl Iterator<Item = &'b str> {
    found.fields().filter(|(name, ..)| matches!(*name, "emailList/email" | "email")).map(|(.., value)| value)
}

fn email(out: &mut Vec<u8>, found: &Found<'_>, view: View<'_>) {
    if let Some(email) = emails(found).next().filter(|_| view.shows("email")) {
        element(out, "email", email);
    }
}

fn email_list(out: &mut Vec<u8>, found: &Found<'_>, view: View<'_>) {
    let Some(first) = emails(found).next().filter(|_| view.shows("emailList")) else {
        return;
    };
    out.raw(r#"<emailList primary=""#);
    out.text(found.first("emailList/@primary").unwrap_or(first));
    out.raw(r#"">"#);
    emails(found).for_each(|email| element(out, "email", email));
    out.raw("</emailList>");
}

fn im_list(out: &mut Vec<u8>, found: &Found<'_>, view: View<'_>) {
    let mut addresses = found.fields().filter(|(name, ..)| *name == "imList/im").peekable();
    if addresses.peek().is_none() || !view.shows("imList") {
        return;
    }
    out.raw("<imList>");
    for (_, service, address) in addresses {
        out.raw("<im>");
        if !service.is_empty() {
            element(out, "service", service);
        }
        element(out, "address", address);
        out.raw("</im>");
    }
    out.raw("</imList>");
}

fn phone_list(out: &mut Vec<u8>, found: &Found<'_>, view: View<'_>) {
    let mut numbers = found.fields().filter(|(name, ..)| *name == "phoneList/phone").peekable();
    if numbers.peek().is_none() || !view.shows("phoneList") {
        return;
    }
    out.raw("<phoneList");
    if let Some(default) = found.first("phoneList/@default") {
        out.raw(r#" default=""#);
        out.text(default);
        out.raw("\"");
    }
    out.raw(">");
    for (_, kind, number) in numbers {
        out.raw(r#"<phone type=""#);
        out.raw(label(&PHONES, kind));
        out.raw(r#"">"#);
        out.text(number);
        out.raw("</phone>");
    }
    out.raw("</phoneList>");
}

/// One address for each place that some field is labelled with.
fn address_list(out: &mut Vec<u8>, found: &Found<'_>, view: View<'_>) {
    let within = |place: &str| {
        let mut fields = found.fields().filter(|(name, ..)| name.starts_with("addressList/address/"));
        fields.any(|(_, found, _)| label(&PLACES, found) == place)
    };
    let mut places = PLACES.iter().filter(|place| within(place)).peekable();
    if places.peek().is_none() || !view.shows("addressList") {
        return;
    }
    out.raw("<addressList");
    if let Some(mailing) = found.first("addressList/@mailingAddress") {
        out.raw(r#" mailingAddress=""#);
        out.raw(label(&PLACES, mailing));
        out.raw("\"");
    }
    out.raw(">");
    places.for_each(|place| address(out, found, "addressList/address", place));
    out.raw("</addressList>");
}

fn address(out: &mut Vec<u8>, found: &Found<'_>, path: &str, place: &str) {
    let place = label(&PLACES, place);
    out.raw(r#"<address type=""#);
    out.raw(place);
    out.raw(r#"">"#);
    for (part, _) in ADDRESS {
        let fits = |(name, kind, _): &(&str, &str, &str)| is_path(name, path, part) && label(&PLACES, kind) == place;
        if let Some((.., value)) = found.fields().find(fits) {
            element(out, part, value);
        }
    }
    out.raw("</address>");
}

fn gathered(out: &mut Vec<u8>, found: &Found<'_>, view: View<'_>, (group, parts): &Gathered) {
    let is_any = |name: &str| name.strip_prefix(group).is_some_and(|rest| rest.starts_with('/'));
    if !view.shows(group) || !found.fields().any(|(name, ..)| is_any(name)) {
        return;
    }
    out.raw("<");
    out.raw(group);
    out.raw(">");
    for (part, shape) in *parts {
        if let Some((_, label, value)) = found.fields().find(|(name, ..)| is_path(name, group, part)) {
            shaped(out, part, *shape, label, value);
        }
    }
    out.raw("</");
    out.raw(group);
    out.raw(">");
}

fn named(out: &mut Vec<u8>, found: &Found<'_>, view: View<'_>, names: &[Named]) {
    for (name, shape) in names {
        if let Some((_, label, value)) = found.fields().find(|(known, ..)| known == name).filter(|_| view.shows(name)) {
            shaped(out, name, *shape, label, value);
        }
    }
}

fn is_path(name: &str, group: &str, part: &str) -> bool {
    name.strip_prefix(group).and_then(|rest| rest.strip_prefix('/')) == Some(part)
}

fn shaped(out: &mut Vec<u8>, name: &str, shape: Shape, label: &str, value: &str) {
    match shape {
        Shape::Reference(kind) if !label.is_empty() => {
            out.raw("<");
            out.raw(name);
            out.raw(r#" uid=""#);
            ids::write_entry(out, label, kind);
            out.raw(r#"">"#);
            out.text(value);
            out.raw("</");
            out.raw(name);
            out.raw(">");
        }
        _ if shape.fits(value) => element(out, name, value),
        _ => {}
    }
}

fn element(out: &mut Vec<u8>, name: &str, text: &str) {
    out.raw("<");
    out.raw(name);
    out.raw(">");
    out.text(text);
    out.raw("</");
    out.raw(name);
    out.raw(">");
}
