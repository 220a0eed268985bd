//! A batch on which the plugin fails is halved until the change is found that it fails on. That one is skipped: a `gap`
//! takes its place.

use std::ops::Range;

use crate::contract::changes::{AccountChanges, Batch, BookChange, Change, Happening};
use crate::contract::types::{Place, Rejection};
use crate::journal::{Input, Skipped, SourceSpan};

/// How often the plugin may fail on one batch before the whole of it is refused: three culprits among the most changes
/// that a batch can have are found. A plugin that has run out of memory fails on everything.
const MOST_FAILURES: u32 = 40;

/// A batch being fed in pieces. Ask for the next piece, feed it, and say how that went, until there is none left.
#[derive(Debug)]
pub(super) struct Halving {
    batch: Batch,
    places: Vec<Place>,
    span: Option<SourceSpan>,
    /// What is still to be fed; the next piece is the last of these.
    waiting: Vec<Piece>,
    rejections: Vec<Rejection>,
    failures: u32,
}

#[derive(Clone, Debug)]
enum Piece {
    /// These of the places.
    Changes(Range<usize>),
    /// A gap instead of one of them, on which the plugin failed for this reason.
    Gap(usize, String),
    /// Nothing instead of one of them: the plugin fails on the gap as well.
    Nothing(usize, String),
}

impl Halving {
    /// Of a batch on which the plugin failed; none if there is nothing in it that could be left out.
    pub(super) fn new(batch: Batch, span: Option<SourceSpan>, reason: &str) -> Option<Halving> {
        let places = places(&batch);
        let mut halving = Halving { batch, places, span, waiting: vec![], rejections: vec![], failures: 1 };
        let all = Piece::Changes(0..halving.places.len());
        halving.divide(all, reason).then_some(halving)
    }

    /// Whether the plugin failed on the whole of it only.
    pub(super) fn is_new(&self) -> bool {
        self.failures == 1
    }

    /// The next piece; the span of the whole batch comes with the last.
    pub(super) fn input(&self) -> Option<Input> {
        let piece = self.waiting.last()?;
        let span = if self.waiting.len() == 1 { self.span.clone() } else { None };
        Some(match piece {
            Piece::Changes(range) => Input::Ingest { batch: self.part(range.clone()), span, skipped: None },
            Piece::Gap(index, reason) => {
                Input::Ingest { batch: self.gap(*index), span, skipped: Some(self.skipped(*index, reason)) }
            }
            Piece::Nothing(index, reason) => {
                let batch = Batch { accounts: vec![], book: vec![] };
                Input::Ingest { batch, span, skipped: Some(self.skipped(*index, reason)) }
            }
        })
    }

    /// The plugin took the piece, with these rejections.
    pub(super) fn fed(&mut self, rejections: Vec<Rejection>) {
        match self.waiting.pop() {
            Some(Piece::Changes(range)) => {
                let of_piece = places(&self.part(range.clone()));
                for Rejection { place, reason } in rejections {
                    if let Some(index) = of_piece.iter().position(|other| *other == place) {
                        self.rejections.push(Rejection { place: self.places[range.start + index], reason });
                    }
                }
            }
            Some(Piece::Gap(index, reason) | Piece::Nothing(index, reason)) => {
                let reason = shortened(format!("skipped, because the plugin failed on it: {reason}"));
                self.rejections.push(Rejection { place: self.places[index], reason });
            }
            None => {}
        }
    }

    /// The plugin failed on the piece. False: nothing smaller is tried; the batch as a whole is to be refused.
    #[must_use]
    pub(super) fn failed(&mut self, reason: &str) -> bool {
        self.failures += 1;
        if self.failures > MOST_FAILURES {
            return false;
        }
        match self.waiting.pop() {
            Some(piece) => self.divide(piece, reason),
            None => false,
        }
    }

    /// What was rejected, once no piece is left; in the places of the whole batch.
    pub(super) fn rejections(self) -> Vec<Rejection> {
        self.rejections
    }

    fn divide(&mut self, piece: Piece, reason: &str) -> bool {
        match piece {
            Piece::Changes(range) if range.len() > 1 => {
                let middle = range.start + range.len() / 2;
                self.waiting.push(Piece::Changes(middle..range.end));
                self.waiting.push(Piece::Changes(range.start..middle));
            }
            Piece::Changes(range) if range.len() == 1 => self.waiting.push(Piece::Gap(range.start, reason.to_owned())),
            Piece::Gap(index, reason) => self.waiting.push(Piece::Nothing(index, reason)),
            Piece::Changes(_) | Piece::Nothing(..) => return false,
        }
        true
    }

    fn part(&self, range: Range<usize>) -> Batch {
        let mut part = Batch { accounts: vec![], book: vec![] };
        let mut last = None;
        for place in &self.places[range] {
            match *place {
                Place::Book(book) => part.book.push(self.batch.book[book as usize].clone()),
                Place::Change((account, change)) => {
                    let AccountChanges { account: name, changes } = &self.batch.accounts[account as usize];
                    if last != Some(account) {
                        part.accounts.push(AccountChanges { account: name.clone(), changes: vec![] });
                        last = Some(account);
                    }
                    let of_account = part.accounts.last_mut().expect("one was just pushed");
                    of_account.changes.push(changes[change as usize].clone());
                }
            }
        }
        part
    }

    fn gap(&self, index: usize) -> Batch {
        let Batch { mut accounts, mut book } = self.part(index..index + 1);
        for of_account in &mut accounts {
            for change in &mut of_account.changes {
                *change = Change { number: None, at: change.at, origin: None, counts: vec![], what: Happening::Gap };
            }
        }
        book.fill(BookChange::Gap);
        Batch { accounts, book }
    }

    fn skipped(&self, index: usize, reason: &str) -> Box<Skipped> {
        Box::new(Skipped { batch: self.part(index..index + 1), reason: reason.to_owned() })
    }
}

fn places(batch: &Batch) -> Vec<Place> {
    let of_account = |(account, changes): (u32, &AccountChanges)| {
        (0..).zip(&changes.changes).map(move |(change, _)| Place::Change((account, change))).collect::<Vec<_>>()
    };
    let of_book = (0..).zip(&batch.book).map(|(index, _)| Place::Book(index));
    (0..).zip(&batch.accounts).flat_map(of_account).chain(of_book).collect()
}

/// A rejection's reason has at most 200 bytes.
fn shortened(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(200));
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Batch {
        let change = |at| Change { number: None, at, origin: None, counts: vec![], what: Happening::Hinted(vec![]) };
        let of = |account: &str, changes: Range<u64>| AccountChanges {
            account: account.into(),
            changes: changes.map(change).collect(),
        };
        let book = vec![BookChange::Deleted("x".into()), BookChange::Deleted("y".into())];
        Batch { accounts: vec![of("a", 0..3), of("b", 3..3), of("a", 3..5)], book }
    }

    /// Feeds a plugin that fails on these changes (by `at`) or entries; gives what it took and what was rejected.
    fn run(fails_on: &[u64], fails_on_entry: &str) -> (Vec<u64>, Vec<Place>, usize) {
        let span = SourceSpan { source: "s".into(), offset: 0, length: 7 };
        let mut halving = Halving::new(batch(), Some(span), "why").expect("changes");
        let (mut taken, mut gaps, mut spans) = (vec![], 0, 0);
        while let Some(Input::Ingest { batch, span, skipped }) = halving.input() {
            let changes = batch.accounts.iter().flat_map(|account| &account.changes);
            let fails = changes.clone().any(|change| fails_on.contains(&change.at) && skipped.is_none())
                || batch.book.iter().any(|change| matches!(change, BookChange::Deleted(id) if id == fails_on_entry));
            if fails {
                assert!(halving.failed("because"));
                continue;
            }
            gaps += usize::from(skipped.is_some());
            spans += usize::from(span.is_some());
            taken.extend(changes.filter(|_| skipped.is_none()).map(|change| change.at));
            halving.fed(vec![]);
        }
        assert_eq!(spans, 1, "the span comes once");
        (taken, halving.rejections().into_iter().map(|rejection| rejection.place).collect(), gaps)
    }

    #[test]
    fn all_but_the_culprits_are_fed_in_order() {
        for culprit in 0..5 {
            let (taken, rejected, gaps) = run(&[culprit], "none");
            assert_eq!(taken, (0..5).filter(|at| *at != culprit).collect::<Vec<_>>());
            let place = if culprit < 3 { (0, culprit as u32) } else { (2, culprit as u32 - 3) };
            assert!(matches!(rejected[..], [Place::Change(rejected)] if rejected == place), "{rejected:?}");
            assert_eq!(gaps, 1);
        }
        let (taken, rejected, gaps) = run(&[0, 4], "y");
        assert_eq!((taken, rejected.len(), gaps), (vec![1, 2, 3], 3, 3));
        assert!(matches!(rejected[2], Place::Book(1)));
    }

    #[test]
    fn rejections_of_pieces_have_the_places_of_the_whole() {
        let mut halving = Halving::new(batch(), None, "why").expect("changes");
        assert!(halving.input().is_some());
        halving.fed(vec![]);
        // The second half: (2, 0), (2, 1) and both entries.
        let reason = String::new();
        halving.fed(vec![
            Rejection { place: Place::Change((0, 1)), reason: reason.clone() },
            Rejection { place: Place::Book(1), reason },
        ]);
        let places: Vec<Place> = halving.rejections().into_iter().map(|rejection| rejection.place).collect();
        assert!(matches!(places[..], [Place::Change((2, 1)), Place::Book(1)]), "{places:?}");
    }

    #[test]
    fn a_plugin_that_fails_on_nothing_at_all_gets_no_smaller_piece() {
        let one = Batch { accounts: vec![], book: vec![BookChange::Gap] };
        let mut halving = Halving::new(one, None, "why").expect("a change");
        assert!(halving.failed("on the gap"));
        assert!(matches!(halving.input(), Some(Input::Ingest { skipped: Some(_), .. })));
        assert!(!halving.failed("on nothing"));
        assert!(Halving::new(Batch { accounts: vec![], book: vec![] }, None, "why").is_none());
    }

    #[test]
    fn a_plugin_that_fails_on_every_change_is_not_tried_for_ever() {
        let book = vec![BookChange::Gap; 4_096];
        let mut halving = Halving::new(Batch { accounts: vec![], book }, None, "why").expect("changes");
        let failures = (1..).take_while(|_| halving.failed("again")).count();
        assert!(failures < MOST_FAILURES as usize);
    }
}
