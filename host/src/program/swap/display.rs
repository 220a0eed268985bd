//! How a swap comes along: a line for each step on standard output, and between them on standard error, where that is a
//! terminal, how far it is.

use indicatif::ProgressBar;

use crate::admin::plugins::line::{DifferenceLine, Done, Line, Refused};
use crate::program::Failure;
use crate::program::output::{self, Output};

pub(super) struct Display {
    bar: ProgressBar,
    tenant: String,
}

impl Display {
    pub(super) fn new(tenant: &str) -> Display {
        let bar = output::steps();
        bar.set_prefix(tenant.to_owned());
        Display { bar, tenant: tenant.to_owned() }
    }

    pub(super) fn show(&mut self, out: &mut Output, line: &Line) -> Result<(), Failure> {
        match line {
            Line::Followed { sequence, last } => self.bar.set_message(format!("at input {sequence} of {last}")),
            Line::Compared { inputs, differences } => {
                self.bar.set_message(format!("{inputs} reactions compared, {differences} differ"));
            }
            Line::Waiting { .. } => self.bar.tick(),
            Line::Step(step) => {
                self.bar.set_message(step.clone());
                return self.print(out, step);
            }
            Line::Difference(difference) => return self.print(out, &difference_words(difference)),
            Line::Done(done) => return self.print(out, &done_words(done)),
            Line::Refused(Refused { step, why, .. }) => {
                return self.print(out, &format!("refused at the step {step}: {}", why.replace('\n', " ")));
            }
        }
        Ok(())
    }

    fn print(&self, out: &mut Output, text: &str) -> Result<(), Failure> {
        self.bar.suspend(|| {
            out.line(format_args!("{}: {text}", self.tenant))?;
            out.flush()
        })
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn done_words(done: &Done) -> String {
    let Done { plugin: _, from, to, sequence, compared, differences, paused_us } = done;
    let compared = match compared {
        0 => String::new(),
        _ => format!("; {compared} reactions compared, {differences} differ"),
    };
    let milliseconds = *paused_us as f64 / 1_000.0;
    format!("runs {to} instead of {from} since input {sequence}; inputs waited {milliseconds:.1} ms at most{compared}")
}

fn difference_words(difference: &DifferenceLine) -> String {
    let DifferenceLine { sequence, input, dialect, operation, live, new } = difference;
    let what: Vec<&str> = [&**input, dialect, operation].into_iter().filter(|word| !word.is_empty()).collect();
    let indented = |text: &str| text.trim_end().replace('\n', "\n    ");
    format!(
        "it answers otherwise at input {sequence} ({})\n  running:\n    {}\n  new:\n    {}",
        what.join(" "),
        indented(live),
        indented(new)
    )
}
