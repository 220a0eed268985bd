//! getDeltasRequest: what happened in the system address book, one item for each sequence, in their order.
//!
//! An item shows its entry as it is now. One that has gone since is told as deleted, whatever happened before: so
//! clients that apply the deletions of a page before its additions (Evolution) end with the same entries as those that
//! keep the order.

use super::asked::{count, text_of, whole_number};
use super::items;
use super::status::Status;
use super::view::View;
use super::{Answer, Call, delta_info};
use crate::book::{Book, Delta, Sequence, SyncType};
use crate::reply::Text;

/// How many deltas Evolution asks for.
const EVOLUTIONS_PAGE: u64 = 100;

/// What Evolution wants to see of each, in the order of the alphabet.
const EVOLUTIONS_VIEW: [&str; 3] = ["email", "name", "sync"];

/// What a request wants.
struct Wanted<'w> {
    view: Option<&'w str>,
    count: Option<u64>,
    first: Option<Sequence>,
    rebuilt: Option<i64>,
}

/// What was read: the items, how many, and the sequence of the last one.
struct Page {
    items: Vec<u8>,
    count: u64,
    last: Sequence,
}

/// Answers the operation.
pub fn answer(mut call: Call<'_>) -> Answer {
    call.must_be_the_book()?;
    let wanted = Wanted::of(&call)?;
    let page = wanted.read(&call.state.book);
    wanted.note_what_is_skipped(&mut call, page.as_ref().ok());
    let page = page?;
    let book = &call.state.book;
    let mut out = page.items;
    delta_info::write(&mut out, book, Some(page.count), book.deltas.first(), page.last);
    Ok(out)
}

impl<'w> Wanted<'w> {
    fn of(call: &Call<'w>) -> Result<Self, Status> {
        let asked = call.asked;
        let info = asked.child("deltaInfo");
        let number = |name: &str| {
            let text = info.and_then(|info| text_of(asked.document, info, name));
            text.map(whole_number).transpose()
        };
        let first = number("firstSequence")?.map(|first| u64::try_from(first).map_err(|_| Status::BadParameter));
        Ok(Self {
            view: asked.text("view"),
            count: count(number("count")?)?,
            first: first.transpose()?,
            rebuilt: number("lastTimePORebuild")?,
        })
    }

    /// Reads a page: as many as are wanted, or as fit into one answer.
    fn read(&self, book: &Book) -> Result<Page, Status> {
        // Sequences begin with 1, so who has none asks for 0 or 1.
        let from = self.first.map_or(book.deltas.first(), |first| first.max(1));
        let another_time = self.rebuilt.is_some_and(|rebuilt| rebuilt != i64::from(book.rebuilt));
        if another_time || from < book.deltas.first() {
            return Err(Status::DeltasTooOld);
        }
        let (mut items, mut read) = (Vec::with_capacity(4096), 0);
        items.raw("<m:items>");
        let most = usize::try_from(self.count.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        for (_, delta) in book.deltas.from(from).take(most) {
            if !items::if_it_fits(&mut items, |out| write(out, book, delta, View::of(self.view))) {
                break;
            }
            read += 1;
        }
        items.raw("</m:items>");
        Ok(Page { items, count: read, last: (from - 1).saturating_add(read).min(book.deltas.last()) })
    }

    /// Evolution reads one page, and takes all that it knew of before for read, even if it is told that the deltas are
    /// too old; KDE takes a page with fewer than it wanted for the last one, though an answer may hold no more. So what
    /// they ask next decides whether they missed some.
    fn note_what_is_skipped(&self, call: &mut Call<'_>, page: Option<&Page>) {
        let last = call.state.book.deltas.last();
        let Some(session) = call.state.sessions.get_mut(call.session) else {
            return;
        };
        let misleads = page.is_some_and(|page| page.last < last && self.count.is_none_or(|count| page.count < count));
        if session.skipped.is_none() && !misleads && !self.is_evolutions() {
            return;
        }
        let follows = self.first.is_some() && session.skipped == self.first;
        let skipped = match (page, session.skipped) {
            (None, _) => Some(0),
            (Some(_), Some(_)) if !follows => session.skipped,
            (Some(page), _) if page.last < last => Some(page.last + 1),
            (Some(_), _) => None,
        };
        call.turn.changed |= session.skipped != skipped;
        session.skipped = skipped;
    }

    fn is_evolutions(&self) -> bool {
        let mut words: Vec<_> = self.view.unwrap_or("").split_ascii_whitespace().collect();
        words.sort_unstable();
        self.count == Some(EVOLUTIONS_PAGE) && words == EVOLUTIONS_VIEW
    }
}

fn write(out: &mut Vec<u8>, book: &Book, delta: &Delta, view: View<'_>) {
    match book.entries.get(&delta.id) {
        Some(found) if delta.sync != SyncType::Delete => {
            items::write(out, "item", book, &found, view.without_members(), Some(delta.sync));
        }
        _ => items::write_deleted(out, &delta.id, delta.kind),
    }
}
