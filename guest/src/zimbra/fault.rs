//! Faults: why a request is refused, in XML and in JSON.

use super::wire::{self, Format, Node};
use crate::contract::{Denial, Refusal, Reply};

/// Why a request is refused.
#[derive(Clone, Debug)]
pub struct Fault {
    code: &'static str,
    text: String,
    /// Whether the server is to blame, not the client.
    receiver: bool,
    /// What the fault is about: its name, and the value.
    argument: Option<(&'static str, String)>,
}

impl Fault {
    fn new(code: &'static str, text: &[&str]) -> Self {
        Self { code, text: text.concat(), receiver: false, argument: None }
    }

    fn server(code: &'static str, text: &str) -> Self {
        Self { receiver: true, ..Self::new(code, &[text]) }
    }

    /// The body could not be read.
    pub fn unreadable(why: &str) -> Self {
        Self::new("service.PARSE_ERROR", &["parse error: ", why])
    }

    /// Nobody serves this operation here.
    pub fn unknown_document(name: &str) -> Self {
        Self::new("service.UNKNOWN_DOCUMENT", &["unknown document: ", &short(name)])
    }

    /// The request is not what the operation takes.
    pub fn invalid(why: &[&str]) -> Self {
        Self::new("service.INVALID_REQUEST", &["invalid request: ", &why.concat()])
    }

    /// An attribute that must be there is not.
    pub fn missing(attribute: &str) -> Self {
        Self::invalid(&["missing required attribute: ", attribute])
    }

    /// The caller may not do this.
    pub fn denied(why: &[&str]) -> Self {
        Self::new("service.PERM_DENIED", &["permission denied: ", &why.concat()])
    }

    /// The account in the context is unknown.
    pub fn no_such_account(name: &str) -> Self {
        Self::new("account.NO_SUCH_ACCOUNT", &["no such account: ", &short(name)])
    }

    /// The account in the context cannot be used for now.
    pub fn maintenance(name: &str) -> Self {
        Self::server("account.MAINTENANCE_MODE", &["account is in maintenance mode: ", &short(name)].concat())
    }

    /// No WaitSet has this id: as WaitSet and QueryWaitSet say it.
    pub fn no_such_wait_set(id: &str) -> Self {
        let argument = Some(("id", short(id)));
        Self { argument, ..Self::new("admin.NO_SUCH_WAITSET", &["No such waitset: ", &short(id)]) }
    }

    /// No WaitSet has this id: as DestroyWaitSet says it.
    pub fn nothing_to_destroy(id: &str) -> Self {
        let argument = Some(("id", short(id)));
        Self { argument, ..Self::new("mail.NO_SUCH_WAITSET", &["WaitSet not found: ", &short(id)]) }
    }

    /// The sequence number of an all-accounts WaitSet that is to be made again is none.
    pub fn no_commit_id(seq: &str) -> Self {
        Self::new("service.PARSE_ERROR", &["parse error: Invalid CommitId: ", &short(seq)])
    }

    /// It names a time of which too little is known.
    pub fn old_commit_id(seq: &str) -> Self {
        let argument = Some(("id", short(seq)));
        Self { argument, ..Self::new("mail.INVALID_COMMIT_ID", &["Invalid commit id: ", &short(seq)]) }
    }

    /// It names a time that has not come.
    pub fn future_commit_id(seq: &str) -> Self {
        let text = ["system failure: Unable to sync to commit id ", &short(seq)].concat();
        Self::server("service.FAILURE", &text)
    }

    /// A limit of the whole tenant is reached.
    pub fn unavailable() -> Self {
        Self::server("service.TEMPORARILY_UNAVAILABLE", "service temporarily unavailable")
    }

    /// Name and password, or whatever stood for them, were not taken.
    pub fn auth_failed(name: &str) -> Self {
        Self::new("account.AUTH_FAILED", &["authentication failed for [", &short(name), "]"])
    }

    /// The caller is not logged in, or may not come in.
    pub fn of_denial(denial: Denial) -> Self {
        match denial {
            Denial::Expired => Self::new("service.AUTH_EXPIRED", &["auth credentials have expired"]),
            Denial::Inactive => Self::new("account.ACCOUNT_INACTIVE", &["account is not active"]),
            Denial::NotPermitted => Self::denied(&["need adequate admin token"]),
            Denial::Throttled | Denial::Unavailable => Self::unavailable(),
            _ => Self::new("service.AUTH_REQUIRED", &["no valid authtoken present"]),
        }
    }

    /// The answer: status 500, whoever is to blame.
    pub fn reply(self, format: Format, header: Node, trace: &str) -> Reply {
        wire::reply(format, 500, header, self.node(format, trace))
    }

    /// The element, for an answer by itself or within one to a batch.
    pub fn node(self, format: Format, trace: &str) -> Node {
        let error = Node::of("Error", "urn:zimbra").holding("Code", self.code).holding("Trace", trace);
        let argument =
            |(name, value): (&'static str, String)| Node::new("a").with("t", "STR").with("n", name).text(value);
        let error = error.many(self.argument.map(argument));
        let fault = Node::new("soap:Fault");
        if format == Format::Xml11 {
            let side = if self.receiver { "soap:Server" } else { "soap:Client" };
            return fault
                .holding("faultcode", side)
                .holding("faultstring", self.text)
                .one(Node::new("detail").one(error));
        }
        let side = if self.receiver { "soap:Receiver" } else { "soap:Sender" };
        fault
            .one(Node::new("soap:Code").holding("soap:Value", side))
            .one(Node::new("soap:Reason").holding("soap:Text", self.text))
            .one(Node::new("soap:Detail").one(error))
    }
}

/// Refuses a request for the host.
pub fn refuse(why: Refusal, format: Format) -> Reply {
    let fault = match why {
        Refusal::TooLarge => Fault::invalid(&["the request is too large"]),
        Refusal::Fault => Fault::server("service.FAILURE", "system failure: the request could not be handled"),
        Refusal::Busy | Refusal::Throttled | Refusal::Stopping | Refusal::Moved => Fault::unavailable(),
    };
    let reply = fault.reply(format, wire::header(None, None), "refused");
    if why == Refusal::TooLarge { Reply { status: 413, ..reply } } else { reply }
}

/// What a client wrote, cut where it would be long to say it again.
fn short(text: &str) -> String {
    text.chars().take(256).collect()
}
