//! What a snapshot says of the address book and of GroupWise's sessions.

use serde::{Deserialize, Serialize};

use crate::book::{Delta, Deltas, Sequence, Stored};
use crate::groupwise::{Program, Session, SessionNo};
use crate::state::State;

/// What is said once.
#[derive(Serialize, Deserialize)]
pub(super) struct Head {
    rebuilt: u32,
    generation: u32,
    rebuilding: bool,
    first_delta: Sequence,
    next_session: SessionNo,
    displaced: u64,
    cursors_displaced: u64,
    searches_refused: u64,
}

/// One record as it is written; as [`Read`], but borrowed.
#[derive(Serialize)]
pub(super) enum Written<'s> {
    Head(Head),
    FieldName(&'s str),
    Entry(&'s str, &'s Stored),
    Delta(&'s Delta),
    Session(SessionNo, &'s Session),
    Owing(&'s Program),
}

/// One record.
#[derive(Deserialize)]
pub(super) enum Read {
    Head(Head),
    FieldName(Box<str>),
    Entry(Box<str>, Stored),
    Delta(Delta),
    Session(SessionNo, Session),
    Owing(Program),
}

/// The record to be written next.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Head,
    FieldName(usize),
    /// The one after this id.
    Entry(Option<Box<str>>),
    Delta(Sequence),
    Session(SessionNo),
    /// The one after this.
    Owing(Option<Program>),
}

impl Place {
    /// The record at the place, if there is one, and the next place; none after the last.
    pub(super) fn record<'s>(&self, state: &'s State) -> (Option<Written<'s>>, Option<Place>) {
        let State { book, sessions, .. } = state;
        match self {
            Self::Head => (Some(Written::Head(head(state))), Some(Self::FieldName(0))),
            Self::FieldName(number) => match book.entries.names().get(*number) {
                Some(name) => (Some(Written::FieldName(name)), Some(Self::FieldName(number + 1))),
                None => (None, Some(Self::Entry(None))),
            },
            Self::Entry(after) => match book.entries.next_stored(after.as_deref()) {
                Some((id, stored)) => (Some(Written::Entry(id, stored)), Some(Self::Entry(Some(id.into())))),
                None => (None, Some(Self::Delta(0))),
            },
            Self::Delta(from) => match book.deltas.from(*from).next() {
                Some((sequence, delta)) => (Some(Written::Delta(delta)), Some(Self::Delta(sequence + 1))),
                None => (None, Some(Self::Session(0))),
            },
            Self::Session(from) => match sessions.next_from(*from) {
                Some((number, it)) => (Some(Written::Session(number, it)), Some(Self::Session(number + 1))),
                None => (None, Some(Self::Owing(None))),
            },
            Self::Owing(after) => match sessions.next_owing(after.as_ref()) {
                Some(program) => (Some(Written::Owing(program)), Some(Self::Owing(Some(program.clone())))),
                None => (None, None),
            },
        }
    }
}

fn head(state: &State) -> Head {
    let State { book, sessions, .. } = state;
    Head {
        rebuilt: book.rebuilt,
        generation: book.generation,
        rebuilding: book.rebuilding,
        first_delta: book.deltas.first(),
        next_session: sessions.next(),
        displaced: sessions.displaced,
        cursors_displaced: sessions.cursors_displaced,
        searches_refused: sessions.searches_refused,
    }
}

impl Read {
    /// Puts what the record says into the state; an error says what is wrong with it.
    pub(super) fn take(self, state: &mut State) -> Result<(), &'static str> {
        let State { book, sessions, .. } = state;
        match self {
            Self::Head(head) => {
                (book.rebuilt, book.generation, book.rebuilding) = (head.rebuilt, head.generation, head.rebuilding);
                book.deltas = Deltas::since(head.first_delta);
                sessions.set_next(head.next_session);
                (sessions.displaced, sessions.cursors_displaced) = (head.displaced, head.cursors_displaced);
                sessions.searches_refused = head.searches_refused;
            }
            Self::FieldName(name) => book.entries.restore_name(name),
            Self::Entry(id, stored) => {
                let sound = book.entries.restore(id, stored);
                return if sound { Ok(()) } else { Err("an entry of the address book is damaged") };
            }
            Self::Delta(delta) => book.deltas.push(delta),
            Self::Session(number, session) => sessions.insert(number, session),
            Self::Owing(program) => sessions.insert_owing(program),
        }
        Ok(())
    }
}
