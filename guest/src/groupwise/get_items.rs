//! getItemsRequest: the entries that pass a filter, or those with certain ids, or all.
//!
//! There is no place from where to go on, so what does not fit into one answer is refused: that is what cursors are for.

use super::filter::{Filter, Search};
use super::status::Status;
use super::view::View;
use super::{Answer, Call, ids, items};
use crate::book::{Book, Found};
use crate::reply::Text;

/// How many ids a request may have.
const MAX_IDS: usize = 1000;

/// Answers the operation. Entries that are not there are left out.
pub fn answer(call: Call<'_>) -> Answer {
    let named = named(&call)?;
    if named.is_none() || call.asked.text("container").is_some() {
        call.must_be_the_book()?;
    }
    let filter = filter(&call)?;
    let count = call.asked.count()?;
    let most = usize::try_from(count.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let (book, view) = (&call.state.book, View::of(call.asked.text("view")));
    let mut search = Search::new(filter.as_ref(), call.state.settings.search_bytes);
    let passes = |found| search.passes(&found).map(|passes| passes.then_some(found)).transpose();
    let out = match &named {
        Some(named) => {
            let entries = named.iter().filter_map(|id| book.entries.get(id));
            list(book, view, entries.filter_map(passes).take(most))?
        }
        None => list(book, view, book.entries.iter().filter_map(passes).take(most))?,
    };
    if named.is_none() && filter.is_none() && count.is_none() {
        call.has_read_all();
    }
    Ok(out)
}

/// The ids that are asked for, if there are any; those of other things stand for nothing.
fn named(call: &Call<'_>) -> Result<Option<Vec<String>>, Status> {
    let document = call.asked.document;
    let list = call.asked.child("items").into_iter().flat_map(|list| document.children(list));
    let texts: Vec<_> = list.map(|node| document.text(node)).collect();
    if texts.len() > MAX_IDS {
        return Err(Status::BadParameter);
    }
    let asks = !texts.is_empty();
    Ok(asks.then(|| texts.into_iter().filter_map(ids::read_entry).collect()))
}

/// The filter of a request.
pub fn filter(call: &Call<'_>) -> Result<Option<Filter>, Status> {
    let filter = call.asked.child("filter").map(|filter| Filter::read(call.asked.document, filter));
    Ok(filter.transpose()?.flatten())
}

fn list<'b>(book: &Book, view: View<'_>, entries: impl Iterator<Item = Result<Found<'b>, Status>>) -> Answer {
    let mut out = Vec::with_capacity(4096);
    out.raw("<m:items>");
    for found in entries {
        let found = found?;
        if !items::if_it_fits(&mut out, |out| items::write(out, "item", book, &found, view, None)) {
            return Err(Status::ResponseTooLarge);
        }
    }
    out.raw("</m:items>");
    Ok(out)
}
