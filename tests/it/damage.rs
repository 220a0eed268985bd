//! A data directory that is not as it was left: what can be served is, what cannot is named, nothing is touched.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use postbell_tests::admin::{Admin, delivered};
use postbell_tests::program::{Start, run};
use serde_json::json;

use crate::PROGRAM;

fn configuration(data: &Path, tenants: &[&str]) -> String {
    let data = data.display();
    let mut text = format!("[server]\nlisten = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\ndata = '{data}'\n");
    for name in tenants {
        text += &format!("[[tenant]]\nname = '{name}'\ndomains = ['{name}']\ningest-key = 'k-{name}'\n");
    }
    text
}

/// Serves once, with some changes for each tenant, and ends in order.
fn lived_in(data: &Path, tenants: &[&str]) -> Result<()> {
    let server = Start::configured(PROGRAM, &configuration(data, tenants))?.start()?;
    for name in tenants {
        for number in 0..5 {
            let change = delivered(&format!("alice@{name}"), &format!("message-{number}-of-{name}"), 1);
            let posted = Admin::new(server.admin, name, &format!("k-{name}")).post(&json!({"changes": [change]}))?;
            ensure!(posted.head.status == 200, "{posted:?}");
        }
    }
    server.stop()?;
    Ok(())
}

/// Flips a bit of a text wherever it stands in the journal.
pub fn damage(data: &Path, text: &str) -> Result<()> {
    let file = data.join("journal.redb");
    let mut bytes = fs::read(&file)?;
    let places: Vec<usize> =
        (0..bytes.len() - text.len()).filter(|at| bytes[*at..].starts_with(text.as_bytes())).collect();
    ensure!(!places.is_empty(), "{text} stands nowhere in the journal");
    for place in places {
        bytes[place] ^= 1;
    }
    Ok(fs::write(file, bytes)?)
}

#[test]
fn a_damaged_history_is_refused_with_its_tenant_and_sequence() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (data, configured) = (folder.path().join("data"), folder.path().join("postbell.toml"));
    lived_in(&data, &["a.example"])?;
    damage(&data, "message-2-of-a.example")?;
    let before = fs::read(data.join("journal.redb"))?;
    fs::write(&configured, configuration(&data, &["a.example"]))?;
    let refused = run(PROGRAM, ["serve".as_ref(), "--config".as_ref(), configured.as_os_str()])?;
    ensure!(refused.code == 4, "{refused:?}");
    let last = refused.stderr.lines().last().context("a line on stderr")?;
    ensure!(last.contains("a.example") && last.contains('4') && last.contains("damaged"), "{last}");
    ensure!(!refused.stderr.contains("panicked"), "{}", refused.stderr);
    ensure!(records_of(&before) == records_of(&fs::read(data.join("journal.redb"))?), "records were touched");
    Ok(())
}

/// After a crash the store reads everything, and takes no page that is not what it was.
#[test]
fn a_damaged_history_is_named_after_a_crash_too() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (data, configured) = (folder.path().join("data"), folder.path().join("postbell.toml"));
    let text = configuration(&data, &["a.example"]);
    lived_in(&data, &["a.example"])?;
    Start::configured(PROGRAM, &text)?.start()?.kill()?;
    damage(&data, "message-2-of-a.example")?;
    let before = fs::read(data.join("journal.redb"))?;
    fs::write(&configured, text)?;
    let refused = run(PROGRAM, ["serve".as_ref(), "--config".as_ref(), configured.as_os_str()])?;
    ensure!(refused.code == 4, "{refused:?}");
    let last = refused.stderr.lines().last().context("a line on stderr")?;
    ensure!(last.contains("a.example") && last.contains("sequence 4") && last.contains("damaged"), "{last}");
    ensure!(!refused.stderr.contains("panicked"), "{}", refused.stderr);
    ensure!(before == fs::read(data.join("journal.redb"))?, "the file was touched");
    Ok(())
}

/// How often each of the messages stands in the file.
fn records_of(file: &[u8]) -> Vec<usize> {
    let text = String::from_utf8_lossy(file);
    (0..5).map(|number| text.matches(&format!("message-{number}-of-")).count()).collect()
}

#[test]
fn one_tenants_damage_is_not_anothers() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    lived_in(&data, &["a.example", "b.example"])?;
    damage(&data, "message-2-of-a.example")?;
    let server = Start::configured(PROGRAM, &configuration(&data, &["a.example", "b.example"]))?.start()?;
    let post = |name: &str| {
        let change = delivered(&format!("alice@{name}"), "another", 1);
        Admin::new(server.admin, name, &format!("k-{name}")).post(&json!({"changes": [change]}))
    };
    let (damaged, sound) = (post("a.example")?, post("b.example")?);
    ensure!(damaged.head.status == 503, "{damaged:?}");
    ensure!(sound.head.status == 200, "{sound:?}");
    let log = server.stop_whatever_it_logged()?;
    ensure!(log.contains("a.example") && log.contains("damaged"), "{log}");
    Ok(())
}

#[test]
fn a_file_that_is_no_journal_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (data, configured) = (folder.path().join("data"), folder.path().join("postbell.toml"));
    lived_in(&data, &["a.example"])?;
    fs::write(&configured, configuration(&data, &["a.example"]))?;
    for content in [&b"a letter to somebody"[..], b"", &[0; 100_000]] {
        fs::write(data.join("journal.redb"), content)?;
        let refused = run(PROGRAM, ["serve".as_ref(), "--config".as_ref(), configured.as_os_str()])?;
        ensure!(refused.code == 4, "{} bytes: {refused:?}", content.len());
        ensure!(!refused.stderr.contains("panicked"), "{} bytes: {}", content.len(), refused.stderr);
        ensure!(fs::read(data.join("journal.redb"))? == content, "{} bytes were touched", content.len());
    }
    Ok(())
}
