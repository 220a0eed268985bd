//! Microsoft's and Novell's schemas as judges of every answer that a test sees.
//!
//! They may not be in the tree: the variable POSTBELL_SCHEMAS names the folder that holds them (`ews/ews-all.xsd`, and
//! `ews/wire/ews-all.xsd` with what real streams and pushes have in another namespace; `groupwise/methods.xsd` and
//! `events.xsd`). Without it nothing is judged. Answers of one shape are judged once, so that a suite that sees thousands
//! of them has no more than a few dozen judged.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use roxmltree::{Document, Node};

/// Elements whose text is a word of the schema: another word is another shape.
const WORDS: [&str; 13] = [
    "ResponseCode",
    "ConnectionStatus",
    "DistinguishedFolderId",
    "FolderClass",
    "MoreEvents",
    "faultcode",
    "sync",
    "visibility",
    "distType",
    "itemType",
    "event",
    "type",
    "field",
];

/// Attributes whose value is such a word.
const WORD_ATTRIBUTES: [&str; 4] = ["ResponseClass", "Version", "Name", "type"];

/// What the namespaces of GroupWise begin with.
const GROUPWISE: &str = "http://schemas.novell.com/2005/01/GroupWise/";

/// A facet of GroupWise's `uid` that no real id satisfies, `GroupWiseSystemAddressBook@52` not either.
const UID_FACET: &str = r#"<xs:pattern value="[^@]+(@*)?"/>"#;

/// The shapes that were judged.
static JUDGED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The folder with the schemas, if there is one.
pub fn folder() -> Option<PathBuf> {
    std::env::var_os("POSTBELL_SCHEMAS").filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

/// Fails if this is an envelope of EWS or GroupWise that the schemas do not allow.
pub fn judge(text: &str) -> Result<()> {
    match folder() {
        Some(folder) if is_envelope(text) => judge_by(&folder, text),
        _ => Ok(()),
    }
}

fn is_envelope(text: &str) -> bool {
    text.starts_with("<Envelope ") || text.starts_with("<?xml ") && text.contains("Envelope ")
}

fn judge_by(folder: &Path, text: &str) -> Result<()> {
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
    if let Some(response) = response_of_groupwise(&document) {
        return judge_groupwise(&folder.join("groupwise"), response, &text[response.range()]);
    }
    let wire = text.starts_with("<Envelope ") || text.contains(":SendNotification ");
    lint(&folder.join(if wire { "ews/wire/ews-all.xsd" } else { "ews/ews-all.xsd" }), text)
}

/// The content of the envelope's body, if that is GroupWise's. A fault is anybody's.
fn response_of_groupwise<'d>(document: &'d Document<'d>) -> Option<Node<'d, 'd>> {
    let body = document.root_element().children().find(|node| node.tag_name().name() == "Body")?;
    let response = body.first_element_child()?;
    response.tag_name().namespace().filter(|it| it.starts_with(GROUPWISE)).map(|_| response)
}

/// Judges a response by itself: its schemas know no envelope, and it declares all that it uses.
fn judge_groupwise(folder: &Path, response: Node, text: &str) -> Result<()> {
    let bent = tempfile::tempdir()?;
    for name in ["types.xsd", "methods.xsd", "events.xsd"] {
        let schema = std::fs::read_to_string(folder.join(name)).with_context(|| format!("reading {name}"))?;
        std::fs::write(bent.path().join(name), schema.replace(UID_FACET, ""))?;
    }
    let of_events = response.tag_name().namespace().is_some_and(|it| it.ends_with("/events"));
    lint(&bent.path().join(if of_events { "events.xsd" } else { "methods.xsd" }), text)
}

fn lint(schema: &Path, text: &str) -> Result<()> {
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

/// What the schema could find fault with: elements, attributes, words; neighbours that are alike but once. Events and
/// items stand beside each other in any mix, so each has a shape of its own.
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
        let mixes = |name: &str| name.ends_with("Event") || ["item", "member", "event"].contains(&name);
        if mixes(child.tag_name().name()) {
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
