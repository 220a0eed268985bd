//! Calls of the plugin that may fail, each failure under its rule.

use super::rules::{Judge, Rule};
use crate::plugin::Fault;

/// The plugin failed; what it was doing is over.
#[derive(Debug)]
pub(super) struct Stopped;

/// What a call gave. `rule` is the one that breaks where the call does what the contract forbids.
pub(super) fn ran<T>(judge: &mut Judge, rule: Rule, place: &str, result: Result<T, Fault>) -> Result<T, Stopped> {
    let fault = match result {
        Ok(given) => {
            for rule in [Rule::Traps, Rule::Time, Rule::Memory] {
                judge.rule(rule, place, None);
            }
            return Ok(given);
        }
        Err(fault) => fault,
    };
    let rule = match &fault {
        Fault::Trap(_) => Rule::Traps,
        Fault::Time(_) => Rule::Time,
        Fault::Memory(_) => Rule::Memory,
        _ => rule,
    };
    judge.rule(rule, place, Some(fault.to_string()));
    Err(Stopped)
}
