//! One request being answered: who asks, for whom, and which operation it is.

use super::accounts::Named;
use super::fault::Fault;
use super::sets::Form;
use super::wire::{self, Context, Element, Format, Node};
use super::{batch, create_wait_set, destroy_wait_set, end_session, get_info, no_op, query_wait_set, said, wait_set};
use crate::contract::{Account, AccountName, Grant, Rank, Reply, Request, RequestHead, Standing};
use crate::mailboxes::Mailboxes;
use crate::state::State;
use crate::turn::Turn;

/// How long a `requestId` may be, in bytes.
const MAX_REQUEST_ID: usize = 256;

/// Which of Zimbra's two services a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// That of users.
    User,
    /// That of administrators, who may use the users' operations here as well.
    Admin,
}

impl Service {
    /// The service of a request's path, if it is one of these.
    pub fn of(head: &RequestHead) -> Option<Self> {
        let is_below = |service: &Self| {
            let (path, prefix) = (head.path.as_bytes(), service.path().as_bytes());
            let begins = path.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
            begins && matches!(path.get(prefix.len()), None | Some(b'/'))
        };
        [Self::Admin, Self::User].into_iter().find(is_below)
    }

    /// Where it is.
    pub fn path(self) -> &'static str {
        match self {
            Self::User => "/service/soap",
            Self::Admin => "/service/admin/soap",
        }
    }

    /// The cookie that may carry a token instead of the header.
    pub fn cookie(self) -> &'static str {
        match self {
            Self::User => "ZM_AUTH_TOKEN",
            Self::Admin => "ZM_ADMIN_AUTH_TOKEN",
        }
    }
}

/// Who asks, and for whom.
pub struct Caller<'r> {
    /// What the login may do.
    pub rank: Rank,
    /// How long its token lives, in milliseconds.
    pub lifetime_ms: u64,
    /// The requested account: the one that the context names, else the login's own.
    pub account: &'r Account,
}

impl Caller<'_> {
    /// Whether it may do everything for every account.
    pub fn is_system_administrator(&self) -> bool {
        self.rank == Rank::Administrator
    }

    /// Refuses who is not an administrator of the whole tenant.
    pub fn must_be_system_administrator(&self) -> Result<(), Fault> {
        if self.is_system_administrator() { Ok(()) } else { Err(Fault::denied(&["need adequate admin token"])) }
    }
}

/// Who asks; `wanted`: whom the context names.
pub fn caller<'r>(grant: &'r Grant, request: &'r Request, wanted: Option<&AccountName>) -> Result<Caller<'r>, Fault> {
    let account = match wanted {
        Some(wanted) => requested(grant, request, said(wanted))?,
        None => &grant.account,
    };
    Ok(Caller { rank: grant.rank, lifetime_ms: grant.token_lifetime_ms, account })
}

fn requested<'r>(grant: &Grant, request: &'r Request, name: &str) -> Result<&'r Account, Fault> {
    let resolution = request.act_as.as_ref();
    match (resolution.map(|it| it.standing), resolution.and_then(|it| it.account.as_ref())) {
        (Some(Standing::Itself | Standing::Permitted), Some(account)) => Ok(account),
        (Some(Standing::Unavailable), _) => Err(Fault::maintenance(name)),
        (Some(Standing::Elsewhere), _) => Err(Fault::unavailable()),
        (Some(Standing::Unknown), _) if grant.rank != Rank::User => Err(Fault::no_such_account(name)),
        _ => Err(Fault::denied(&["can not access account ", name])),
    }
}

/// The id of the session that the client uses, if it wants one; a new one has the request's number.
pub fn session(request: &Request, context: &Context) -> Option<String> {
    let wanted = context.session.as_ref()?;
    Some(if wanted.is_empty() { request.id.to_string() } else { wanted.clone() })
}

/// What becomes of a request for now.
pub enum Outcome {
    /// It is answered.
    Reply(Reply),
    /// It waits.
    Parked,
}

/// What becomes of an operation for now.
pub enum Done {
    /// Its answer.
    Node(Node),
    /// It waits.
    Parked,
}

/// One request being answered.
pub struct Call<'c> {
    /// The service that it came to.
    pub service: Service,
    /// The state.
    pub state: &'c mut State,
    /// The reaction.
    pub turn: &'c mut Turn,
    /// The request.
    pub request: &'c Request,
    /// Who asks.
    pub caller: &'c Caller<'c>,
    /// The accounts that it names.
    pub named: &'c Named<'c>,
    /// How the answer is written.
    pub format: Format,
    /// The session that is used.
    pub session: Option<String>,
    /// The place of the operation in a batch.
    pub index: u32,
    /// Whether it is not in a batch: it may wait.
    pub alone: bool,
}

impl Call<'_> {
    /// Answers the whole request.
    pub fn answer(&mut self, operation: &Element<'_>) -> Result<Outcome, Fault> {
        let done = match (&*operation.namespace, &*operation.name) {
            ("urn:zimbra", "BatchRequest") => Done::Node(batch::answer(self, operation)?),
            _ => self.operation(operation)?,
        };
        let Done::Node(node) = done else {
            return Ok(Outcome::Parked);
        };
        let header = header(&self.state.mailboxes, &self.caller.account.id, self.session.as_deref());
        let node = if node.has("requestId") { node } else { with_request_id(node, operation) };
        Ok(Outcome::Reply(wire::reply(self.format, 200, header, node)))
    }

    /// Answers one operation.
    pub fn operation(&mut self, operation: &Element<'_>) -> Result<Done, Fault> {
        let admin = operation.namespace == "urn:zimbraAdmin";
        if admin && self.service != Service::Admin {
            return Err(Fault::unknown_document(&operation.name));
        }
        if admin && self.caller.rank == Rank::User {
            return Err(Fault::denied(&["need adequate admin token"]));
        }
        let node = match (&*operation.namespace, &*operation.name) {
            ("urn:zimbraMail", "CreateWaitSetRequest") => create_wait_set::answer(self, operation, false)?,
            ("urn:zimbraMail", "WaitSetRequest") => return wait_set::answer(self, operation, false),
            ("urn:zimbraMail", "DestroyWaitSetRequest") => destroy_wait_set::answer(self, operation, false)?,
            ("urn:zimbraMail", "NoOpRequest") => no_op::answer(operation),
            ("urn:zimbraAdmin", "AdminCreateWaitSetRequest") => create_wait_set::answer(self, operation, true)?,
            ("urn:zimbraAdmin", "AdminWaitSetRequest") => return wait_set::answer(self, operation, true),
            ("urn:zimbraAdmin", "AdminDestroyWaitSetRequest") => destroy_wait_set::answer(self, operation, true)?,
            ("urn:zimbraAdmin", "QueryWaitSetRequest") => query_wait_set::answer(self, operation)?,
            ("urn:zimbraAdmin", "NoOpRequest") => no_op::answer_admin(),
            ("urn:zimbraAccount", "GetInfoRequest") => get_info::answer(self),
            ("urn:zimbraAccount", "EndSessionRequest") => end_session::answer(),
            (_, name) => return Err(Fault::unknown_document(name)),
        };
        Ok(Done::Node(node))
    }

    /// How a later answer to this operation is to be written.
    pub fn form(&self, operation: &Element<'_>, admin: bool) -> Form {
        Form {
            format: self.format,
            admin,
            request_id: request_id(operation).map(str::to_owned),
            account: self.caller.account.id.clone(),
            session: self.session.clone(),
        }
    }
}

/// The header of an answer for an account.
pub fn header(mailboxes: &Mailboxes, account: &str, session: Option<&str>) -> Node {
    let number = mailboxes.find_id(account).map_or(0, |number| mailboxes.get(number).number);
    wire::header(Some(number), session)
}

/// The `requestId` of an operation, which its answer repeats.
pub fn request_id<'o>(operation: &'o Element<'_>) -> Option<&'o str> {
    operation.value("requestId").filter(|id| id.len() <= MAX_REQUEST_ID)
}

/// The answer, with the `requestId` of its operation.
pub fn with_request_id(node: Node, operation: &Element<'_>) -> Node {
    node.with_some("requestId", request_id(operation))
}

/// The truth of an attribute; absent: not true.
pub fn truth(operation: &Element<'_>, name: &str) -> Result<bool, Fault> {
    let is_more = |child: &Element<'_>| !child.children.is_empty() || !child.attributes.is_empty();
    match operation.value(name).map(str::trim) {
        Some("") if operation.child(name).is_some_and(is_more) => Err(Fault::invalid(&["'", name, "' is no value"])),
        Some(text) if text == "1" || text.eq_ignore_ascii_case("true") => Ok(true),
        None | Some("" | "0") => Ok(false),
        Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(Fault::invalid(&["'", name, "' is neither true nor false"])),
    }
}
