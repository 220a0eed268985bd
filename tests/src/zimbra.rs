//! What Zimbra's clients send, and what they read of the answers.

use postbell::contract::changes::Account;
use postbell::contract::requests::{Access, Grant, Rank, Request, RequestHead, Resolution, Standing};

/// Where users' requests go.
pub const PATH: &str = "/service/soap";

/// Where administrators' requests go.
pub const ADMIN_PATH: &str = "/service/admin/soap";

/// An operation in an envelope, with the token of a login.
pub fn soap(token: &str, operation: &str) -> String {
    format!(
        "<soap:Envelope xmlns:soap=\"http://www.w3.org/2003/05/soap-envelope\"><soap:Header><context \
         xmlns=\"urn:zimbra\"><authToken>{token}</authToken><nosession/></context></soap:Header><soap:Body>{operation}\
         </soap:Body></soap:Envelope>"
    )
}

/// AuthRequest of a user by password.
pub fn auth(login: &str, password: &str) -> String {
    format!(
        "<soap:Envelope xmlns:soap=\"http://www.w3.org/2003/05/soap-envelope\"><soap:Body><AuthRequest \
         xmlns=\"urn:zimbraAccount\"><account by=\"name\">{login}</account><password>{password}</password></AuthRequest>\
         </soap:Body></soap:Envelope>"
    )
}

/// CreateWaitSetRequest; `rest` stands among the attributes.
pub fn create(types: &str, rest: &str, members: &[&str]) -> String {
    let list = list("add", members);
    format!("<CreateWaitSetRequest xmlns=\"urn:zimbraMail\" defTypes=\"{types}\" {rest}>{list}</CreateWaitSetRequest>")
}

/// WaitSetRequest; `attributes` stand among the others, `content` is what is added, updated and removed.
pub fn wait(set: &str, seq: &str, attributes: &str, content: &str) -> String {
    format!(
        "<WaitSetRequest xmlns=\"urn:zimbraMail\" waitSet=\"{set}\" seq=\"{seq}\" {attributes}>{content}</WaitSetRequest>"
    )
}

/// DestroyWaitSetRequest.
pub fn destroy(set: &str) -> String {
    format!("<DestroyWaitSetRequest xmlns=\"urn:zimbraMail\" waitSet=\"{set}\"/>")
}

/// QueryWaitSetRequest, for all sets.
pub fn query() -> String {
    "<QueryWaitSetRequest xmlns=\"urn:zimbraAdmin\"/>".to_owned()
}

/// `add`, `update` or `remove` of these ids.
pub fn list(name: &str, ids: &[&str]) -> String {
    let entries: String = ids.iter().map(|id| format!("<a id=\"{id}\"/>")).collect();
    format!("<{name}>{entries}</{name}>")
}

/// A request as the host hands it over: of `login`, who may look into the accounts that it names.
pub fn request(id: u64, login: &str, rank: Rank, body: String, named: &[&str]) -> Request {
    let path = if rank == Rank::User { PATH } else { ADMIN_PATH };
    let resolution = |name: &&str| Resolution { account: Some(account(name)), standing: Standing::Permitted };
    Request {
        id,
        head: RequestHead {
            method: "POST".into(),
            path: path.into(),
            query: String::new(),
            content_type: "application/soap+xml; charset=utf-8".into(),
            headers: vec![],
            secure: false,
        },
        body: body.into_bytes(),
        access: Access::Granted(Grant {
            account: account(login),
            rank,
            visit: "v1".into(),
            token_placeholder: None,
            token_lifetime_ms: 172_800_000,
        }),
        act_as: None,
        accounts: named.iter().map(resolution).collect(),
    }
}

/// An account whose id is its name.
fn account(name: &str) -> Account {
    Account { id: name.into(), name: name.into(), aliases: vec![] }
}

/// The value of the first attribute of this name in an answer, in XML.
pub fn attribute<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = answer.split_once(&format!(" {name}=\""))?;
    rest.split('"').next()
}
