//! Plugins that misbehave, beside a neighbour that must not notice; see `tests/guests/hostile`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use postbell::clock::{Clock, ManualClock, SystemClock};
use postbell::contract::requests::{Access, Denial, RequestHead};
use postbell::journal::MemoryJournal;
use postbell::plugin::{InstanceLimits, Plugin, PluginError, PluginLimits};
use postbell::tenant::{Answer, Body, Limits, Request, RequestError, Retention, Tenant};
use postbell::{Host, HostOptions, OpenError, Statistics, TenantOptions};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::PATIENCE;

/// The guest's component, with the program `plain`.
static GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/postbell-hostile-guest.wasm"));

/// Before the program's name.
const MARK: &[u8] = b"<postbell-program>";

/// How long name and parameter may be.
const NAME_BYTES: usize = 46;

/// The component of a program: `NAME` or `NAME PARAMETER`.
///
/// # Panics
///
/// That is too long.
pub fn component(program: &str) -> Vec<u8> {
    assert!(program.len() <= NAME_BYTES, "{program} is too long");
    let mut component = GUEST.to_vec();
    let mark = component.windows(MARK.len()).position(|bytes| bytes == MARK).expect("the guest has its mark");
    let name = &mut component[mark + MARK.len()..][..NAME_BYTES];
    name.fill(b' ');
    name[..program.len()].copy_from_slice(program.as_bytes());
    component
}

/// A host with one thread for all its tenants, one of which is asked all the time.
#[expect(missing_debug_implementations, reason = "hosts have none")]
pub struct Scene {
    /// Where the others are opened.
    pub host: Host,
    neighbour: Tenant,
    asking: JoinHandle<Result<u64>>,
    stop: Arc<AtomicBool>,
    /// Instances while there is only the neighbour.
    instances: u64,
}

/// What a hostile tenant may use: little, so that tests take little.
pub fn tight() -> Limits {
    let instance = InstanceLimits {
        memory_bytes: 8 << 20,
        call_milliseconds: 30,
        identify_milliseconds: 30,
        load_milliseconds: 30,
        state_bytes: 4 << 20,
        ..InstanceLimits::default()
    };
    let retention = Retention { snapshot_inputs: 5, ..Retention::default() };
    Limits { instance, retention, faults_per_minute: 20, ..Limits::default() }
}

impl Scene {
    /// The neighbour is there, and is asked.
    pub async fn new() -> Result<Scene> {
        Scene::at(Arc::new(SystemClock::default())).await
    }

    /// As [`Scene::new`], with a clock of the test's.
    pub async fn at(clock: Arc<dyn Clock>) -> Result<Scene> {
        let plugin_limits = PluginLimits { describe_milliseconds: 30, ..PluginLimits::default() };
        let journal = Arc::new(MemoryJournal::default());
        let options = HostOptions { journal, clock, plugin_limits, instances: 50, shards: 1, ..crate::host_options() };
        let host = Host::new(options)?;
        // Where the test has the clock, it may be asked a lot in no time.
        let limits = Limits { busy_milliseconds: u64::MAX, ..Limits::default() };
        let options = TenantOptions { limits, ..TenantOptions::default() };
        let neighbour = host.open("neighbour", &host.load(&component("plain"))?, options)?;
        let request = request("/");
        neighbour.identify(&request.head, &request.body).await?;
        let instances = host.instances();
        let stop = Arc::<AtomicBool>::default();
        let asking = tokio::spawn(ask_on(neighbour.clone(), stop.clone()));
        Ok(Scene { host, neighbour, asking, stop, instances })
    }

    /// The program as a plugin.
    pub fn load(&self, program: &str) -> Result<Plugin, PluginError> {
        self.host.load(&component(program))
    }

    /// The program as a tenant.
    ///
    /// # Panics
    ///
    /// It is none that can be loaded.
    pub fn open(&self, program: &str, limits: Limits) -> Result<Tenant, OpenError> {
        let plugin = self.load(program).expect("it loads");
        self.host.open(program, &plugin, TenantOptions { limits, ..TenantOptions::default() })
    }

    /// The tenant is closed, and leaves nothing.
    pub async fn close(&self, tenant: Tenant) -> Result<()> {
        tenant.close().await;
        drop(tenant);
        self.nothing_is_left().await
    }

    /// There are as many instances as there were, each with its store and its slot, and as many threads.
    pub async fn nothing_is_left(&self) -> Result<()> {
        let gone = async {
            // The neighbour's own snapshots come and go.
            while self.host.instances() != self.instances || self.host.own_threads() > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, gone).await.with_context(|| {
            format!("{} instances and {} threads are left", self.host.instances(), self.host.own_threads())
        })
    }

    /// Lets time pass on the test's clock: in two steps, after each of which the neighbour is answered whatever it asked
    /// before, so that none of its requests is open for longer than one.
    pub async fn pass(&self, clock: &ManualClock, milliseconds: u64) -> Result<()> {
        for _ in 0..2 {
            clock.advance(milliseconds / 2);
            // One that was sent may not be counted yet; with the one after that it has been answered.
            let asked = count(&self.neighbour.statistics().inputs, "answer") + 2;
            until(&self.neighbour, "answers", |figures| count(&figures.inputs, "answer") >= asked).await?;
        }
        Ok(())
    }

    /// The neighbour got every answer, and gets more.
    pub async fn end(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let answers = self.asking.await??;
        ensure!(answers > 0 && self.neighbour.statistics().faults.is_empty());
        ensure!(ask(&self.neighbour, "/").await?? == (answers + 1).to_string());
        self.neighbour.close().await;
        Ok(())
    }
}

/// Asks until it is to stop; each answer must be the next number.
async fn ask_on(neighbour: Tenant, stop: Arc<AtomicBool>) -> Result<u64> {
    let mut answers = 0;
    while !stop.load(Ordering::Relaxed) {
        let request = request("/");
        neighbour.identify(&request.head, &request.body).await?;
        let answer = ask(&neighbour, "/").await??;
        answers += 1;
        ensure!(answer == answers.to_string(), "the neighbour hears {answer} instead of {answers}");
    }
    Ok(answers)
}

/// A request for this path.
pub fn request(path: &str) -> Request {
    let head = RequestHead {
        method: "POST".into(),
        path: path.into(),
        query: String::new(),
        content_type: String::new(),
        headers: vec![],
        secure: true,
    };
    let access = Access::Denied(Denial::Missing);
    Request { head, body: Bytes::from_static(b"body"), access, act_as: None, accounts: vec![] }
}

/// The whole answer; the outer error is that there is none.
pub async fn ask(tenant: &Tenant, path: &str) -> Result<Result<String, RequestError>> {
    let answered = timeout(PATIENCE, tenant.request(request(path))).await.context("no answer")?;
    Ok(match answered {
        Ok(Answer { body: Body::Whole(bytes), .. }) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Ok(Answer { body: Body::Parts(mut parts), .. }) => {
            let mut whole = Vec::new();
            while let Some(part) = timeout(PATIENCE, parts.next()).await.context("no further part")? {
                whole.extend_from_slice(&part?);
            }
            Ok(String::from_utf8_lossy(&whole).into_owned())
        }
        Err(error) => Err(error),
    })
}

/// Waits until the tenant's figures are so.
pub async fn until(tenant: &Tenant, what: &str, so: impl Fn(&Statistics) -> bool) -> Result<()> {
    let waiting = async {
        while !so(&tenant.statistics()) {
            tokio::task::yield_now().await;
        }
    };
    let figures = || format!("{what}: {:?}", tenant.statistics());
    timeout(PATIENCE, waiting).await.with_context(figures)
}

/// How often something was counted.
pub fn count(counts: &std::collections::BTreeMap<&'static str, u64>, word: &str) -> u64 {
    counts.get(word).copied().unwrap_or(0)
}
