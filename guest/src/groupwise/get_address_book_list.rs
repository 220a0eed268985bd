//! getAddressBookListRequest: there is one address book, the system's.

use super::{Answer, Call, ids};
use crate::reply::Text;

/// What Evolution knows the system's address book by.
const NAME: &str = "GroupWise Address Book";

/// Answers the operation. As the post office has it, the book does not even say that it is not a personal one.
pub fn answer(call: Call<'_>) -> Answer {
    let mut out = Vec::with_capacity(300);
    out.raw("<m:books>");
    if call.asked.text("name").is_none_or(|name| name.eq_ignore_ascii_case(NAME)) {
        out.raw("<book><id>");
        out.raw(ids::BOOK);
        out.raw("</id><name>");
        out.raw(NAME);
        out.raw("</name><count>");
        out.number(call.state.book.entries.count() as u64);
        out.raw("</count></book>");
    }
    out.raw("</m:books>");
    Ok(out)
}
