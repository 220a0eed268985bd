//! What the suite found, for people and for programs.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::rules::{Finding, Judge, Rule, Verdict};
use crate::journal::ComponentId;
use crate::plugin::Plugin;

/// What came of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its name; empty: it was not loaded.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the component.
    pub component: ComponentId,
    /// What all chance followed from.
    pub seed: u64,
    /// Every rule, in order.
    pub rules: Vec<(Rule, Verdict)>,
}

impl Report {
    pub(super) fn new(plugin: Option<&Plugin>, component: &[u8], seed: u64, judge: Judge) -> Report {
        let (name, version) = plugin.map_or_else(Default::default, |plugin| {
            (plugin.manifest().name.clone(), plugin.manifest().version.clone())
        });
        let component = ComponentId(Sha256::digest(component).into());
        Report { name, version, component, seed, rules: judge.into_verdicts() }
    }

    /// Whether no rule was broken.
    pub fn conforms(&self) -> bool {
        self.findings().next().is_none()
    }

    /// How each broken rule broke first.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.rules.iter().filter_map(|(_, verdict)| verdict.first.as_ref())
    }

    /// The report as one JSON object.
    pub fn json(&self) -> serde_json::Value {
        #[derive(Serialize)]
        #[serde(rename_all = "kebab-case")]
        struct Line<'l> {
            rule: Rule,
            sentence: &'l str,
            verdict: &'l str,
            checks: u64,
            broken: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            place: Option<&'l str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            seen: Option<&'l str>,
        }
        let rules: Vec<_> = self
            .rules
            .iter()
            .map(|(rule, verdict)| Line {
                rule: *rule,
                sentence: rule.sentence(),
                verdict: word(verdict),
                checks: verdict.checks,
                broken: verdict.broken,
                place: verdict.first.as_ref().map(|finding| &*finding.place),
                seen: verdict.first.as_ref().map(|finding| &*finding.seen),
            })
            .collect();
        serde_json::json!({
            "name": self.name,
            "version": self.version,
            "sha256": self.component.to_string(),
            "seed": self.seed,
            "conforms": self.conforms(),
            "rules": rules,
        })
    }
}

impl Display for Report {
    /// A line for each rule, with what was seen below it where it is broken, and a last line that sums up.
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        for (rule, verdict) in &self.rules {
            let (name, sentence) = (rule.name(), rule.sentence());
            match verdict.checks {
                0 => writeln!(formatter, "{:<7} {name:<12} {sentence}", word(verdict))?,
                checks => writeln!(formatter, "{:<7} {name:<12} {sentence} ({checks} checks)", word(verdict))?,
            }
            if let Some(Finding { place, seen, .. }) = &verdict.first {
                writeln!(formatter, "        {place}: {seen}")?;
            }
        }
        let Report { name, version, seed, .. } = self;
        let subject = if name.is_empty() { "the component".to_owned() } else { format!("{name} {version}") };
        match self.findings().count() {
            0 => write!(formatter, "{subject} keeps the contract, as far as seed {seed} shows"),
            broken => write!(formatter, "{subject} breaks {broken} of {} rules (seed {seed})", self.rules.len()),
        }
    }
}

/// What became of a rule.
fn word(verdict: &Verdict) -> &'static str {
    match (verdict.checks, verdict.broken) {
        (0, _) => "-",
        (_, 0) => "ok",
        _ => "BROKEN",
    }
}
