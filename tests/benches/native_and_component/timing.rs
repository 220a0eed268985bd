//! Contenders measured in turn, round by round.
//!
//! A machine that slows down for a while slows all of them, so ratios are taken within each round. Rounds are short, so that
//! few are interrupted, and medians stand for all of them; the spread is what the middle half lies between.

use std::hint::black_box;
use std::time::Instant;

use postbell_tests::figures::{Figure, Table, Unit};
use postbell_tests::scale::scaled;

/// How often each row is measured, unless POSTBELL_ROUNDS says otherwise.
const ROUNDS: usize = 401;

/// How often each row is measured.
pub fn rounds() -> usize {
    std::env::var("POSTBELL_ROUNDS").map_or(scaled(ROUNDS, 3), |text| text.parse().expect("a number of rounds"))
}

/// Does `work` on each of `inputs`; gives the nanoseconds for one of `operations`.
pub fn nanoseconds<I, T>(operations: usize, inputs: impl IntoIterator<Item = I>, mut work: impl FnMut(I) -> T) -> f64 {
    #[expect(clippy::disallowed_methods, reason = "a bench measures time; this is where")]
    let start = Instant::now();
    for input in inputs {
        black_box(work(black_box(input)));
    }
    start.elapsed().as_nanos() as f64 / operations as f64
}

/// Native code beside the component: times, and how many times as long the component takes.
pub fn table(title: &str) -> Table {
    Table::begin(title, "", &COLUMNS)
}

/// The same along a curve.
pub fn curve_of(title: &str, along: &str) -> Table {
    Table::curve(title, along, &COLUMNS)
}

const COLUMNS: [(&str, Unit); 3] = [("native", Unit::Time), ("component", Unit::Time), ("ratio", Unit::Ratio)];

/// A row of such a table: each round gives the times of both.
pub fn row(table: &Table, name: &str, mut round: impl FnMut() -> (f64, f64)) {
    table.row(name, &compared((0..rounds()).map(|_| round()).collect()));
}

/// A point of such a curve.
pub fn point(curve: &Table, at: u64, mut round: impl FnMut() -> (f64, f64)) {
    curve.point(at as usize, &compared((0..rounds()).map(|_| round()).collect()));
}

fn compared(rounds: Vec<(f64, f64)>) -> [Option<Figure>; 3] {
    let one = Figure::of(rounds.iter().map(|(one, _)| *one)).alone();
    let other = Figure::of(rounds.iter().map(|(_, other)| *other)).alone();
    let ratio = Figure::of(rounds.iter().map(|(one, other)| other / one));
    [one, other, ratio].map(Some)
}
