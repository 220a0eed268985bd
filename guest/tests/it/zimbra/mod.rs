//! Zimbra's WaitSets, by their wire.

mod accounts;
mod all_accounts;
mod auth;
mod bad_input;
mod expand;
mod formats;
mod harness;
mod life;
mod model;
mod server_tests;
mod waiting;

use postbell_notify::contract::*;

use crate::world::{World, account, change, text};

pub const ALICE: &str = "alice@example.org";
pub const BOB: &str = "bob@example.org";
pub const ADMIN: &str = "admin@example.org";

/// The accounts that the host of these tests knows.
const KNOWN: [&str; 4] = [ALICE, BOB, ADMIN, "carol@example.org"];

/// Who asks, and where.
#[derive(Clone, Copy)]
pub struct As {
    pub login: &'static str,
    pub rank: Rank,
    pub path: &'static str,
}

pub const USER: As = As { login: ALICE, rank: Rank::User, path: "/service/soap" };
pub const ROOT: As = As { login: ADMIN, rank: Rank::Administrator, path: "/service/admin/soap" };

/// A reaction, with the request that was answered.
pub struct Soap {
    pub request: u64,
    pub reaction: Reaction,
}

impl Soap {
    /// The answer to the request itself; the others are to earlier ones.
    pub fn body(&self) -> String {
        let own: Vec<_> = self.reaction.replies.iter().filter(|reply| reply.to == self.request).collect();
        assert_eq!(own.len(), 1, "{:?}", self.reaction);
        assert!(!own[0].more);
        text(own[0])
    }

    pub fn status(&self) -> u16 {
        self.reaction.replies.iter().find(|reply| reply.to == self.request).expect("an answer").status
    }

    pub fn is_parked(&self) -> bool {
        self.reaction.replies.iter().all(|reply| reply.to != self.request)
    }
}

/// A request as the host hands it over after `identify`.
pub fn request(world: &mut World, who: As, body: &str) -> Request {
    world.requests += 1;
    let head = RequestHead { method: "POST".into(), path: who.path.into(), ..RequestHead::default() };
    let claims = postbell_notify::identify(&head, body.as_bytes());
    let mut bytes = body.as_bytes().to_vec();
    for Span { start, length } in &claims.secrets {
        bytes[*start as usize..(start + length) as usize].fill(b'*');
    }
    let resolve = |named: AccountName| resolve(who, &named);
    Request {
        id: world.requests,
        head,
        body: bytes,
        access: Access::Granted(Grant {
            account: account(who.login),
            rank: who.rank,
            visit: "visit".into(),
            token_placeholder: claims.wants_token.then(|| "placeholder".into()),
            token_lifetime_ms: 172_800_000,
        }),
        act_as: claims.act_as.map(resolve),
        accounts: claims.accounts.into_iter().map(resolve).collect(),
    }
}

fn resolve(who: As, named: &AccountName) -> Resolution {
    let (AccountName::Name(name) | AccountName::Id(name)) = named else {
        panic!("Zimbra names accounts by name or id: {named:?}");
    };
    if !KNOWN.contains(&name.as_str()) && !name.starts_with('u') {
        return Resolution { account: None, standing: Standing::Unknown };
    }
    let standing = match () {
        () if name == who.login => Standing::Itself,
        () if who.rank == Rank::Administrator => Standing::Permitted,
        () => Standing::Forbidden,
    };
    Resolution { account: Some(account(name)), standing }
}

pub fn send(world: &mut World, who: As, body: &str) -> Soap {
    let request = request(world, who, body);
    let (id, at) = (request.id, world.at());
    let saved = world.saved();
    let reaction = world.notify.answer(at, &request);
    assert!(reaction.changed || world.saved() == saved, "it says that nothing changed: {body}");
    Soap { request: id, reaction }
}

/// An operation in an envelope of SOAP 1.2.
pub fn soap(operation: &str) -> String {
    with_context("", operation)
}

pub fn with_context(context: &str, operation: &str) -> String {
    format!(
        "<soap:Envelope xmlns:soap=\"http://www.w3.org/2003/05/soap-envelope\"><soap:Header>\
<context xmlns=\"urn:zimbra\"><authToken>t</authToken>{context}</context></soap:Header><soap:Body>{operation}</soap:Body>\
</soap:Envelope>"
    )
}

/// The operation's element in the answer, as it stands there.
pub fn inside(body: &str) -> String {
    let (_, rest) = body.split_once("<soap:Body>").unwrap_or_else(|| panic!("no SOAP: {body}"));
    rest.split_once("</soap:Body>").expect("a body").0.to_owned()
}

/// An answer in short: `seq=2 a=alice b=...`, `canceled`, or a fault's code.
pub fn short(body: &str) -> String {
    let document = roxmltree::Document::parse(body).expect("answers are well-formed");
    let find = |name: &str| document.descendants().find(|node| node.tag_name().name() == name);
    if find("Fault").is_some() {
        return find("Code")
            .filter(|node| node.tag_name().namespace() == Some("urn:zimbra"))
            .or_else(|| document.descendants().rfind(|node| node.tag_name().name() == "Code"))
            .and_then(|node| node.text())
            .expect("a code")
            .to_owned();
    }
    let answer = find("Body").and_then(|body| body.first_element_child()).expect("an answer");
    let mut said = match (answer.attribute("canceled"), answer.attribute("seq")) {
        (Some(_), seq) => format!("canceled{}", seq.unwrap_or_default()),
        (None, seq) => format!("seq={}", seq.unwrap_or_default()),
    };
    for child in answer.children().filter(|node| node.is_element()) {
        let id = child.attribute("id").unwrap_or_default();
        let id = id.split('@').next().unwrap_or_default();
        match child.tag_name().name() {
            "a" => said = format!("{said} {id}"),
            "error" => said = format!("{said} {id}:{}", child.attribute("type").expect("a type")),
            other => said = format!("{said} <{other}>"),
        }
        for mods in child.children().filter(|node| node.is_element()) {
            said = format!("{said}[{}]", mods.attribute("id").unwrap_or_default());
        }
    }
    said
}

/// Every reply of a reaction in short, by its request.
pub fn shorts(reaction: &Reaction) -> Vec<String> {
    reaction.replies.iter().map(|reply| format!("r{} {}", reply.to, short(&text(reply)))).collect()
}

pub fn id_of(body: &str) -> String {
    body.split("waitSet=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an id").to_owned()
}

pub fn create(world: &mut World, who: As, types: &str, rest: &str) -> String {
    let operation =
        format!("<CreateWaitSetRequest xmlns=\"urn:zimbraMail\" defTypes=\"{types}\">{rest}</CreateWaitSetRequest>");
    id_of(&send(world, who, &soap(&operation)).body())
}

/// With alice as its only member.
pub fn of_alice(world: &mut World, types: &str) -> String {
    create(world, USER, types, &add(&[ALICE]))
}

pub fn add(accounts: &[&str]) -> String {
    let list: String = accounts.iter().map(|id| format!("<a id=\"{id}\"/>")).collect();
    format!("<add>{list}</add>")
}

pub fn wait_operation(id: &str, seq: &str, attributes: &str, rest: &str) -> String {
    format!(
        "<WaitSetRequest xmlns=\"urn:zimbraMail\" waitSet=\"{id}\" seq=\"{seq}\" {attributes}>{rest}</WaitSetRequest>"
    )
}

/// A wait that does not block, in short.
pub fn poll(world: &mut World, who: As, id: &str, seq: &str, rest: &str) -> String {
    short(&send(world, who, &soap(&wait_operation(id, seq, "", rest))).body())
}

pub fn block(world: &mut World, who: As, id: &str, seq: &str, attributes: &str) -> Soap {
    send(world, who, &soap(&wait_operation(id, seq, &format!("block=\"1\" {attributes}"), "")))
}

pub fn happens_to(world: &mut World, account: &str, what: Happening) -> Reaction {
    let now = world.now;
    world.changes(account, vec![change(now, what)])
}

pub fn of_kind(kind: &str, folder: &str, id: &str) -> Item {
    Item { kind: kind.into(), id: id.into(), folder: folder.into(), ..Item::default() }
}
