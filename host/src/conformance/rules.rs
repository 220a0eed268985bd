//! What a plugin must keep to, and whether it did.

use std::collections::BTreeMap;

use serde::Serialize;

/// A rule of the contract, as far as it shows from outside. In the order of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// It is a component that exports the world and compiles.
    Component,
    /// It imports nothing.
    Imports,
    /// `describe` gives what a host can use.
    Manifest,
    /// Pure functions depend on their arguments alone, and give what the contract allows.
    Pure,
    /// No call stops abnormally.
    Traps,
    /// Every call ends in time.
    Time,
    /// Memory stays below the limit.
    Memory,
    /// Reactions are ones that the contract allows.
    Reactions,
    /// A request is answered, or stays open.
    Answers,
    /// `outstanding` names what is open, and nothing else.
    Outstanding,
    /// What has ended is forgotten, what is unknown is ignored.
    Settlements,
    /// `restarted` and `drain` end what is open.
    Restarts,
    /// It asks for a tick only where there is something to do.
    WakeUps,
    /// `changed` false leaves the state as it was.
    Changed,
    /// `save`, `outstanding` and `inspect` leave no trace.
    Looks,
    /// The same inputs give the same reactions and the same state.
    Determinism,
    /// What it saved loads, and goes on as before.
    Snapshots,
}

impl Rule {
    /// All of them.
    pub const ALL: [Rule; 17] = [
        Rule::Component,
        Rule::Imports,
        Rule::Manifest,
        Rule::Pure,
        Rule::Traps,
        Rule::Time,
        Rule::Memory,
        Rule::Reactions,
        Rule::Answers,
        Rule::Outstanding,
        Rule::Settlements,
        Rule::Restarts,
        Rule::WakeUps,
        Rule::Changed,
        Rule::Looks,
        Rule::Determinism,
        Rule::Snapshots,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Rule::Component => "component",
            Rule::Imports => "imports",
            Rule::Manifest => "manifest",
            Rule::Pure => "pure",
            Rule::Traps => "traps",
            Rule::Time => "time",
            Rule::Memory => "memory",
            Rule::Reactions => "reactions",
            Rule::Answers => "answers",
            Rule::Outstanding => "outstanding",
            Rule::Settlements => "settlements",
            Rule::Restarts => "restarts",
            Rule::WakeUps => "wake-ups",
            Rule::Changed => "changed",
            Rule::Looks => "looks",
            Rule::Determinism => "determinism",
            Rule::Snapshots => "snapshots",
        }
    }

    /// What it asks for, in a sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Rule::Component => "it is a component, compiles, and exports postbell:notify/notifier",
            Rule::Imports => "it imports nothing",
            Rule::Manifest => "`describe` gives what a host can use",
            Rule::Pure => "`describe`, `identify` and `refuse` depend on their arguments alone",
            Rule::Traps => "no call traps",
            Rule::Time => "every call ends in time",
            Rule::Memory => "its memory stays below the limit",
            Rule::Reactions => "its reactions are ones that the contract allows",
            Rule::Answers => "every request is answered, or stays open",
            Rule::Outstanding => "`outstanding` names what is open, and nothing else",
            Rule::Settlements => "what has ended is forgotten, what is unknown is ignored",
            Rule::Restarts => "`restarted` and `drain` end what is open",
            Rule::WakeUps => "it asks for a tick only where there is something to do",
            Rule::Changed => "`changed` false leaves the state as it was",
            Rule::Looks => "`save`, `outstanding` and `inspect` leave no trace",
            Rule::Determinism => "the same inputs give the same reactions and the same state",
            Rule::Snapshots => "what it saves loads, and goes on as before",
        }
    }
}

/// A rule, and how it broke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// At which step it showed, such as `input 17 (answer)`.
    pub place: String,
    /// What was seen.
    pub seen: String,
}

/// What came of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How often it was looked at.
    pub checks: u64,
    /// How often it was broken.
    pub broken: u64,
    /// How it broke first.
    pub first: Option<Finding>,
}

/// Keeps the verdicts.
#[derive(Debug, Default)]
pub(super) struct Judge {
    verdicts: BTreeMap<Rule, Verdict>,
    /// A rule was broken in the part that runs.
    found: bool,
}

impl Judge {
    /// The rule was looked at, and `broken` says how it is not kept.
    pub(super) fn rule(&mut self, rule: Rule, place: &str, broken: Option<String>) {
        let verdict = self.verdicts.entry(rule).or_default();
        verdict.checks += 1;
        if let Some(seen) = broken {
            self.found = true;
            verdict.broken += 1;
            verdict.first.get_or_insert_with(|| Finding { rule, place: place.to_owned(), seen });
        }
    }

    /// The rule holds if `kept`; if not, `seen` says how it is not kept.
    pub(super) fn holds(&mut self, rule: Rule, place: &str, kept: bool, seen: impl FnOnce() -> String) {
        self.rule(rule, place, (!kept).then(seen));
    }

    /// A part of the suite begins.
    pub(super) fn begin_part(&mut self) {
        self.found = false;
    }

    /// Whether this part has found something: what follows in it would follow from that.
    pub(super) fn has_found(&self) -> bool {
        self.found
    }

    pub(super) fn into_verdicts(mut self) -> Vec<(Rule, Verdict)> {
        Rule::ALL.iter().map(|rule| (*rule, self.verdicts.remove(rule).unwrap_or_default())).collect()
    }
}
