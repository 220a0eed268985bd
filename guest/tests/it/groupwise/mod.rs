//! GroupWise's logins and its address book, by their wire.

mod bad_input;
mod deltas;
mod events;
mod filters;
mod limits;
mod logins;
mod model;
mod reading;

use postbell_notify::contract::*;

use crate::world::{World, account, element, text};

pub const ALICE: &str = "alice@example.org";
pub const BOOK: &str = "GroupWiseSystemAddressBook@52";

/// A request as the host hands it over after `identify`: every session string is the visit of a login that holds.
pub fn exchange(world: &mut World, body: &str) -> Reaction {
    world.requests += 1;
    let head = RequestHead { method: "POST".into(), path: "/soap".into(), ..RequestHead::default() };
    let claims = postbell_notify::identify(&head, body.as_bytes());
    let mut bytes = body.as_bytes().to_vec();
    for Span { start, length } in &claims.secrets {
        bytes[*start as usize..(start + length) as usize].fill(b'*');
    }
    let access = match claims.credential {
        None => Access::Denied(Denial::Missing),
        Some(Credential::Password(password)) if password.secret != "postbell" => Access::Denied(Denial::WrongSecret),
        Some(Credential::Password(_)) => granted(&format!("visit{}", world.requests)),
        Some(Credential::Token(token)) if token.starts_with("visit") => granted(&token),
        Some(_) => Access::Denied(Denial::UnknownToken),
    };
    let request = Request { id: world.requests, head, body: bytes, access, act_as: None, accounts: Vec::new() };
    let (saved, at) = (world.saved(), world.at());
    let reaction = world.notify.answer(at, &request);
    assert!(reaction.changed || world.saved() == saved, "it says that nothing changed: {body}");
    assert_eq!(reaction.replies.len(), 1);
    reaction
}

/// The body of the answer.
pub fn send(world: &mut World, body: &str) -> String {
    text(&exchange(world, body).replies[0])
}

/// The placeholder of a token is the visit itself, so that a test can bring it back.
fn granted(visit: &str) -> Access {
    Access::Granted(Grant {
        account: account(ALICE),
        rank: Rank::User,
        visit: visit.into(),
        token_placeholder: Some(visit.into()),
        token_lifetime_ms: 172_800_000,
    })
}

pub fn soap(session: &str, operation: &str) -> String {
    format!(
        "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Header><session>{session}</session></s:Header><s:Body>{operation}</s:Body></s:Envelope>"
    )
}

/// A session of alice's.
pub fn log_in(world: &mut World) -> String {
    log_in_with(world, "test")
}

pub fn log_in_with(world: &mut World, application: &str) -> String {
    let auth = "<auth type=\"t:PlainText\"><username>alice</username><password>postbell</password></auth>";
    let operation = format!("<loginRequest>{auth}<application>{application}</application></loginRequest>");
    element(&send(world, &soap("", &operation)), "session")
}

/// An operation on the system address book.
pub fn on_book(world: &mut World, session: &str, name: &str, rest: &str) -> String {
    let operation = format!("<{name}Request><container>{BOOK}</container>{rest}</{name}Request>");
    send(world, &soap(session, &operation))
}

pub fn book(world: &mut World, changes: Vec<BookChange>) -> Reaction {
    let at = world.at();
    world.notify.ingest(at, Batch { accounts: Vec::new(), book: changes })
}

pub fn entry(kind: &str, id: &str, name: &str) -> Entry {
    let field = |path: &str, value: String| Field { name: path.into(), label: String::new(), value };
    let fields = vec![field("name", name.into()), field("emailList/email", format!("{id}@example.org"))];
    Entry { id: id.into(), uuid: None, kind: kind.into(), fields, members: Vec::new() }
}

pub fn status(body: &str) -> u32 {
    element(body, "code").parse().expect("a number")
}

/// An answer in short: `code`, then each item as `sync:id=name`, then what it says of the deltas.
pub fn short(body: &str) -> String {
    let document = roxmltree::Document::parse(body).expect("answers are well-formed");
    let mut said = status(body).to_string();
    for item in document.descendants().filter(|node| node.tag_name().name() == "item") {
        let text = |name: &str| item.children().find(|it| it.tag_name().name() == name).and_then(|it| it.text());
        let id = text("id").expect("an id").split('@').next().expect("a part");
        let sync = text("sync").map_or(String::new(), |sync| format!("{sync}:"));
        said = format!("{said} {sync}{id}{}", text("name").map_or(String::new(), |name| format!("={name}")));
    }
    if let Some(info) = document.descendants().find(|node| node.tag_name().name() == "deltaInfo") {
        let numbers = info.children().filter(|it| it.tag_name().name() != "lastTimePORebuild");
        let numbers: Vec<_> = numbers.filter_map(|it| it.text()).collect();
        said = format!("{said} [{}]", numbers.join(" "));
    }
    said
}
