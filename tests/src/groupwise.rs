//! What GroupWise's clients send, and what their tests post.

use postbell::contract::changes::Account;
use postbell::contract::requests::{Access, Grant, Rank, Request, RequestHead};
use serde_json::{Value, json};

/// Where requests go.
pub const PATH: &str = "/soap";

/// The system address book.
pub const BOOK: &str = "GroupWiseSystemAddressBook@52";

/// An operation in an envelope, with the session of a login.
pub fn soap(session: &str, operation: &str) -> String {
    format!(
        "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:t=\"http://schemas.novell.com/2005/01/GroupWise/types\"><s:Header><t:session>{session}</t:session></s:Header>\
         <s:Body>{operation}</s:Body></s:Envelope>"
    )
}

/// loginRequest by password.
pub fn login(user: &str, password: &str) -> String {
    soap(
        "",
        &format!(
            "<loginRequest><auth type=\"t:PlainText\"><t:username>{user}</t:username><t:password>{password}</t:password>\
             </auth><language>en</language><version>1.05</version></loginRequest>"
        ),
    )
}

/// An operation on the system address book; `rest` follows the container.
pub fn on_book(session: &str, name: &str, rest: &str) -> String {
    soap(session, &format!("<{name}Request><container>{BOOK}</container>{rest}</{name}Request>"))
}

/// The id of a source's entry, as clients see that of a contact.
pub fn contact_id(entry: &str) -> String {
    format!("{entry}@56:{BOOK}")
}

/// A contact of a source's.
pub fn contact(id: &str, name: &str) -> Value {
    json!({"id": id, "kind": "contact", "fields": [
        {"name": "fullName/displayName", "value": name},
        {"name": "emailList/email", "value": format!("{id}@example.org")},
    ]})
}

/// The text of the first element with this local name in an answer; empty if there is none.
pub fn text(answer: &str, name: &str) -> String {
    let document = roxmltree::Document::parse(answer);
    let found = document.iter().flat_map(|it| it.descendants()).find(|node| node.tag_name().name() == name);
    found.and_then(|node| node.text()).unwrap_or_default().to_owned()
}

/// A request as the host hands it over: of a login of `account`, which the host calls `visit`.
pub fn request(id: u64, account: &str, rank: Rank, visit: &str, body: String) -> Request {
    Request {
        id,
        head: RequestHead {
            method: "POST".into(),
            path: PATH.into(),
            query: String::new(),
            content_type: "text/xml; charset=utf-8".into(),
            headers: vec![],
            secure: false,
        },
        body: body.into_bytes(),
        access: Access::Granted(Grant {
            account: Account { id: account.into(), name: account.into(), aliases: vec![] },
            rank,
            visit: visit.into(),
            token_placeholder: Some(format!("token of {visit}")),
            token_lifetime_ms: 172_800_000,
        }),
        act_as: None,
        accounts: vec![],
    }
}
