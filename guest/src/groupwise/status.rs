//! What an answer says became of its request: the codes of GroupWise that have a meaning here.

use crate::reply::Text;

/// A code other than 0.
///
/// Its text must not hold the word "session" unless the session is lost: there are clients that look for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The login is wrong; whether name or password is not told.
    InvalidPassword,
    /// More would have to be looked through than one request may.
    SearchTooLarge,
    /// The account has as many keys as it may have.
    TooManyKeys,
    /// There is no such key, or no longer: configure it, and read everything.
    NoSuchKey,
    /// The deltas that are asked for are no longer there: fetch the whole address book.
    DeltasTooOld,
    /// What is asked makes no sense, or is not offered.
    BadParameter,
    /// The item is not in the address book.
    ItemNotFound,
    /// More was asked for than one answer holds.
    ResponseTooLarge,
    /// There is no such cursor, or no longer.
    InvalidCursor,
    /// There is no such session, or no longer: log in again.
    InvalidSession,
    /// The request names no session.
    MissingSession,
    /// Too many answers with events are on their way.
    TooManyReads,
    /// The method is not for this container.
    WrongContainer,
}

impl Status {
    /// The code on the wire.
    pub fn code(self) -> u64 {
        match self {
            Self::InvalidPassword => 53273,
            Self::SearchTooLarge | Self::TooManyKeys => 53531,
            Self::NoSuchKey => 53761,
            Self::DeltasTooOld => 55062,
            Self::BadParameter => 59905,
            Self::ItemNotFound => 59906,
            Self::ResponseTooLarge => 59908,
            Self::InvalidCursor => 59909,
            Self::InvalidSession => 59910,
            Self::MissingSession => 59920,
            Self::TooManyReads => 59921,
            Self::WrongContainer => 59925,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::InvalidPassword => "Invalid user or password.",
            Self::SearchTooLarge => "Too many records to search; a cursor goes on where it stopped.",
            Self::TooManyKeys => "There are too many event configurations; remove one.",
            Self::NoSuchKey => "There is no event configuration with this key, or no longer.",
            Self::DeltasTooOld => "The deltas are no longer kept; read the whole address book.",
            Self::BadParameter => "A parameter is missing, wrong or not supported.",
            Self::ItemNotFound => "The item was not found.",
            Self::ResponseTooLarge => "The response would be too large; ask for fewer items or use a cursor.",
            Self::InvalidCursor => "Invalid cursor.",
            Self::InvalidSession => "Invalid session string.",
            Self::MissingSession => "Missing session string.",
            Self::TooManyReads => "Too many requests for events at once; try again.",
            Self::WrongContainer => "The method is not supported on this container.",
        }
    }
}

/// Writes the element that says what became of a request, in the namespace of the answer's prefix.
pub fn write(out: &mut Vec<u8>, prefix: &str, status: Option<Status>) {
    out.raw("<");
    out.raw(prefix);
    out.raw(":status><code>");
    out.number(status.map_or(0, Status::code));
    out.raw("</code>");
    if let Some(status) = status {
        out.raw("<description>");
        out.raw(status.text());
        out.raw("</description>");
    }
    out.raw("</");
    out.raw(prefix);
    out.raw(":status>");
}
