//! Clients parked in streams and on WaitSets, and others that ask all the time, while one version after the other takes
//! over on the real server.
//!
//! The model goes by rounds. In each, one message arrives for every account, and every parked client must hear of it
//! exactly once before the next round begins. The versions differ in name only, so nothing comes twice either: a stream
//! that repeats itself does not say what comes next, and a WaitSet that does answers more often than there were rounds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postbell_tests::PATIENCE;
use postbell_tests::admin::{Admin, delivered};
use postbell_tests::ews::{Client, Event, envelope, get_events, get_streaming_events, message};
use postbell_tests::http::{Connection, request};
use postbell_tests::program::{Server, Start};
use postbell_tests::swaps::edition;
use postbell_tests::zimbra::{self, attribute};
use rustix::process::{Resource, getrlimit};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::parked::{raise_file_limit, until};
use crate::{PROGRAM, cheap_hash};

const SWAPS: usize = 20;

/// The parked clients are theirs, in turn.
const ACCOUNTS: usize = 20;

/// How many clients are parked if POSTBELL_PARKED does not say: as many as it does, or, if it is `most`, as files may be
/// open.
const PARKED: usize = 200;

/// Files that are not clients.
const OTHER_FILES: u64 = 1_000;

/// So many others ask 500 times a second together, if the server is fast enough.
const ASKERS: usize = 4;
const PACE: Duration = Duration::from_millis(8);

/// Rounds begin no faster than this, nor than a client in a millisecond, so that the machine is loaded about as the askers load
/// it, and not as far as it goes: a version that is to take over must be able to follow.
const ROUND: Duration = Duration::from_millis(250);
const A_CLIENT: Duration = Duration::from_millis(1);

const TENANT: &str = "example.org";
const KEY: &str = "server-key";
const PASSWORD: &str = "postbell";

#[test]
fn twenty_swaps_are_noticed_by_nobody() -> Result<()> {
    raise_file_limit()?;
    let parked = parked()?;
    let server = served(parked)?.start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(play(&server, parked))
}

fn parked() -> Result<usize> {
    match std::env::var("POSTBELL_PARKED") {
        Err(_) => Ok(PARKED),
        Ok(most) if most == "most" => {
            let files = getrlimit(Resource::Nofile).current.context("a limit of open files")?;
            Ok(usize::try_from(files.saturating_sub(OTHER_FILES))?)
        }
        Ok(number) => number.parse().context("POSTBELL_PARKED"),
    }
}

/// What files it would keep for calls, it has for clients; and all of these may come at once.
fn served(parked: usize) -> Result<Start> {
    let connections = parked + ASKERS + 100;
    let configuration = format!(
        "[server]\nlisten = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\ndata = '{{folder}}/data'\nadmin-key = '{KEY}'\n\
         connections = {connections}\nconnections-per-address = {connections}\nuncommitted-inputs = 100_000\n\
         [push]\ncalls = 100\n[limits]\ninputs-waiting = 100_000\n\
         [[tenant]]\nname = '{TENANT}'\ndomains = ['{TENANT}']\nusers = 'users.toml'\ningest-key = 'ingest'\n\
         [tenant.settings]\news-streams-per-account = 100_000\news-subscriptions-per-account = 100_000\n\
         zimbra-waitset-max-per-account = 100_000\nzimbra-waitset-default-request-timeout = 86_400\n\
         zimbra-waitset-max-request-timeout = 86_400\n"
    );
    let hash = cheap_hash(PASSWORD)?;
    let users = (0..ACCOUNTS).map(|number| format!("[[user]]\nname = '{}'\npassword = '{hash}'\n", account(number)));
    Start::configured(PROGRAM, &configuration)?.file("users.toml", &users.collect::<String>())
}

fn account(number: usize) -> String {
    format!("user{number}@{TENANT}")
}

/// What everybody may know.
#[derive(Default)]
struct Round {
    /// The last round that has begun.
    begun: AtomicUsize,
    /// There will be no more.
    over: AtomicBool,
}

async fn play(server: &Server, parked: usize) -> Result<()> {
    let (round, address) = (Arc::new(Round::default()), server.clients);
    let (heard, mut all_heard) = channel(parked);
    let tokens = (0..ACCOUNTS).map(|number| token(address, &account(number))).collect::<Result<Vec<_>>>()?;
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..parked {
        let (name, heard) = (account(number % ACCOUNTS), heard.clone());
        let client = Client::new(server, &name, PASSWORD);
        let (token, round) = (tokens[number % ACCOUNTS].clone(), round.clone());
        // In each account every second.
        match number / ACCOUNTS % 2 {
            0 => drop(clients.spawn(async move { listen(address, client, heard).await.context("a stream") })),
            _ => drop(
                clients.spawn(async move { wait(address, &name, &token, heard, &round).await.context("a WaitSet") }),
            ),
        }
    }
    let askers: Vec<_> = (0..ASKERS).map(|number| tokio::spawn(ask(address, number, round.clone()))).collect();
    let begun = Instant::now();
    let mut next = async |waiting: &str| -> Result<()> {
        for _ in 0..parked {
            tokio::select! {
                told = timeout(PATIENCE, all_heard.recv()) => told.map(drop).context(waiting.to_owned())?,
                ended = clients.join_next() => ended.context("clients")??.context(waiting.to_owned())?,
            }
        }
        Ok(())
    };
    next("until all are parked").await?;
    let admin = Admin::new(server.admin, TENANT, KEY);
    let swapping = tokio::task::spawn_blocking(move || swap(&admin));
    let mut rounds = interval(ROUND.max(A_CLIENT * u32::try_from(parked)?));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Two more rounds after the last swap: what comes twice comes before the end of the second.
    let mut left = 2;
    while left > 0 {
        rounds.tick().await;
        left -= usize::from(swapping.is_finished());
        let number = round.begun.fetch_add(1, Ordering::Relaxed) + 1;
        let source = Admin::new(server.admin, TENANT, "ingest");
        let changes: Vec<_> =
            (0..ACCOUNTS).map(|it| delivered(&account(it), &format!("m{number}"), number as u32)).collect();
        tokio::task::spawn_blocking(move || source.change(&changes)).await??;
        next(&format!("until all have heard of m{number}")).await?;
    }
    swapping.await??;
    round.over.store(true, Ordering::Relaxed);
    let mut asked = 0;
    for asker in askers {
        asked += asker.await?.context("one that asks")?;
    }
    let (rounds, rate) = (round.begun.load(Ordering::Relaxed), asked as f64 / begun.elapsed().as_secs_f64());
    println!("{parked} parked clients, {SWAPS} swaps, {rounds} rounds, {asked} requests on top, {rate:.0} a second");
    Ok(())
}

/// One version takes over after the other, at once; some after a comparison, some by going back.
fn swap(admin: &Admin) -> Result<()> {
    for number in 0..SWAPS {
        let path = format!("/v1/tenants/{TENANT}");
        let component = edition(postbell::plugin::bundled(), (number % 3) as u8);
        let answer = match number % 5 {
            4 => admin.ask("POST", &format!("{path}/rollback"), b"")?,
            3 => admin.ask("PUT", &format!("{path}/plugin?shadow=50"), &component)?,
            _ => admin.ask("PUT", &format!("{path}/plugin"), &component)?,
        };
        let last: Value = serde_json::from_str(answer.body.lines().last().context("a line")?)?;
        ensure!(last["done"].is_object(), "swap {number}: {}", answer.body);
    }
    Ok(())
}

/// Parks in a stream and stays there. Every message must come, in order, once.
async fn listen(address: SocketAddr, client: Client, heard: Sender<()>) -> Result<()> {
    let mut connection = Http::open(address).await?;
    let subscribed = connection.ask(&client.post(&envelope(&subscribe_streaming()))).await?;
    let subscription = message(body(&subscribed)?)?.subscription.context("a subscription")?;
    connection.send(&client.post(&envelope(&get_streaming_events(&[&subscription], 30)))).await?;
    let mut next = 0;
    loop {
        let part = connection.envelope().await?;
        let said = message(body(&part)?)?;
        ensure!(said.class == "Success" && said.status.as_deref() != Some("Closed"), "{said:?}");
        if next == 0 {
            next = 1;
            heard.send(()).await?;
        }
        for item in items(said.notifications.into_iter().flat_map(|notification| notification.events)) {
            ensure!(item == format!("m{next}"), "{item} came, and m{next} was to come");
            next += 1;
            heard.send(()).await?;
        }
    }
}

fn subscribe_streaming() -> String {
    postbell_tests::ews::subscribe_streaming(postbell_tests::ews::ALL_FOLDERS)
}

fn items(events: impl Iterator<Item = Event>) -> impl Iterator<Item = String> {
    events.filter(|event| event.kind == "NewMailEvent").filter_map(|event| event.item)
}

fn token(address: SocketAddr, login: &str) -> Result<String> {
    let answer = Connection::open(address)?.ask(&post_soap(&zimbra::auth(login, PASSWORD)))?;
    let (_, token) = answer.body.split_once("<authToken>").with_context(|| format!("a token: {answer:?}"))?;
    Ok(token.split('<').next().unwrap_or_default().to_owned())
}

fn post_soap(body: &str) -> Vec<u8> {
    let headers = [("Content-Type", "application/soap+xml; charset=utf-8")];
    request("POST", zimbra::PATH, &headers, body.as_bytes())
}

/// Waits on a WaitSet, again and again. Every round must be answered, once.
async fn wait(address: SocketAddr, name: &str, token: &str, heard: Sender<()>, round: &Round) -> Result<()> {
    let mut connection = Http::open(address).await?;
    let create = zimbra::create("m", "", &[name]);
    let created = connection.ask(&post_soap(&zimbra::soap(token, &create))).await?;
    let set = attribute(&created, "waitSet").with_context(|| format!("a set: {created}"))?.to_owned();
    let mut seq = attribute(&created, "seq").context("a sequence number")?.to_owned();
    for answers in 1.. {
        let wait = zimbra::wait(&set, &seq, "block=\"1\"", "");
        connection.send(&post_soap(&zimbra::soap(token, &wait))).await?;
        heard.send(()).await?;
        let answer = connection.envelope().await?;
        body(&answer)?;
        ensure!(answer.contains("<a id=\"") && !answer.contains("canceled"), "it ended early: {answer}");
        ensure!(answers <= round.begun.load(Ordering::Relaxed), "it answers again, and nothing happened: {answer}");
        let later = attribute(&answer, "seq").context("a sequence number")?.to_owned();
        ensure!(later.parse::<u64>()? > seq.parse()?, "from {seq} to {later}");
        seq = later;
    }
    Ok(())
}

/// Asks for events all the time, and must hear of every message once. Gives how often it has asked.
async fn ask(address: SocketAddr, number: usize, round: Arc<Round>) -> Result<usize> {
    let client = Client::at(address, &account(number), PASSWORD);
    let mut connection = Http::open(address).await?;
    let subscribe = postbell_tests::ews::subscribe_pull(postbell_tests::ews::ALL_FOLDERS);
    let subscribed = message(body(&connection.ask(&client.post(&envelope(&subscribe))).await?)?)?;
    let subscription = subscribed.subscription.context("a subscription")?;
    let mut watermark = subscribed.watermark.context("a watermark")?;
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut asked, mut next) = (0, 1);
    while !round.over.load(Ordering::Relaxed) || next <= round.begun.load(Ordering::Relaxed) {
        pace.tick().await;
        let answer = connection.ask(&client.post(&envelope(&get_events(&subscription, &watermark)))).await?;
        let said = message(body(&answer)?)?;
        ensure!(said.code == "NoError" && said.notifications.len() == 1, "{said:?}");
        asked += 1;
        for event in said.notifications.into_iter().flat_map(|notification| notification.events) {
            watermark = event.watermark.clone().context("a watermark")?;
            for item in items(std::iter::once(event)) {
                ensure!(item == format!("m{next}"), "{item} came, and m{next} was to come");
                next += 1;
            }
        }
    }
    Ok(asked)
}

/// A connection on which every answer, and every part of one, is an envelope.
struct Http {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Http {
    async fn open(address: SocketAddr) -> Result<Http> {
        Ok(Http { stream: TcpStream::connect(address).await?, buffer: Vec::new() })
    }

    async fn send(&mut self, request: &[u8]) -> Result<()> {
        Ok(tokio::io::AsyncWriteExt::write_all(&mut self.stream, request).await?)
    }

    async fn ask(&mut self, request: &[u8]) -> Result<String> {
        self.send(request).await?;
        self.envelope().await
    }

    /// Everything up to the end of the next envelope.
    async fn envelope(&mut self) -> Result<String> {
        until(&mut self.stream, &mut self.buffer, "Envelope>").await
    }
}

/// The envelope, behind the head of an answer or the size of a chunk.
fn body(text: &str) -> Result<&str> {
    let answered = text.find("HTTP/1.1 ").is_none_or(|at| text[at..].starts_with("HTTP/1.1 200 "));
    ensure!(answered, "not answered: {text}");
    let begin = text.find("<?xml").or_else(|| text.find("<Envelope")).or_else(|| text.find("<soap:Envelope"));
    Ok(&text[begin.with_context(|| format!("an envelope: {text}"))?..])
}
