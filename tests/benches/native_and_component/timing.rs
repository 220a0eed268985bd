//! Two contenders measured in turn, round by round, and the table of what came out.
//!
//! A machine that slows down for a while slows both, so the ratio is taken within each round. Rounds are short, so that
//! few are interrupted, and medians stand for all of them; the spread is what the middle half lies between.

use std::hint::black_box;
use std::time::Instant;

use postbell_tests::scale::scaled;

/// How often each row is measured, unless POSTBELL_ROUNDS says otherwise.
const ROUNDS: usize = 401;

/// How often each row is measured.
fn rounds() -> usize {
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

/// The table, printed row by row.
pub struct Table;

impl Table {
    /// Prints the head.
    pub fn begin() -> Table {
        println!(
            "Nanoseconds, medians of {} rounds, native and component in turn; spread: of the middle half.\n",
            rounds()
        );
        println!("{:<44} {:>10} {:>10} {:>7}  spread", "", "native", "component", "ratio");
        Table
    }

    /// Prints another head: the rows that follow compare these two.
    pub fn compare(&self, one: &str, other: &str) {
        println!("\n{:<44} {one:>10} {other:>10} {:>7}  spread", "", "ratio");
    }

    /// A row: each round gives the time of the native code and that of the component.
    pub fn row(&self, name: &str, mut round: impl FnMut() -> (f64, f64)) {
        let rounds: Vec<(f64, f64)> = (0..rounds()).map(|_| round()).collect();
        let ratios = sorted(rounds.iter().map(|(native, component)| component / native));
        let native = middle(&sorted(rounds.iter().map(|(native, _)| *native)));
        let component = middle(&sorted(rounds.iter().map(|(_, component)| *component)));
        let (low, high) = middle_half(&ratios);
        println!("{name:<44} {native:>10.0} {component:>10.0} {:>7.2}  {low:.2} to {high:.2}", middle(&ratios));
    }

    /// A row of what there is no native counterpart of; its spread is in nanoseconds.
    pub fn row_alone(&self, name: &str, round: impl FnMut() -> f64) {
        let mut round = round;
        let rounds = sorted((0..rounds()).map(|_| round()));
        let (low, high) = middle_half(&rounds);
        println!("{name:<44} {:>10} {:>10.0} {:>7}  {low:.0} to {high:.0}", "", middle(&rounds), "");
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// What the middle half lies between.
fn middle_half(sorted: &[f64]) -> (f64, f64) {
    (sorted[sorted.len() / 4], sorted[sorted.len() - 1 - sorted.len() / 4])
}

fn middle(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}
