//! The contest between Postbell's component and other ways to run logic beside a mail server. A rival that is no part of the
//! bench is a program of its own: it is given the same inputs on its standard input, in turns, and says how long it took.
//!
//! A frame is a length, four bytes with the least first, and so many bytes of postcard.

use std::io::{self, Read, Write};
use std::time::Instant;

use postbell_notify::Notify;
use postbell_notify::contract::{Batch, Moment, Reaction, Request, Settlement};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// One input of the notification logic.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "most are the large ones")]
pub enum Input {
    /// The first one.
    Open {
        /// 32 bytes.
        seed: Vec<u8>,
        /// Keys and values.
        settings: Vec<(String, String)>,
    },
    /// Changes.
    Ingest(Batch),
    /// A client's request.
    Answer(Request),
    /// What became of parts of answers.
    Settled(Vec<Settlement>),
    /// A new instance takes over the state, while all wait.
    Swap,
}

/// Inputs in a row.
pub type Turn = Vec<(Moment, Input)>;

/// What came of a turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// How long all of it took.
    pub nanoseconds: u64,
    /// The reaction to each input; empty where the rival has none of its own.
    pub reactions: Vec<Reaction>,
}

/// Somebody who is given inputs.
pub trait Rival {
    /// Takes one; gives its reaction, if it has one in the contract's shape. That is what is measured.
    fn take(&mut self, at: Moment, input: Input) -> Option<Reaction>;
}

/// Plays until there are no more turns.
///
/// # Panics
///
/// What comes is no turn, or nobody reads what comes of it.
pub fn play(mut rival: impl Rival) {
    let (mut from, mut to) = (io::stdin().lock(), io::stdout().lock());
    while let Some(turn) = receive::<Turn>(&mut from).expect("whoever asks sends turns") {
        let mut reactions = Vec::with_capacity(turn.len());
        #[expect(clippy::disallowed_methods, reason = "a bench measures time; this is where")]
        let begun = Instant::now();
        for (at, input) in turn {
            reactions.extend(rival.take(at, input));
        }
        let nanoseconds = begun.elapsed().as_nanos() as u64;
        send(&mut to, &Outcome { nanoseconds, reactions }).expect("whoever asks reads on");
    }
}

/// Writes a frame.
///
/// # Errors
///
/// Nobody reads.
pub fn send(to: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let bytes = postcard::to_allocvec(value).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(&bytes)?;
    to.flush()
}

/// Reads a frame; none at the end.
///
/// # Errors
///
/// It ends in the middle of one, or the frame is none of these values.
pub fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    if let Err(error) = from.read_exact(&mut length) {
        return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) };
    }
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    from.read_exact(&mut bytes)?;
    postcard::from_bytes(&bytes).map(Some).map_err(io::Error::other)
}

/// Bytes in, bytes out: the notification logic as whoever has only bytes calls it.
///
/// # Panics
///
/// The bytes are no input, or the logic refuses it.
pub fn respond(notify: &mut Notify, call: &[u8]) -> Vec<u8> {
    let (at, input) = postcard::from_bytes(call).expect("a moment and an input");
    let reaction = feed(notify, at, input).expect("the bench gives what is taken");
    postcard::to_allocvec(&reaction).expect("a reaction is plain data")
}

/// Gives the logic one input.
///
/// # Errors
///
/// It refuses the settings.
pub fn feed(notify: &mut Notify, at: Moment, input: Input) -> Result<Reaction, String> {
    Ok(match input {
        Input::Open { seed, settings } => {
            notify.open(at, &seed, &settings)?;
            Reaction { changed: true, ..Reaction::default() }
        }
        Input::Ingest(batch) => notify.ingest(at, batch),
        Input::Answer(request) => notify.answer(at, &request),
        Input::Settled(settlements) => notify.settled(at, &settlements),
        Input::Swap => {
            let state = save(notify);
            *notify = load(&state);
            Reaction::default()
        }
    })
}

/// The whole state, in parts.
pub fn save(notify: &mut Notify) -> Vec<Vec<u8>> {
    (0..).map_while(|part| notify.save(part)).collect()
}

/// One with a state that was saved.
///
/// # Panics
///
/// It is none.
pub fn load(state: &[Vec<u8>]) -> Notify {
    let (mut notify, manifest) = (Notify::default(), postbell_notify::describe());
    for (number, part) in (1..).zip(state) {
        notify.load(&manifest.state_formats[0], part, number < state.len()).expect("it was saved");
    }
    notify
}

/// What this process has in memory of its own, in bytes.
///
/// # Panics
///
/// This is not Linux.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says so");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("it has that line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}
