//! Subscribe (MS-OXWSNTIF 3.1.4.3): pull, streaming and push subscriptions.
//!
//! A request that names neither folders nor all folders means all of them. A watermark after which more has happened
//! than a subscription may have pending is too old. `CallerData` is read and forgotten: nothing that a client is sent
//! has a place for it.

use crate::contract::{Account, AccountName, Reply, Request};
use crate::history::Position;
use crate::ids::Watermark;
use crate::mailboxes::{Condition, FolderNo, MailboxNo};
use crate::reply::Text;
use crate::soap::{Document, Fields, MAX_TEXT, Node, Violation};
use crate::state::State;
use crate::subscriptions::{Method, Push, Subscription, SubscriptionId};
use crate::turn::Turn;

use super::codes::Code;
use super::fault::Fault;
use super::folder_ids::{self, FolderRef, Found};
use super::{Caller, envelope, events, push_url};

const OPERATION: &str = "Subscribe";

/// The longest watermark that is looked at, in bytes.
const MAX_WATERMARK: usize = 1024;
/// The longest caller data, in bytes.
const MAX_CALLER_DATA: usize = 4096;
/// The longest idle time of a pull subscription and the longest status period, in minutes.
const MAX_MINUTES: u32 = 1440;
/// The status period of a client that names none, in minutes.
const STATUS_MINUTES: u32 = 30;

/// What a client asks for.
struct Wanted {
    way: Way,
    folders: Vec<FolderRef>,
    all_folders: bool,
    kinds: u8,
    watermark: Option<String>,
}

enum Way {
    Pull { timeout_minutes: u32 },
    Push { status_minutes: u32, url: String },
    Streaming,
}

/// The accounts that a request names.
pub fn accounts(document: &Document<'_>, operation: Node) -> Vec<AccountName> {
    read(document, operation).map(|wanted| folder_ids::accounts(&wanted.folders)).unwrap_or_default()
}

/// Answers a Subscribe.
pub fn answer(
    state: &mut State,
    turn: &mut Turn,
    document: &Document<'_>,
    operation: Node,
    request: &Request,
    caller: &Caller<'_>,
) -> Result<Reply, Fault> {
    let wanted = read(document, operation)?;
    Ok(match subscribe(state, turn, &wanted, request, caller) {
        Ok((id, watermark)) => envelope::success(OPERATION, |body| {
            body.raw("<m:SubscriptionId>");
            body.base64url(&id);
            body.raw("</m:SubscriptionId>");
            if let Some(watermark) = watermark {
                body.raw("<m:Watermark>");
                body.base64url(&watermark);
                body.raw("</m:Watermark>");
            }
        }),
        Err(code) => envelope::failure(OPERATION, code),
    })
}

/// Gives the id, and the watermark if there is to be one.
fn subscribe(
    state: &mut State,
    turn: &mut Turn,
    wanted: &Wanted,
    request: &Request,
    caller: &Caller<'_>,
) -> Result<(SubscriptionId, Option<Watermark>), Code> {
    let account = account(wanted, request, caller)?;
    let known = state.mailboxes.find_account(account);
    let folders = folders(state, known, wanted)?;
    let start = start(state, known, wanted)?;
    let (method, idle_ms) = method(state, turn, wanted, caller)?;

    turn.changed = true;
    if state.subscriptions.counts().all() >= u64::from(state.settings.subscriptions) {
        state.refused.subscriptions += 1;
        return Err(Code::ErrorExceededSubscriptionCount);
    }
    let mailbox = state.mailbox_named(account, turn).ok_or(Code::ErrorExceededSubscriptionCount)?;
    let folders = numbers(state, mailbox, &folders)?;
    let history = &state.mailboxes.get(mailbox).history;
    let mut subscription = Subscription {
        id: state.keys.subscription(request.id),
        owner: caller.login.id.clone(),
        mailbox,
        folders,
        kinds: wanted.kinds,
        method,
        idle_ms,
        deadline: None,
        acknowledged: start.unwrap_or_else(|| history.last()),
        oldest: None,
        pending: 0,
        pending_bytes: 0,
        missed: 0,
    };
    let has_watermark = !matches!(wanted.way, Way::Streaming);
    let watermark = has_watermark.then(|| state.keys.watermark(mailbox, subscription.acknowledged));
    let id = subscription.id;
    subscription.recount(history, state.settings.queue());
    if subscription.has_missed() {
        return Err(Code::ErrorInvalidWatermark);
    }
    let number = state.add_subscription(subscription);
    state.keep_alive(number, turn.at.now);
    Ok((id, watermark))
}

/// How the subscription is to be served, and its idle life in milliseconds.
fn method(state: &State, turn: &Turn, wanted: &Wanted, caller: &Caller<'_>) -> Result<(Method, u64), Code> {
    Ok(match &wanted.way {
        Way::Pull { timeout_minutes } => (Method::Pull { more: false }, u64::from(*timeout_minutes) * 60_000),
        Way::Streaming => (Method::Streaming { stream: None, next: None, told: 0 }, state.settings.streaming_idle_ms()),
        Way::Push { status_minutes, url } => {
            let url = push_url::judge(url, &state.settings.push_allow).ok_or(Code::ErrorInvalidPushSubscriptionUrl)?;
            let frequency_ms = u64::from(*status_minutes) * 60_000;
            (Method::Push(Box::new(Push::new(url, caller.version, frequency_ms, turn.at.now))), 0)
        }
    })
}

/// The one account that a subscription is about.
fn account<'r>(wanted: &'r Wanted, request: &'r Request, caller: &'r Caller<'r>) -> Result<&'r Account, Code> {
    if wanted.all_folders && !wanted.folders.is_empty() {
        return Err(Code::ErrorInvalidSubscriptionRequest);
    }
    let mut one: Option<&Account> = None;
    for (_, account) in folder_ids::resolve(&wanted.folders, caller.acting_as, &request.accounts) {
        let account = account?;
        if one.replace(account).is_some_and(|before| before.id != account.id) {
            return Err(Code::ErrorInvalidSubscriptionRequest);
        }
    }
    Ok(one.unwrap_or(caller.acting_as))
}

/// How many folders each of the subscriptions to a mailbox may name on average, where there are as many as there may be.
const FOLDERS_EACH: u64 = 20;

/// The folders that are meant.
fn folders<'w>(state: &State, mailbox: Option<MailboxNo>, wanted: &'w Wanted) -> Result<Vec<Found<'w>>, Code> {
    let known = mailbox.map(|mailbox| state.mailboxes.get(mailbox));
    match known.map(|mailbox| mailbox.condition) {
        Some(Condition::Closed) => return Err(Code::ErrorNonExistentMailbox),
        Some(Condition::Unavailable) => return Err(Code::ErrorMailboxStoreUnavailable),
        Some(Condition::Open) | None => {}
    }
    if mailbox.is_some_and(|mailbox| {
        let most = u64::from(state.settings.subscriptions_per_account);
        let named = state.subscriptions.folders_of_mailbox(mailbox) + wanted.folders.len() as u64;
        state.subscriptions.count_of_mailbox(mailbox) >= most || named > most.saturating_mul(FOLDERS_EACH)
    }) {
        return Err(Code::ErrorExceededSubscriptionCount);
    }
    wanted.folders.iter().map(|folder| folder.find(known)).collect()
}

/// The numbers of folders, ascending; none: all.
fn numbers(state: &mut State, mailbox: MailboxNo, folders: &[Found<'_>]) -> Result<Option<Vec<FolderNo>>, Code> {
    let State { mailboxes, settings, refused, .. } = state;
    let mut number = |folder: &Found<'_>| match folder {
        Found::Known(number) => Ok(*number),
        Found::Promised(name) => match mailboxes.get(mailbox).find_role(name) {
            Some(number) => Ok(number),
            None if mailboxes.folders() >= settings.folders => {
                refused.folders += 1;
                Err(Code::ErrorExceededSubscriptionCount)
            }
            None => {
                let promised = mailboxes.alter(mailbox, |mailbox| mailbox.promise(name));
                promised.ok_or(Code::ErrorFolderNotFound)
            }
        },
    };
    let mut numbers = folders.iter().map(&mut number).collect::<Result<Vec<_>, _>>()?;
    numbers.sort_unstable();
    numbers.dedup();
    Ok(if numbers.is_empty() { None } else { Some(numbers) })
}

/// The position that the subscription is to go on from, if the client gave a watermark.
fn start(state: &State, mailbox: Option<MailboxNo>, wanted: &Wanted) -> Result<Option<Position>, Code> {
    let Some(watermark) = &wanted.watermark else {
        return Ok(None);
    };
    let position = mailbox.and_then(|mailbox| {
        let position = state.keys.position(mailbox, watermark)?;
        state.mailboxes.get(mailbox).history.reaches(position).then_some(position)
    });
    position.map(Some).ok_or(Code::ErrorInvalidWatermark)
}

fn read(document: &Document<'_>, operation: Node) -> Result<Wanted, Violation> {
    let mut fields = Fields::of(document, operation)?;
    let pull = fields.optional("PullSubscriptionRequest");
    let push = fields.optional("PushSubscriptionRequest");
    let request = match pull.or(push) {
        Some(request) => request,
        None => fields.required("StreamingSubscriptionRequest")?,
    };
    fields.end()?;
    let all_folders = match document.attribute(request, "SubscribeToAllFolders").map(str::trim) {
        Some("true" | "1") => true,
        None | Some("false" | "0") => false,
        Some(_) => return Err(document.violation(request, &["'SubscribeToAllFolders' is neither true nor false."])),
    };
    let mut fields = Fields::of(document, request)?;
    let folders = fields.optional("FolderIds");
    let folders = folders.map(|folders| folder_ids::read(document, folders)).transpose()?.unwrap_or_default();
    let kinds = kinds(document, fields.required("EventTypes")?)?;
    let mut watermark = None;
    if pull.is_some() || push.is_some() {
        let node = fields.optional("Watermark");
        watermark = node.map(|node| document.required_text(node, MAX_WATERMARK).map(str::to_owned)).transpose()?;
    }
    let way = if pull.is_some() {
        Way::Pull { timeout_minutes: document.number(fields.required("Timeout")?, 1, MAX_MINUTES)? }
    } else if push.is_some() {
        read_push(document, &mut fields)?
    } else {
        Way::Streaming
    };
    fields.end()?;
    Ok(Wanted { way, folders, all_folders, kinds, watermark })
}

fn read_push(document: &Document<'_>, fields: &mut Fields<'_, '_>) -> Result<Way, Violation> {
    // The schema requires it, the documentation calls it optional.
    let status_minutes = match fields.optional("StatusFrequency") {
        Some(frequency) => document.number(frequency, 1, MAX_MINUTES)?,
        None => STATUS_MINUTES,
    };
    // What is wrong with a URL, emptiness and length included, has a response code of its own.
    let url = document.plain_text(fields.required("URL")?, MAX_TEXT)?.to_owned();
    if let Some(data) = fields.optional("CallerData") {
        document.plain_text(data, MAX_CALLER_DATA)?;
    }
    Ok(Way::Push { status_minutes, url })
}

fn kinds(document: &Document<'_>, event_types: Node) -> Result<u8, Violation> {
    let mut kinds = 0;
    let mut fields = Fields::of(document, event_types)?;
    loop {
        let node = if kinds == 0 { Some(fields.required("EventType")?) } else { fields.optional("EventType") };
        let Some(node) = node else {
            break;
        };
        let kind = events::kind(document.text(node));
        let kind =
            kind.ok_or_else(|| document.violation(node, &["'", document.text(node), "' is not an event type."]))?;
        kinds |= kind.bit();
    }
    fields.end()?;
    Ok(kinds)
}
