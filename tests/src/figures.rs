//! Tables of what benches measure: printed as they come, and kept, a line of JSON for each row, in the file that
//! POSTBELL_FIGURES names, from which `scripts/report` makes BENCHMARKS.md.

use std::fs::OpenOptions;
use std::io::Write;

use serde_json::json;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds, shown in whatever is short.
    Time,
    /// How many times as much as something else.
    Ratio,
    /// So many in a second.
    Rate,
    /// Bytes, shown in KiB or MiB.
    Memory,
    /// A number of things.
    Count,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Time => "time",
            Unit::Ratio => "ratio",
            Unit::Rate => "rate",
            Unit::Memory => "memory",
            Unit::Count => "count",
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Unit::Time if value < 1e3 => format!("{value:.0} ns"),
            Unit::Time if value < 1e6 => format!("{:.1} us", value / 1e3),
            Unit::Time if value < 1e9 => format!("{:.1} ms", value / 1e6),
            Unit::Time => format!("{:.1} s", value / 1e9),
            Unit::Ratio => format!("{value:.2}"),
            Unit::Memory if value < 10.0 * 1024.0 * 1024.0 => format!("{:.1} KiB", value / 1024.0),
            Unit::Memory => format!("{:.1} MiB", value / (1024.0 * 1024.0)),
            Unit::Rate | Unit::Count => format!("{value:.0}"),
        }
    }
}

/// One figure of a row.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    middle: f64,
    spread: Option<(f64, f64)>,
}

impl From<f64> for Figure {
    fn from(middle: f64) -> Figure {
        Figure { middle, spread: None }
    }
}

impl From<std::time::Duration> for Figure {
    fn from(time: std::time::Duration) -> Figure {
        Figure::from(time.as_secs_f64() * 1e9)
    }
}

impl Figure {
    /// The median of what was measured, and what the middle half of it lies between.
    ///
    /// # Panics
    ///
    /// Nothing was measured.
    pub fn of(measured: impl IntoIterator<Item = f64>) -> Figure {
        let mut measured: Vec<f64> = measured.into_iter().collect();
        measured.sort_by(f64::total_cmp);
        let (middle, quarter) = (measured[measured.len() / 2], measured.len() / 4);
        Figure { middle, spread: Some((measured[quarter], measured[measured.len() - 1 - quarter])) }
    }

    /// Without the spread.
    pub fn alone(self) -> Figure {
        Figure { spread: None, ..self }
    }
}

/// A table, printed row by row.
#[derive(Debug)]
pub struct Table {
    title: String,
    rows: String,
    columns: Vec<(String, Unit)>,
    curve: bool,
}

/// How wide the first column is.
const NAMES: usize = 44;

/// How wide each other column is, unless its name is wider.
const WIDTH: usize = 11;

impl Table {
    /// Prints a title, and the heads of the columns. `rows`: what the rows are.
    pub fn begin(title: impl Into<String>, rows: &str, columns: &[(&str, Unit)]) -> Table {
        let columns = columns.iter().map(|(name, unit)| ((*name).to_owned(), *unit)).collect();
        let table = Table { title: title.into(), rows: rows.into(), columns, curve: false };
        let heads: String = table.columns.iter().map(|(name, _)| format!(" {name:>WIDTH$}")).collect();
        println!("\n{}\n\n{rows:<NAMES$}{heads}", table.title);
        table
    }

    /// One whose rows are points along a curve, by the number that [`Table::point`] is given.
    pub fn curve(title: impl Into<String>, along: &str, columns: &[(&str, Unit)]) -> Table {
        Table { curve: true, ..Table::begin(title, along, columns) }
    }

    /// Prints and keeps a row; none: there is no such value.
    ///
    /// # Panics
    ///
    /// There is not one value for each column, or the file cannot be written.
    pub fn row(&self, name: &str, values: &[Option<Figure>]) {
        assert_eq!(values.len(), self.columns.len(), "{name}");
        let cells: String =
            self.columns.iter().zip(values).map(|((name, unit), value)| cell(name, *unit, *value)).collect();
        println!("{name:<NAMES$}{cells}");
        let Some(file) = std::env::var_os("POSTBELL_FIGURES") else { return };
        let columns: Vec<_> = self.columns.iter().map(|(name, unit)| json!([name, unit.name()])).collect();
        let values: Vec<_> = values.iter().map(|value| value.map(|value| value.middle)).collect();
        let row = json!({ "table": self.title, "rows": self.rows, "columns": columns, "curve": self.curve, "row": name,
                          "values": values });
        let file = OpenOptions::new().create(true).append(true).open(file);
        writeln!(file.expect("POSTBELL_FIGURES names a file"), "{row}").expect("it is written");
    }

    /// A row of a curve.
    ///
    /// # Panics
    ///
    /// As [`Table::row`].
    pub fn point(&self, at: usize, values: &[Option<Figure>]) {
        self.row(&at.to_string(), values);
    }
}

fn cell(name: &str, unit: Unit, value: Option<Figure>) -> String {
    let Some(value) = value else { return format!(" {:>1$}", "", name.len().max(WIDTH)) };
    let spread = value.spread.map(|(low, high)| format!(" ({} to {})", unit.show(low), unit.show(high)));
    format!(" {:>1$}{2}", unit.show(value.middle), name.len().max(WIDTH), spread.unwrap_or_default())
}
