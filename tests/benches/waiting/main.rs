//! A server on which many WaitSetRequests wait: what each costs in memory, and how long a change takes to its client.
//!
//! The server is the program, as its users run it, with a journal that is synced before anybody hears. As many wait as
//! the limit of open files allows, or as POSTBELL_CLIENTS says; POSTBELL_CHANGES says how many changes one of them is
//! told. Clients are processes of their own, each with an address of its own on loopback.

mod client;

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use argon2::password_hash::PasswordHasher;
use argon2::{Argon2, Params};
use postbell_tests::admin::{Admin, delivered};
use postbell_tests::figures::{Table, Unit};
use postbell_tests::program::{Server, Start};
use postbell_tests::scale::scaled;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use tokio::runtime::Runtime;

use client::{Crowd, log_in, now};

const PROGRAM: &str = env!("CARGO_BIN_EXE_postbell-under-test");
const ALICE: &str = "alice@example.org";
const BOB: &str = "bob@example.org";
const PASSWORD: &str = "postbell";

/// The argument with which this program is one of the processes with clients.
const CROWD: &str = "crowd";

/// Files of the server that are open for other things than clients.
const OTHER_FILES: u64 = 2_000;

/// What is appended to a file and synced, in bytes, beside each change that one is told.
const PAGE: usize = 4096;

/// How many changes one of them is told: so many that a snapshot is taken meanwhile. One is due each 10,000 inputs, and each
/// change makes two: itself, and its client's next request.
const CHANGES: u64 = 6_000;

/// The newest snapshot that the server has taken.
const SNAPSHOT: &str = "postbell_journal_snapshot_sequence{tenant=\"example.org\"}";

/// How many processes the clients are in.
const PROCESSES: usize = 4;

fn main() -> Result<()> {
    let files = raise_file_limit()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if let [crowd, server, from, account, token, clients] = &arguments[..]
        && crowd == CROWD
    {
        let (account, token) = (account.clone(), token.clone());
        let crowd = Crowd { server: server.parse()?, from: from.parse()?, account, token, clients: clients.parse()? };
        return runtime.block_on(crowd.wait());
    }
    let most = files.saturating_sub(OTHER_FILES).min(scaled(20_000, 200)) as usize;
    let sizes = match variable("POSTBELL_CLIENTS") {
        Some(clients) => vec![clients as usize],
        None => [1_000, 3_000, 10_000].into_iter().filter(|clients| *clients < most).chain([most]).collect(),
    };
    let changes = variable("POSTBELL_CHANGES").unwrap_or(scaled(CHANGES, 20));
    let columns = [
        ("memory of the server, each", Unit::Memory),
        ("of the kernel, both ends", Unit::Memory),
        ("one is told, p50", Unit::Time),
        ("p99", Unit::Time),
        ("a page is synced, p50", Unit::Time),
        ("a page, p99", Unit::Time),
        ("all are told, p50", Unit::Time),
        ("all, p99", Unit::Time),
    ];
    let title =
        format!("WaitSetRequests that wait on one server, from a change to the answer; one is told {changes} times");
    let curve = Table::curve(title, "clients", &columns);
    let measured =
        sizes.iter().map(|clients| measure(&runtime, &curve, *clients, changes)).collect::<Result<Vec<_>>>()?;
    if let ([.., one, other], [.., fewer, more]) = (&sizes[..], &measured[..]) {
        extrapolate((*one as f64, *fewer), (*other as f64, *more));
    }
    Ok(())
}

/// What one size came to: the bytes of memory of all clients, and the nanoseconds until all of them are told, p50.
type Measured = [f64; 2];

/// More than there may be open files here.
const BEYOND: [usize; 3] = [50_000, 100_000, 1_000_000];

/// Goes on in a straight line from the two largest sizes.
fn extrapolate((one, fewer): (f64, Measured), (other, more): (f64, Measured)) {
    let columns = [("memory, both ends", Unit::Memory), ("all are told, p50", Unit::Time)];
    let table = Table::begin("More clients than open files here: not measured, extrapolated", "clients", &columns);
    for clients in BEYOND {
        let steps = (clients as f64 - other) / (other - one);
        let value = |of: usize| Some((more[of] + steps * (more[of] - fewer[of])).into());
        table.row(&format!("{clients} (extrapolated)"), &[value(0), value(1)]);
    }
}

/// Every client is an open file of the server's, and of its own process.
fn raise_file_limit() -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn measure(runtime: &Runtime, curve: &Table, clients: usize, changes: u64) -> Result<Measured> {
    let server = start(clients)?;
    let source = Admin::new(server.admin, "example.org", "ingest");
    let token = |login: &str| runtime.block_on(log_in(server.clients, login, PASSWORD));
    let (alice, bob) = (token(ALICE)?, token(BOB)?);
    let before = (server.resident_bytes()?, socket_bytes()?);
    let crowd = |number: usize| {
        let share = clients * (number + 1) / PROCESSES - clients * number / PROCESSES;
        Process::start(server.clients, number, ALICE, &alice, share)
    };
    let mut crowds = (0..PROCESSES).map(crowd).collect::<Result<Vec<_>>>()?;
    crowds.iter_mut().try_for_each(Process::parked)?;
    let operator = Admin::new(server.admin, "example.org", "operator");
    until_waiting(&operator, clients)?;
    let memory = [server.resident_bytes()?.saturating_sub(before.0), socket_bytes()?.saturating_sub(before.1)];
    let each = memory.map(|bytes| Some((bytes as f64 / clients as f64).into()));

    until_calm(&server)?;

    let mut one = Process::start(server.clients, PROCESSES, BOB, &bob, 1)?;
    let (mut told, mut synced, snapshot) = (Vec::new(), Vec::new(), operator.figure(SNAPSHOT)?);
    // Beside the journal: what the disk takes at the same time.
    let mut file = std::fs::File::create(server.folder().join("page"))?;
    for number in 1..=changes {
        one.parked()?;
        until_waiting(&operator, clients + 1)?;
        let begun = now();
        source.change(&[delivered(BOB, &format!("b{number}"), number as u32)])?;
        told.push((one.heard()?[0] - begun) as f64);
        let begun = now();
        file.write_all(&[0; PAGE])?;
        file.sync_data()?;
        synced.push((now() - begun) as f64);
    }
    ensure!(changes < CHANGES || operator.figure(SNAPSHOT)? > snapshot, "no snapshot was taken meanwhile");
    let begun = now();
    source.change(&[delivered(ALICE, "m1", 1)])?;
    let mut all = Vec::new();
    for crowd in &mut crowds {
        all.extend(crowd.heard()?.into_iter().map(|heard| (heard - begun) as f64));
    }
    ensure!(all.len() == clients, "{} of {clients} heard", all.len());
    let all = quantiles(all);
    let times = [quantiles(told), quantiles(synced), all].concat().into_iter().map(|time| Some(time.into()));
    curve.point(clients, &each.into_iter().chain(times).collect::<Vec<_>>());
    drop((one, crowds));
    server.stop()?;
    Ok([memory.iter().sum::<u64>() as f64, all[0]])
}

fn quantiles(mut times: Vec<f64>) -> [f64; 2] {
    times.sort_by(f64::total_cmp);
    [0.5, 0.99].map(|share| times[((times.len() - 1) as f64 * share) as usize])
}

/// What the kernel holds for all sockets of TCP on this machine.
fn socket_bytes() -> Result<u64> {
    let sockets = std::fs::read_to_string("/proc/net/sockstat")?;
    let line = sockets.lines().find_map(|line| line.strip_prefix("TCP:")).context("a line about TCP")?;
    let pages = line.split_whitespace().skip_while(|word| *word != "mem").nth(1).context("pages of memory")?;
    let maps = std::fs::read_to_string("/proc/self/smaps")?;
    let page = maps.lines().find_map(|line| line.strip_prefix("KernelPageSize:")?.trim().strip_suffix(" kB"));
    Ok(pages.parse::<u64>()? * page.context("the size of a page")?.parse::<u64>()? * 1024)
}

/// A server with room for so many clients, each with a WaitSet of its own.
fn start(clients: usize) -> Result<Server> {
    let (sets, connections) = (clients + 10, clients + 100);
    let configuration = format!(
        "[server]\nlisten = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\ndata = '{{folder}}/data'\n\
         connections = {connections}\nconnections-per-address = {connections}\nuncommitted-inputs = {connections}\n\
         admin-key = 'operator'\n\
         [limits]\ninputs-waiting = {connections}\n\
         [[tenant]]\nname = 'example.org'\ndomains = ['example.org']\nusers = 'users.toml'\ningest-key = 'ingest'\n\
         [tenant.settings]\nzimbra-waitset-max-per-account = {sets}\n"
    );
    // At the lowest cost: passwords are not what is measured.
    let params = Params::new(8, 1, 1, None).map_err(|error| anyhow::anyhow!("{error}"))?;
    let hash = Argon2::from(params).hash_password(PASSWORD.as_bytes()).map_err(|error| anyhow::anyhow!("{error}"))?;
    let users = [ALICE, BOB].map(|name| format!("[[user]]\nname = '{name}'\npassword = '{hash}'\n")).concat();
    Start::configured(PROGRAM, &configuration)?.file("users.toml", &users)?.start()
}

/// Until the server says that so many wait. It says so without asking the plugin, so that to ask is nothing that its
/// tenant computes.
fn until_waiting(operator: &Admin, count: usize) -> Result<()> {
    postbell_tests::until(|| {
        let tenant: Value = serde_json::from_str(&operator.ask("GET", "/v1/tenants/example.org", b"")?.body)?;
        Ok(tenant["open-requests"] == count)
    })
}

/// Until the tenant, which so many kept busy who came at once, has no thread of its own any more.
fn until_calm(server: &Server) -> Result<()> {
    postbell_tests::until(|| Ok(!server.threads()?.iter().any(|name| name.starts_with("postbell-own"))))
}

/// Clients in a process. Ends with this.
struct Process {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Process {
    fn start(server: SocketAddr, number: usize, account: &str, token: &str, clients: usize) -> Result<Process> {
        let from = Ipv4Addr::new(127, 0, 0, u8::try_from(number)? + 2);
        let mut command = Command::new(std::env::current_exe()?);
        command.args([CROWD, &server.to_string(), &from.to_string(), account, token, &clients.to_string()]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let said = BufReader::new(child.stdout.take().context("it is piped")?);
        Ok(Process { child, said })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.said.read_line(&mut line)? > 0, "the clients' process ended");
        Ok(line)
    }

    /// Waits until all of its clients have asked.
    fn parked(&mut self) -> Result<()> {
        let said = self.line()?;
        ensure!(said == "parked\n", "{said}");
        Ok(())
    }

    /// When each of them heard.
    fn heard(&mut self) -> Result<Vec<u64>> {
        let times = self.line()?;
        times.split_whitespace().map(|time| Ok(time.parse()?)).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = (self.child.kill(), self.child.wait());
    }
}
