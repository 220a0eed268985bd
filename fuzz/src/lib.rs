//! Fuzz targets: functions that take any bytes and panic when something is wrong. libFuzzer drives them (`make fuzz`), and
//! the tests compile these very files and replay the committed corpora with them.

pub mod host;
pub mod logic;

/// Judges what becomes of some bytes.
pub type Target = fn(&[u8]);

/// Every target, under the name of its binary and of its corpus.
pub fn targets() -> Vec<(&'static str, Target)> {
    [&logic::TARGETS[..], &host::TARGETS].concat()
}
