//! `postbell swap` and `postbell rollback`: have another component take over on a running server, and show how that comes
//! along.

mod display;
mod fleet;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};
use percent_encoding::utf8_percent_encode;
use ureq::Body;
use ureq::http::Response;

use self::display::Display;
use super::Failure;
use super::client::{Client, ServerArgs};
use super::counted::PART;
use super::output::Output;
use super::signatures::signature_of;
use crate::admin::plugins::line::{Done, Line, Refused, Wrong};
use crate::admin::plugins::{PluginListing, SIGNATURE};
use crate::tenant::Shadow;

/// Exit codes besides those of failures.
const DONE: u8 = 0;
const NOT_DONE: u8 = 1;
const PLUGIN_REFUSED: u8 = 3;

/// Have another version of a plugin take over, while its clients stay connected
///
/// Each tenant goes through the steps prepare, warm, follow, shadow (if asked for) and cut over. A step that fails leaves
/// the tenant as it was, as does interrupting this command before the cut-over.
#[derive(Args, Debug)]
pub struct SwapArgs {
    /// The component; where FILE.minisig is, it is sent as its signature
    file: PathBuf,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    whose: Whose,
    /// With --all: swap so many of the tenants, look for faults, and go on with the next ones; at a fault or a
    /// difference go back with these
    #[arg(long, value_name = "PERCENT", conflicts_with = "tenant", value_parser = percent, default_value = "100%")]
    share: usize,
    /// With --all: wait so long between two shares, such as 1m, and look for faults meanwhile
    #[arg(long, value_name = "TIME", conflicts_with = "tenant", value_parser = milliseconds, default_value = "0s")]
    pause: u64,
    /// Compare what both versions make of so many inputs, or for so long: 1000, or 10m
    #[arg(long, value_name = "INPUTS|TIME", value_parser = shadow)]
    shadow: Option<Shadow>,
    /// What becomes of the swap where they make different things of an input
    #[arg(long, value_enum, default_value_t = Difference::Refuse, requires = "shadow")]
    on_difference: Difference,
    /// Begin with nothing, if the new version knows no kept state and the history does not reach back to the beginning:
    /// clients have to subscribe again
    #[arg(long)]
    fresh: bool,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Whose {
    /// The tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Every tenant that runs another version of the same plugin, or the same; needs the server's admin key
    #[arg(long)]
    all: bool,
}

/// Go back to the version before the last swap, with all that happened since
#[derive(Args, Debug)]
pub struct RollbackArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The tenant
    #[arg(long)]
    tenant: String,
    /// Which of its plugins, where it has several; else the first
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Difference {
    /// It is refused at the first one
    Refuse,
    /// They are printed, and the new version takes over
    Report,
}

/// Swaps. Blocks until the last cut-over. Gives the exit code.
///
/// # Errors
///
/// The file cannot be read, there is no key, or the server cannot be asked.
pub fn swap(args: &SwapArgs) -> Result<u8, Failure> {
    let component = Component::read(args)?;
    let fleet = Swapper { client: args.server.client()?, out: Output::standard() };
    let Some(tenant) = &args.whose.tenant else { return fleet::swap(fleet, &component, args.share, args.pause) };
    let mut one = fleet;
    let outcome = one.swap(tenant, &component)?;
    Ok(exit_code(&outcome))
}

/// Goes back. Blocks until the cut-over. Gives the exit code.
///
/// # Errors
///
/// There is no key, or the server cannot be asked.
pub fn rollback(args: &RollbackArgs) -> Result<u8, Failure> {
    let mut swapper = Swapper { client: args.server.client()?, out: Output::standard() };
    Ok(exit_code(&swapper.roll_back(&args.tenant, args.plugin.as_deref())?))
}

fn exit_code(outcome: &Result<Done, Refused>) -> u8 {
    match outcome {
        Ok(_) => DONE,
        Err(Refused { kind: Wrong::Plugin, .. }) => PLUGIN_REFUSED,
        Err(_) => NOT_DONE,
    }
}

/// What is sent.
struct Component {
    bytes: Vec<u8>,
    signature: Option<String>,
    query: String,
}

impl Component {
    fn read(args: &SwapArgs) -> Result<Component, Failure> {
        let unread = |file: &Path, error| Failure::Usage(format!("{}: {error}", file.display()));
        let bytes = std::fs::read(&args.file).map_err(|error| unread(&args.file, error))?;
        let beside = signature_of(&args.file);
        let signature = match std::fs::read(&beside) {
            Ok(text) => Some(STANDARD.encode(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(unread(&beside, error)),
        };
        Ok(Component { bytes, signature, query: query(args) })
    }
}

fn query(args: &SwapArgs) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    match args.shadow {
        None => {}
        Some(Shadow::Inputs(inputs)) => drop(query.append_pair("shadow", &inputs.to_string())),
        Some(Shadow::Milliseconds(time)) => drop(query.append_pair("shadow", &format!("{time}ms"))),
    }
    if matches!(args.on_difference, Difference::Report) {
        query.append_pair("on-difference", "report");
    }
    if args.fresh {
        query.append_pair("fresh", "true");
    }
    query.finish()
}

/// Swaps tenants of a server, one at a time, and prints how that comes along.
struct Swapper {
    client: Client,
    out: Output,
}

impl Swapper {
    fn swap(&mut self, tenant: &str, component: &Component) -> Result<Result<Done, Refused>, Failure> {
        let path = format!("/v1/tenants/{}/plugin?{}", utf8_percent_encode(tenant, PART), component.query);
        let headers: Vec<_> = component.signature.iter().map(|signature| (SIGNATURE, &**signature)).collect();
        let answer = self.client.put(&path, &headers, &component.bytes)?;
        self.follow(tenant, answer)
    }

    fn roll_back(&mut self, tenant: &str, plugin: Option<&str>) -> Result<Result<Done, Refused>, Failure> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(plugin.map(|plugin| ("plugin", plugin)));
        let path = format!("/v1/tenants/{}/rollback?{}", utf8_percent_encode(tenant, PART), query.finish());
        let answer = self.client.post(&path)?;
        self.follow(tenant, answer)
    }

    fn listing(&self) -> Result<PluginListing, Failure> {
        let text = self.client.get("/v1/plugins")?.body_mut().read_to_string().context("the server's answer")?;
        Ok(serde_json::from_str(&text).context("not an answer of a postbell server")?)
    }

    /// Prints the lines of an answer as they come.
    fn follow(&mut self, tenant: &str, answer: Response<Body>) -> Result<Result<Done, Refused>, Failure> {
        let mut display = Display::new(tenant);
        for line in BufReader::new(answer.into_body().into_reader()).lines() {
            let line = line.context("the server's answer")?;
            let line = serde_json::from_str(&line).context("not an answer of a postbell server")?;
            display.show(&mut self.out, &line)?;
            match line {
                Line::Done(done) => return Ok(Ok(done)),
                Line::Refused(refused) => return Ok(Err(refused)),
                _ => {}
            }
        }
        let ends = "the server's answer ends early; `postbell plugin list` says which version the tenant runs";
        Err(anyhow!("{tenant}: {ends}").into())
    }
}

fn shadow(text: &str) -> Result<Shadow, String> {
    match text.parse() {
        Ok(inputs) => Ok(Shadow::Inputs(inputs)),
        Err(_) => milliseconds(text).map(Shadow::Milliseconds),
    }
}

fn milliseconds(text: &str) -> Result<u64, String> {
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("expected a number with ms, s, m or h, such as 10m".into()),
    };
    let number: Option<u64> = number.parse().ok();
    number.and_then(|number| number.checked_mul(unit)).ok_or_else(|| "expected a number before the unit".into())
}

fn percent(text: &str) -> Result<usize, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse().ok();
    number.filter(|number| (1..=100).contains(number)).ok_or_else(|| "expected 1% to 100%".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(shadow("1000"), Ok(Shadow::Inputs(1000)));
        assert_eq!(shadow("10m"), Ok(Shadow::Milliseconds(600_000)));
        assert_eq!(milliseconds("1500ms"), Ok(1500));
        for odd in ["", "m", "10", "1d", "-1s", "1.5s", "99999999999999999999h", "18446744073709551615s"] {
            assert!(milliseconds(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn shares_are_percent() {
        assert_eq!((percent("10%"), percent("100")), (Ok(10), Ok(100)));
        for odd in ["", "%", "0", "101%", "x"] {
            assert!(percent(odd).is_err(), "{odd}");
        }
    }
}
