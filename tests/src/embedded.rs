//! A tenant driven by the library's own interface, on a journal that does what the test commands.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};

use postbell::clock::Clock;
use postbell::contract::changes::Account;
use postbell::contract::requests::{Access, Grant, Rank};
use postbell::journal::{
    Append, ComponentId, Journal, JournalError, KeptComponent, MemoryJournal, Record, Seat, SeatFacts, Snapshot,
};
use postbell::tenant::{Answer, Body, Request, RequestError, SourceSpan, Tenant};
use postbell::{Host, HostOptions, OpenError, TenantOptions};

use crate::histories;

/// The account of whoever asks here.
pub const ALICE: &str = "alice@example.org";

/// A journal in memory that can be told to misbehave.
#[derive(Debug, Default)]
pub struct Commanded {
    memory: MemoryJournal,
    components: Mutex<BTreeMap<ComponentId, KeptComponent>>,
    mode: Mutex<Mode>,
    changed: Condvar,
    alteration: Mutex<Alteration>,
    altered: Condvar,
}

/// What a [`Commanded`] journal does with appends.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Mode {
    /// It takes them.
    #[default]
    Works,
    /// It holds them until the mode changes.
    Stalls,
    /// It refuses them.
    Breaks,
    /// It refuses one, and takes those after it.
    BreaksOnce,
    /// It takes one and says that it did not, as a store does whose answer is lost.
    AnswersWrongOnce,
}

/// What a [`Commanded`] journal tells otherwise than it is, or does not tell yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alteration {
    /// The digest of the record at this sequence is another.
    pub digest_at: Option<u64>,
    /// Every seat has regressed.
    pub regressed: bool,
    /// No record can be read now.
    pub unreadable: bool,
    /// Snapshots are held until this changes.
    pub holds_snapshots: bool,
    /// Snapshots are refused.
    pub refuses_snapshots: bool,
    /// So often it is still told what there is of a seat.
    pub tells: Option<u32>,
    /// No component can be had now.
    pub no_components: bool,
}

impl Commanded {
    /// Changes what becomes of appends, those that are held included.
    pub fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
        self.changed.notify_all();
    }

    /// Changes what is told otherwise.
    pub fn alter(&self, alteration: Alteration) {
        *self.alteration.lock().unwrap() = alteration;
        self.altered.notify_all();
    }

    /// The first input that is kept of the only seat.
    pub fn first(&self) -> u64 {
        let seat = self.memory.seats().unwrap().remove(0);
        self.memory.facts(&seat).unwrap().unwrap().first
    }

    /// Every record that is kept of the only seat, which must not be cut meanwhile.
    pub fn records(&self) -> Vec<Record> {
        let seat = self.memory.seats().unwrap().remove(0);
        let first = self.memory.facts(&seat).unwrap().unwrap().first;
        postbell::journal::records(&self.memory, &seat, first, u64::MAX).map(Result::unwrap).collect()
    }
}

impl Journal for Commanded {
    fn append(&self, appends: &[Append]) -> Vec<Result<(), JournalError>> {
        let mode = self.mode.lock().unwrap();
        let mut mode = self.changed.wait_while(mode, |mode| *mode == Mode::Stalls).unwrap();
        let now = *mode;
        if let Mode::BreaksOnce | Mode::AnswersWrongOnce = now {
            *mode = Mode::Works;
        }
        drop(mode);
        if now == Mode::AnswersWrongOnce {
            self.memory.append(appends);
        }
        match now {
            Mode::Breaks | Mode::BreaksOnce | Mode::AnswersWrongOnce => {
                appends.iter().map(|_| Err(JournalError::Store("no space left".into()))).collect()
            }
            Mode::Works | Mode::Stalls => self.memory.append(appends),
        }
    }

    fn read(&self, seat: &Seat, from: u64) -> Result<Vec<Record>, JournalError> {
        let mut records = self.memory.read(seat, from)?;
        let Alteration { digest_at, unreadable, .. } = *self.alteration.lock().unwrap();
        if unreadable {
            return Err(JournalError::Store("the disk is away".into()));
        }
        for record in records.iter_mut().filter(|record| Some(record.sequence) == digest_at) {
            record.digest.reaction ^= 1;
        }
        Ok(records)
    }

    fn facts(&self, seat: &Seat) -> Result<Option<SeatFacts>, JournalError> {
        let mut alteration = self.alteration.lock().unwrap();
        match &mut alteration.tells {
            Some(0) => return Err(JournalError::Store("the disk is away".into())),
            Some(tells) => *tells -= 1,
            None => {}
        }
        let regressed = alteration.regressed;
        drop(alteration);
        Ok(self.memory.facts(seat)?.map(|facts| SeatFacts { regressed, ..facts }))
    }

    fn seats(&self) -> Result<Vec<Seat>, JournalError> {
        self.memory.seats()
    }

    fn put_snapshot(&self, seat: &Seat, snapshot: &Snapshot) -> Result<(), JournalError> {
        let alteration = self.alteration.lock().unwrap();
        let alteration = self.altered.wait_while(alteration, |alteration| alteration.holds_snapshots).unwrap();
        if alteration.refuses_snapshots {
            return Err(JournalError::Store("no space left".into()));
        }
        drop(alteration);
        self.memory.put_snapshot(seat, snapshot)
    }

    fn snapshot(&self, seat: &Seat, sequence: u64) -> Result<Option<Arc<Snapshot>>, JournalError> {
        self.memory.snapshot(seat, sequence)
    }

    fn cut(&self, seat: &Seat, horizon: u64) -> Result<(), JournalError> {
        self.memory.cut(seat, horizon)
    }

    fn remove(&self, seat: &Seat) -> Result<(), JournalError> {
        self.memory.remove(seat)
    }

    fn put_component(&self, id: ComponentId, kept: &KeptComponent) -> Result<(), JournalError> {
        self.components.lock().unwrap().insert(id, kept.clone());
        Ok(())
    }

    fn component(&self, id: ComponentId) -> Result<Option<KeptComponent>, JournalError> {
        match self.alteration.lock().unwrap().no_components {
            true => Err(JournalError::Store("the disk is away".into())),
            false => Ok(self.components.lock().unwrap().get(&id).cloned()),
        }
    }
}

/// A host on this journal.
///
/// # Panics
///
/// This machine does not run the engine.
pub fn host(journal: Arc<dyn Journal>) -> Host {
    let options = HostOptions { journal, instances: 20, ..crate::host_options() };
    Host::new(options).expect("this machine runs the engine")
}

/// A host on this journal and this clock.
///
/// # Panics
///
/// This machine does not run the engine.
pub fn host_at(journal: Arc<dyn Journal>, clock: Arc<dyn Clock>) -> Host {
    let options = HostOptions { journal, clock, instances: 20, ..crate::host_options() };
    Host::new(options).expect("this machine runs the engine")
}

/// A host on this journal that takes what a replay gives for true.
///
/// # Panics
///
/// This machine does not run the engine.
pub fn accepting_host(journal: Arc<dyn Journal>) -> Host {
    let options = HostOptions { journal, instances: 20, accept_divergence: true, ..crate::host_options() };
    Host::new(options).expect("this machine runs the engine")
}

/// Opens example.org on the built-in plugin.
///
/// # Errors
///
/// As [`Host::open`].
///
/// # Panics
///
/// The built-in plugin does not load.
pub fn open(host: &Host, options: TenantOptions) -> Result<Tenant, OpenError> {
    let plugin = host.load(postbell::plugin::bundled()).expect("the built-in plugin loads");
    let settings = vec![("domains".to_owned(), "example.org".to_owned())];
    host.open("example.org", &plugin, TenantOptions { settings, ..options })
}

/// A request of alice's.
pub fn request(body: String) -> Request {
    let request = histories::request(0, ALICE, body);
    let account = Account { id: ALICE.into(), name: ALICE.into(), aliases: vec![] };
    let visit = "v1".into();
    let grant = Grant { account, rank: Rank::User, visit, token_placeholder: None, token_lifetime_ms: 0 };
    let (body, access) = (request.body.into(), Access::Granted(grant));
    Request { head: request.head, body, access, act_as: None, accounts: vec![] }
}

/// An answer that comes at once.
///
/// # Panics
///
/// There is none, or it comes in parts.
pub fn whole(answer: Result<Answer, RequestError>) -> String {
    match answer.expect("an answer").body {
        Body::Whole(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Body::Parts(_) => panic!("this answer comes at once"),
    }
}

/// Subscribes alice to her inbox; gives the subscription's id and its first watermark.
pub async fn subscribe(tenant: &Tenant) -> (String, String) {
    let answer = whole(tenant.request(request(histories::subscribe_pull("inbox"))).await);
    let id = between(&answer, "<m:SubscriptionId>", "<").to_owned();
    (id, between(&answer, "<m:Watermark>", "<").to_owned())
}

/// Asks for alice's events.
pub async fn get_events(tenant: &Tenant, id: &str, watermark: &str) -> String {
    whole(tenant.request(request(histories::get_events(id, watermark))).await)
}

/// What stands in a text between two others.
///
/// # Panics
///
/// They are not there.
pub fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let start = text.find(before).unwrap_or_else(|| panic!("no {before} in {text}")) + before.len();
    &text[start..start + text[start..].find(after).expect("it ends")]
}

/// One unit of a source.
pub fn span(offset: u64) -> Option<SourceSpan> {
    Some(SourceSpan { source: "imap-1".into(), offset, length: 1 })
}

/// A gauge of the plugin's; 0 if it is not there.
pub async fn gauge(tenant: &Tenant, name: &str) -> f64 {
    let gauges = tenant.inspect().await;
    gauges.iter().find(|gauge| gauge.name == name).map_or(0.0, |gauge| gauge.value)
}
