//! getItemRequest: one entry; of a group with its members.

use super::status::Status;
use super::view::View;
use super::{Answer, Call, ids, items};

/// Answers the operation.
pub fn answer(call: Call<'_>) -> Answer {
    let id = call.asked.text("id").ok_or(Status::BadParameter)?;
    let book = &call.state.book;
    let found = ids::read_entry(id).and_then(|id| book.entries.get(&id)).ok_or(Status::ItemNotFound)?;
    let mut out = Vec::with_capacity(2048);
    items::write(&mut out, "m:item", book, &found, View::of(call.asked.text("view")), None);
    Ok(out)
}
