//! Microsoft's schemas as a judge of every answer that a test sees.
//!
//! They may not be in the tree: the variable POSTBELL_SCHEMAS names the folder that holds them (`ews/ews-all.xsd`, and
//! `ews/wire/ews-all.xsd` with what real streams and pushes have in another namespace). Without it nothing is judged.
//! Answers of one shape are judged once, so that a suite that sees thousands of them has no more than a few dozen
//! judged.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use roxmltree::{Document, Node};

/// Elements whose text is a word of the schema: another word is another shape.
const WORDS: [&str; 6] =
    ["ResponseCode", "ConnectionStatus", "DistinguishedFolderId", "FolderClass", "MoreEvents", "faultcode"];

/// Attributes whose value is such a word.
const WORD_ATTRIBUTES: [&str; 3] = ["ResponseClass", "Version", "Name"];

/// The shapes that were judged.
static JUDGED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The folder with the schemas, if there is one.
pub fn folder() -> Option<PathBuf> {
    std::env::var_os("POSTBELL_SCHEMAS").filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

/// Fails if this is an envelope of EWS that the schemas do not allow.
pub fn judge(text: &str) -> Result<()> {
    match folder() {
        Some(folder) if is_envelope(text) => judge_by(folder, text),
        _ => Ok(()),
    }
}

fn is_envelope(text: &str) -> bool {
    text.starts_with("<Envelope ") || text.starts_with("<?xml ") && text.contains("Envelope ")
}

fn judge_by(folder: PathBuf, text: &str) -> Result<()> {
    let document = Document::parse(text).with_context(|| format!("parsing {text:?}"))?;
    let mut shapes = BTreeSet::new();
    let whole = describe(document.root_element(), &mut shapes);
    shapes.insert(whole);
    let mut judged = JUDGED.lock().unwrap_or_else(PoisonError::into_inner);
    let known = judged.len();
    judged.extend(shapes);
    if judged.len() == known {
        return Ok(());
    }
    drop(judged);
    let wire = text.starts_with("<Envelope ") || text.contains(":SendNotification ");
    let schema = folder.join(if wire { "ews/wire/ews-all.xsd" } else { "ews/ews-all.xsd" });
    let mut command = Command::new("xmllint");
    command.args(["--noout", "--nonet", "--schema"]).arg(schema).arg("-");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut lint = command.spawn().context("running xmllint (see `make setup`)")?;
    // It reads everything before it says anything.
    lint.stdin.take().context("its input is piped")?.write_all(text.as_bytes())?;
    let output = lint.wait_with_output()?;
    ensure!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// What the schema could find fault with: elements, attributes, words; neighbours that are alike but once. Events stand
/// beside each other in any mix, so each has a shape of its own.
fn describe(node: Node, events: &mut BTreeSet<String>) -> String {
    let name = node.tag_name();
    let mut shape = format!("<{{{}}}{}", name.namespace().unwrap_or_default(), name.name());
    for attribute in node.attributes() {
        let word = if WORD_ATTRIBUTES.contains(&attribute.name()) { attribute.value() } else { "" };
        shape.push_str(&format!(" {}={word}", attribute.name()));
    }
    shape.push('>');
    let mut before = String::new();
    for child in node.children() {
        let mut now = match child.text().filter(|_| child.is_text()) {
            Some(text) if WORDS.contains(&name.name()) => text.to_owned(),
            Some(_) => "~".to_owned(),
            None => describe(child, events),
        };
        if child.tag_name().name().ends_with("Event") {
            events.insert(now);
            now = "<event>".to_owned();
        }
        if now != before {
            shape.push_str(&now);
        }
        before = now;
    }
    shape + "/"
}
