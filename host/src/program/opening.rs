//! Opening the tenants: all of them in the background, the most recently used first.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, Sender, channel};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Failure;
use super::config::TenantConfig;
use super::data::DataError;
use crate::plugin::Plugin;
use crate::tenant::{SeatError, Tenant};
use crate::{Host, OpenError, TenantOptions};

/// A tenant that is to be opened.
pub struct Wanted<'a> {
    /// Its configuration.
    pub config: &'a TenantConfig,
    /// Its plugins, each with what its seat is opened with, in the order of the configuration.
    pub seats: Vec<(Plugin, TenantOptions)>,
}

/// Begins to open the tenants and returns once the first is open, or, without `waits`, at once: other nodes may have them all.
/// Requests to the others wait for them. The handles come
/// in the order of `wanted`. A tenant that does not open is closed, and said in the log.
///
/// # Errors
///
/// The plugin of one refuses its settings, or no tenant opens.
pub fn open(host: &Host, wanted: &[Wanted<'_>], waits: bool) -> Result<Vec<Tenant>, Failure> {
    for Wanted { config, seats } in wanted {
        let mut names = BTreeSet::new();
        for (plugin, options) in seats {
            host.try_settings(plugin, &options.settings).map_err(|error| failure(config, error))?;
            let name = &plugin.manifest().name;
            if !names.insert(name) {
                return Err(unseated(config, &SeatError::SamePlugin(name.clone())));
            }
        }
    }
    let (outcomes, first_outcomes) = channel();
    let report = Report::start(wanted.iter().map(|wanted| wanted.seats.len()).sum(), outcomes);
    let mut tenants: Vec<Option<Tenant>> = wanted.iter().map(|_| None).collect();
    for index in most_recent_first(host, wanted)? {
        let Wanted { config, seats } = &wanted[index];
        for (plugin, options) in seats {
            let report = report.clone();
            let opened = host.open_later(&config.name, plugin, options.clone(), move |result| {
                // An error means that the program ends.
                let _ = report.send((index, result));
            });
            let seat = opened.map_err(|error| failure(config, error))?;
            tenants[index] = Some(match tenants[index].take() {
                None => seat,
                Some(tenant) => tenant.with(&seat).map_err(|error| unseated(config, &error))?,
            });
        }
    }
    drop(report);
    if waits {
        wait_for_one(&first_outcomes, wanted)?;
    }
    Ok(tenants.into_iter().map(|tenant| tenant.expect("each index occurs once")).collect())
}

fn most_recent_first(host: &Host, wanted: &[Wanted<'_>]) -> Result<Vec<usize>, Failure> {
    let mut order = Vec::new();
    for (index, Wanted { config, seats }) in wanted.iter().enumerate() {
        let used = host.last_used(&config.name, &seats[0].0).map_err(|error| failure(config, error))?;
        order.push((std::cmp::Reverse(used), index));
    }
    order.sort_unstable();
    Ok(order.into_iter().map(|(_, index)| index).collect())
}

type Outcome = (usize, Result<(), OpenError>);

/// Shows and logs what becomes of each tenant, and passes it on as long as somebody listens.
struct Report;

impl Report {
    fn start(tenants: usize, outcomes: Sender<Outcome>) -> Sender<Outcome> {
        let (report, reported) = channel::<Outcome>();
        let bar = bar(tenants);
        std::thread::Builder::new()
            .name("postbell-opening".into())
            .spawn(move || {
                for outcome in reported {
                    bar.inc(1);
                    // An error means that one is open and nobody waits any more.
                    let _ = outcomes.send(outcome);
                }
                bar.finish_and_clear();
            })
            .expect("the operating system gives a thread at start");
        report
    }
}

fn bar(tenants: usize) -> ProgressBar {
    if tenants < 2 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(tenants as u64), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("opening tenants {wide_bar} {pos}/{len}");
    bar.with_style(style.expect("the template is well formed"))
}

fn wait_for_one(outcomes: &Receiver<Outcome>, wanted: &[Wanted<'_>]) -> Result<(), Failure> {
    let mut first_failure = None;
    for (index, result) in outcomes {
        match result {
            Ok(()) => return Ok(()),
            Err(error) => {
                first_failure.get_or_insert(failure(wanted[index].config, error));
            }
        }
    }
    Err(first_failure.expect("there is at least one tenant"))
}

fn failure(config: &TenantConfig, error: OpenError) -> Failure {
    match error {
        OpenError::Settings(why) => refused_setting(config, &why),
        OpenError::History(why) | OpenError::Journal(why) => {
            DataError::History { tenant: config.name.clone(), why }.into()
        }
        other => Failure::Running(anyhow::Error::new(other).context(format!("tenant {}", config.name))),
    }
}

/// Two plugins of one tenant do not go together.
fn unseated(config: &TenantConfig, error: &SeatError) -> Failure {
    let message = format!("tenant {}: {error}", config.name);
    match &config.at {
        Some(at) => at.mistake(message).into(),
        None => Failure::Usage(message),
    }
}

/// The plugin names the setting in its own words; it is looked for in the file.
fn refused_setting(config: &TenantConfig, why: &str) -> Failure {
    let message = format!("tenant {}: the plugin refuses its settings: {why}", config.name);
    let all = config.settings.iter().chain(config.seats.iter().flat_map(|seat| &seat.settings));
    let named = all.filter(|setting| why.contains(&setting.key));
    let longest = named.max_by_key(|setting| setting.key.len());
    match longest.and_then(|setting| setting.at.as_ref()).or(config.at.as_ref()) {
        Some(at) => at.mistake(message).into(),
        None => Failure::Usage(message),
    }
}
