//! The lines that say how a swap comes along, as the server writes them and `postbell swap` reads them.

use serde::{Deserialize, Serialize};

use crate::tenant::{Difference, Step, Swap, SwapError, SwapEvent};

/// A line: a JSON object with one key, which says what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// A step begins: prepare, warm, follow, shadow or cut over.
    Step(String),
    /// The new version has seen the inputs up to `sequence`, of those up to `last`.
    Followed {
        /// The last input that it has seen.
        sequence: u64,
        /// The last input that there is.
        last: u64,
    },
    /// So many reactions were compared.
    Compared {
        /// How many were compared.
        inputs: u64,
        /// How many differed.
        differences: u64,
    },
    /// A reaction differs.
    Difference(DifferenceLine),
    /// Nothing happened for so long, and the swap goes on.
    Waiting {
        /// For how many seconds.
        seconds: u64,
    },
    /// The last line: the component has taken over.
    Done(Done),
    /// The last line: the tenant goes on as it was.
    Refused(Refused),
}

/// Where two versions made different things of an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferenceLine {
    /// The input's sequence.
    pub sequence: u64,
    /// The function of the contract.
    pub input: String,
    /// The dialect of the request that is answered otherwise; empty: not known.
    pub dialect: String,
    /// Its operation, likewise.
    pub operation: String,
    /// What clients got.
    pub live: String,
    /// What they would have got.
    pub new: String,
}

/// A swap that came to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Done {
    /// The plugin's name.
    pub plugin: String,
    /// SHA-256 of the component before, in hexadecimal digits.
    pub from: String,
    /// SHA-256 of the component now.
    pub to: String,
    /// The sequence of the record that tells of it.
    pub sequence: u64,
    /// How many reactions were compared.
    pub compared: u64,
    /// How many of these differed.
    pub differences: u64,
    /// For how long no input could be fed, in microseconds.
    pub paused_us: u64,
}

/// A swap that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The step that failed.
    pub step: String,
    /// Why.
    pub why: String,
    /// What was wrong.
    pub kind: Wrong,
}

/// What was wrong with a swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wrong {
    /// The component: it does not load anywhere, or nobody who is trusted signed it.
    Plugin,
    /// The tenant runs another plugin than the component is a version of.
    OtherPlugin,
    /// What the message says.
    Swap,
}

impl Line {
    /// A step of a swap failed.
    pub(super) fn refused(error: SwapError) -> Line {
        Line::Refused(Refused { step: error.step.name().to_owned(), why: error.why, kind: Wrong::Swap })
    }

    /// The swap failed before it began.
    pub(super) fn not_begun(why: String, kind: Wrong) -> Line {
        Line::Refused(Refused { step: Step::Prepare.name().to_owned(), why, kind })
    }
}

impl From<SwapEvent> for Line {
    fn from(event: SwapEvent) -> Line {
        match event {
            SwapEvent::Step(step) => Line::Step(step.name().to_owned()),
            SwapEvent::Followed { sequence, last } => Line::Followed { sequence, last },
            SwapEvent::Compared { inputs, differences } => Line::Compared { inputs, differences },
            SwapEvent::Difference(difference) => {
                let Difference { sequence, input, dialect, operation, live, new } = *difference;
                Line::Difference(DifferenceLine { sequence, input: input.into(), dialect, operation, live, new })
            }
        }
    }
}

impl From<Swap> for Line {
    fn from(swap: Swap) -> Line {
        let Swap { plugin, from, to, sequence, compared, differences, paused } = swap;
        let paused_us = u64::try_from(paused.as_micros()).unwrap_or(u64::MAX);
        let (plugin, from, to) = (plugin.to_string(), from.to_string(), to.to_string());
        Line::Done(Done { plugin, from, to, sequence, compared, differences, paused_us })
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn lines_are_written_like_this() {
        let refused = SwapError { step: Step::CutOver, why: "no".into() };
        let lines = [
            Line::from(SwapEvent::Step(Step::CutOver)),
            Line::from(SwapEvent::Followed { sequence: 1, last: 2 }),
            Line::from(SwapEvent::Compared { inputs: 3, differences: 1 }),
            Line::Waiting { seconds: 10 },
            Line::refused(refused),
            Line::not_begun("no".into(), Wrong::OtherPlugin),
        ];
        let written: Vec<String> = lines.iter().map(|line| serde_json::to_string(line).expect("JSON")).collect();
        let read: Vec<Line> = written.iter().map(|line| serde_json::from_str(line).expect("a line")).collect();
        assert_eq!(read, lines);
        expect![[r#"
            {"step":"cut over"}
            {"followed":{"sequence":1,"last":2}}
            {"compared":{"inputs":3,"differences":1}}
            {"waiting":{"seconds":10}}
            {"refused":{"step":"cut over","why":"no","kind":"swap"}}
            {"refused":{"step":"prepare","why":"no","kind":"other-plugin"}}"#]]
        .assert_eq(&written.join("\n"));
    }
}
