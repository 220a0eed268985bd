//! Beside it: one process for each tenant, which runs the same logic natively; and one plugin of Extism for each.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use postbell_notify::Notify;
use postbell_tests::figures::{Table, Unit};
use postbell_tests::histories::History;
use postbell_tests::native;
use postbell_tests::scale::scaled;

/// The argument with which this program is one of those processes.
pub const ONE: &str = "one-native-tenant";

/// How many plugins of Extism are measured.
const PLUGINS: usize = 1_000;

/// How many processes are measured.
fn count() -> usize {
    scaled(50, 3)
}

pub fn run() {
    let program = std::env::current_exe().expect("it runs");
    let mut processes: Vec<Child> = (0..count())
        .map(|_| {
            let mut command = Command::new(&program);
            command.arg(ONE).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process starts")
        })
        .collect();
    for process in &mut processes {
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().expect("it is a pipe")).read_line(&mut line).expect("it says so");
    }
    let all: u64 = processes.iter().map(|process| proportional_kib(process.id())).sum();
    let table =
        Table::begin("Other ways to keep tenants apart, without state", "", &[("memory of each", Unit::Memory)]);
    table.row("one process for each, natively", &[Some((all as f64 * 1024.0 / count() as f64).into())]);
    if let Some(folder) = std::env::var_os("POSTBELL_RIVALS") {
        let program = PathBuf::from(folder).join("rival-extism");
        let said = Command::new(program).args(["tenants", &PLUGINS.to_string()]).output().expect("it starts").stdout;
        let bytes: f64 = String::from_utf8_lossy(&said).trim().parse().expect("it says how many bytes");
        table.row(&format!("one plugin of Extism for each, {PLUGINS} in a process"), &[Some(bytes.into())]);
    }
    for mut process in processes {
        drop(process.stdin.take());
        process.wait().expect("it ends");
    }
}

/// Opens the logic, says so, and waits for the end of its input.
pub fn be_one() {
    let mut notify = Notify::default();
    let (at, open) = History::new(1).open();
    native::feed(&mut notify, at, open).expect("it opens");
    println!("ready");
    std::io::stdout().flush().expect("somebody reads");
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).expect("the pipe ends");
}

/// What a process has in memory, with its share of what it shares.
fn proportional_kib(process: u32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).expect("Linux says so");
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).expect("it has that line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
