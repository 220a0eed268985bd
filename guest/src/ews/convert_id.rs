//! ConvertId: clients (exchangelib) send one to learn the server's version. No id can be converted here, and each is
//! told so in a well-formed answer, whose header says the version.

use crate::contract::Reply;
use crate::soap::{Document, Fields, Node};

use super::codes::Code;
use super::envelope::Messages;
use super::fault::Fault;

/// How many ids a request may have converted.
const MAX_IDS: usize = 1_000;

/// Answers a ConvertId.
pub fn answer(document: &Document<'_>, operation: Node) -> Result<Reply, Fault> {
    let mut fields = Fields::of(document, operation)?;
    let ids = fields.required("SourceIds")?;
    fields.end()?;
    let count = document.children(ids).count();
    if count == 0 {
        return Err(document.violation(ids, &["The list of ids is empty."]).into());
    }
    if count > MAX_IDS {
        return Err(document.violation(ids, &["The list of ids is too long."]).into());
    }
    let mut messages = Messages::of("ConvertId");
    for _ in 0..count {
        messages.error(Code::ErrorInvalidIdMalformed, "");
    }
    Ok(messages.reply())
}
