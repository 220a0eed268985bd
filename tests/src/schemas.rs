//! Microsoft's schemas as a judge of every answer that a test sees.
//!
//! They may not be in the tree: the variable POSTBELL_SCHEMAS names the folder that holds them (`ews/ews-all.xsd`, and
//! `ews/wire/ews-all.xsd` with what real streams and pushes have in another namespace). Without it nothing is judged.
//! Answers of one shape are judged once, so that a suite that sees thousands of them has no more than a few dozen judged.

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
    let mut shapes = vec![String::new()];
    describe(document.root_element(), &mut shapes, 0);
    let mut judged = JUDGED.lock().unwrap_or_else(PoisonError::into_inner);
    if !shapes.into_iter().fold(false, |new, shape| judged.insert(shape) || new) {
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

/// Writes what the schema could find fault with, into the shape of this number: elements, attributes, words; neighbours that
/// are alike but once. An event is a shape of its own, since any may stand beside any other.
fn describe(node: Node, shapes: &mut Vec<String>, into: usize) {
    let name = node.tag_name();
    shapes[into].push_str(&format!("<{{{}}}{}", name.namespace().unwrap_or_default(), name.name()));
    for attribute in node.attributes() {
        let word = if WORD_ATTRIBUTES.contains(&attribute.name()) { attribute.value() } else { "" };
        shapes[into].push_str(&format!(" {}={word}", attribute.name()));
    }
    shapes[into].push('>');
    let mut before = String::new();
    for child in node.children() {
        let own = shapes.len();
        shapes.push(String::new());
        if child.is_element() {
            describe(child, shapes, own);
        } else if WORDS.contains(&name.name()) {
            shapes[own].push_str(child.text().unwrap_or_default());
        } else {
            shapes[own].push('~');
        }
        if name.name() == "Notification" && child.tag_name().name().ends_with("Event") {
            // Where events stand counts; which they are does not.
            if before != "*" {
                shapes[into].push('*');
            }
            before = "*".to_owned();
            continue;
        }
        let now = shapes.remove(own);
        if now != before {
            shapes[into].push_str(&now);
        }
        before = now;
    }
    shapes[into].push('/');
}
