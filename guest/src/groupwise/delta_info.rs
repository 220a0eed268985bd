//! DeltaInfo of the schema: what there is of deltas, or was read.

use crate::book::{Book, Sequence};
use crate::reply::Text;

/// Writes what an answer says of the deltas. `count`: how many items it has, where it has items.
pub fn write(out: &mut Vec<u8>, book: &Book, count: Option<u64>, first: Sequence, last: Sequence) {
    out.raw("<m:deltaInfo>");
    if let Some(count) = count {
        number(out, "count", count);
    }
    number(out, "firstSequence", first);
    number(out, "lastSequence", last);
    number(out, "lastTimePORebuild", u64::from(book.rebuilt));
    out.raw("</m:deltaInfo>");
}

fn number(out: &mut Vec<u8>, name: &str, number: u64) {
    out.raw("<");
    out.raw(name);
    out.raw(">");
    out.number(number);
    out.raw("</");
    out.raw(name);
    out.raw(">");
}
