//! WaitSetRequest and AdminWaitSetRequest: what happened in a set, now or once something has.
//!
//! The numbers of Zimbra's server, which its clients rely on: a set begins at 1, every answer with news counts up and
//! repeats whatever was sent and not acknowledged; the client acknowledges by bringing the current number. Any other
//! number, older or newer, acknowledges nothing.

use super::accounts::{self, Entry, List};
use super::call::{Call, Done, truth};
use super::commits::Place;
use super::create_wait_set;
use super::fault::Fault;
use super::mods::{self, Mods};
use super::sets::{Asked, ErrorType, Errors, Form, Id, Progress, SetNo, Waiter};
use super::types::Types;
use super::waiters;
use super::wire::{Element, Node, Value};
use crate::contract::LogLevel;
use crate::mailboxes::{Condition, MailboxNo};
use crate::state::State;

/// How long a sequence number may be, in bytes.
const MAX_SEQ: usize = 256;

/// Above this many bytes an answer names no further account; the next one does.
const MAX_ANSWER: usize = 96 << 10;

/// How many bytes of errors a request that waits may take along; with more it is answered at once.
const MAX_WAITING_ERRORS: usize = 48 << 10;

/// How many bytes of errors that came later an answer tells; further ones come with the next.
const MAX_RUN_ERRORS: usize = 32 << 10;

/// How many bytes of errors an answer tells at all; what is beyond goes to the log.
pub const MAX_ERRORS: usize = 512 << 10;

/// Answers the operation, or lets it wait.
pub fn answer(call: &mut Call<'_>, operation: &Element<'_>, admin: bool) -> Result<Done, Fault> {
    let text = operation.value("waitSet").ok_or_else(|| Fault::missing("waitSet"))?;
    let wanted = read(call, operation, text, admin)?;
    let known = Id::read(text).and_then(|id| call.state.waitsets.find(&id));
    match known {
        Some(number) => must_own(call, number)?,
        None if Id::is_everyones(text) => {}
        None => return Err(Fault::no_such_wait_set(text)),
    }
    let changes = Changes::read(call, operation, known)?;
    let number = match known {
        Some(number) => number,
        None => make_again(call, operation, text, &wanted)?,
    };
    if !Id::is_everyones(text) {
        create_wait_set::make_room_for_members(call, changes.added.entries.len())?;
    }

    waiters::touch(call.state, call.turn, number);
    waiters::cancel(call.state, call.turn, number);
    let mut asked = Asked { seq: wanted.seq, expand: wanted.expand, errors: Errors::new() };
    changes.apply(call, number, &mut asked.errors);
    cut_errors(call, &mut asked.errors);
    acknowledge(call, number, &asked);
    let form = call.form(operation, admin);
    let may_wait = wanted.block && call.alone && weight(&asked.errors) <= MAX_WAITING_ERRORS;
    if may_wait && !is_due(call.state, number, &asked) {
        call.turn.changed = true;
        let until = call.turn.at.now.saturating_add(wanted.timeout_ms);
        let waiter = Waiter { request: call.request.id, until, over: false, asked, form };
        call.state.waitsets.alter(number, |set| set.waiter = Some(Box::new(waiter)));
        return Ok(Done::Parked);
    }
    call.turn.changed |= is_due(call.state, number, &asked);
    Ok(Done::Node(tell(call.state, number, &asked, &form)))
}

/// What stands in the attributes.
struct Wanted {
    seq: String,
    block: bool,
    timeout_ms: u64,
    expand: bool,
}

fn read(call: &Call<'_>, operation: &Element<'_>, id: &str, admin: bool) -> Result<Wanted, Fault> {
    if Id::is_everyones(id) {
        call.caller.must_be_system_administrator()?;
    }
    let seq = operation.value("seq").ok_or_else(|| Fault::missing("seq"))?;
    let is_number = seq.parse::<i64>().is_ok();
    if seq.len() > MAX_SEQ || !(is_number || Id::is_everyones(id)) {
        return Err(Fault::invalid(&["'seq' is not a sequence number"]));
    }
    let timeouts = call.state.settings.wait_timeouts(admin || call.caller.is_system_administrator());
    let seconds = operation.value("timeout").and_then(|text| text.trim().parse::<i64>().ok());
    Ok(Wanted {
        seq: seq.to_owned(),
        block: truth(operation, "block")?,
        timeout_ms: timeouts.clamp_ms(seconds),
        expand: truth(operation, "expand")?,
    })
}

/// A set for all accounts that ended is made again, with its id and from where the client is. All others are not.
fn make_again(call: &mut Call<'_>, operation: &Element<'_>, text: &str, wanted: &Wanted) -> Result<SetNo, Fault> {
    let id = Id::read(text).filter(|id| id.everyone).ok_or_else(|| Fault::no_such_wait_set(text))?;
    let types = accounts::only(operation, "defTypes")?.map(accounts::interests).transpose()?.unwrap_or(Types::NONE);
    let place = Place::read(&wanted.seq).ok_or_else(|| Fault::no_commit_id(&wanted.seq))?;
    let commits = &call.state.waitsets.commits;
    let floor = commits.floor.ok_or_else(|| Fault::old_commit_id(&wanted.seq))?;
    if place < floor || place.at < floor.at {
        return Err(Fault::old_commit_id(&wanted.seq));
    }
    if place > commits.last {
        return Err(Fault::future_commit_id(&wanted.seq));
    }
    create_wait_set::make_room(call, 0)?;
    call.turn.changed = true;
    create_wait_set::create(call, id, types, Some(place));
    call.state.waitsets.find(&id).ok_or_else(|| Fault::no_such_wait_set(text))
}

/// Refuses who asks for another account than the one that the set belongs to.
pub fn must_own(call: &Call<'_>, number: SetNo) -> Result<(), Fault> {
    let owner = call.state.waitsets.get(number).map(|set| &set.owner);
    if owner == Some(&call.caller.account.id) { Ok(()) } else { Err(Fault::denied(&["Not owner(creator) of waitset"])) }
}

/// How the members of a set are to change.
struct Changes<'r> {
    removed: Vec<String>,
    added: List<'r>,
    updated: List<'r>,
}

impl<'r> Changes<'r> {
    /// Of a set, which may have to be made first.
    fn read(call: &Call<'r>, operation: &Element<'_>, number: Option<SetNo>) -> Result<Self, Fault> {
        let (named, rank, now) = (call.named, call.caller.rank, call.turn.at.now);
        let State { mailboxes, waitsets, .. } = &*call.state;
        let types = number.and_then(|number| waitsets.get(number)).map_or(Types::NONE, |set| set.types);
        let member = |id: &str| waitsets.member(number?, mailboxes.find_id(id)?);
        let is_member = |id: &str| member(id).is_some();
        Ok(Self {
            removed: accounts::read_removed(operation, named, rank, is_member)?,
            added: accounts::read(operation, "add", named, rank, types, now)?,
            updated: accounts::read(operation, "update", named, rank, types, now)?,
        })
    }

    fn apply(self, call: &mut Call<'_>, number: SetNo, errors: &mut Errors) {
        if call.state.waitsets.get(number).is_none_or(|set| set.id.everyone) {
            return;
        }
        for id in self.removed {
            let mailbox = call.state.mailboxes.find_id(&id);
            match mailbox.and_then(|mailbox| call.state.waitsets.remove_member(number, mailbox)) {
                Some(_) => call.turn.changed = true,
                None => drop(errors.insert((id, ErrorType::NotInSetDuringRemove))),
            }
        }
        errors.extend(self.added.errors);
        self.added.entries.into_iter().for_each(|entry| add(call, number, entry, errors));
        errors.extend(self.updated.errors);
        self.updated.entries.into_iter().for_each(|entry| update(call, number, entry, errors));
    }
}

/// Adds a member, or says why not. A token that is behind signals it at once, whatever it is interested in.
pub fn add(call: &mut Call<'_>, number: SetNo, entry: Entry<'_>, errors: &mut Errors) {
    let Entry { account, mut member } = entry;
    let known = call.state.mailboxes.find_account(account);
    let wrong = known.and_then(|known| match call.state.mailboxes.get(known).condition {
        Condition::Closed => Some(ErrorType::NoSuchAccount),
        Condition::Unavailable => Some(ErrorType::MaintenanceMode),
        Condition::Open => call.state.waitsets.member(number, known).map(|_| ErrorType::AlreadyInSetDuringAdd),
    });
    if let Some(wrong) = wrong {
        errors.insert((account.id.clone(), wrong));
        return;
    }
    let Some(mailbox) = call.state.mailbox_named(account, call.turn) else {
        // The nearest that the protocol has: the account may be added later.
        errors.insert((account.id.clone(), ErrorType::MaintenanceMode));
        return;
    };
    let last_change = call.state.mailboxes.get(mailbox).number;
    member.fresh = member.token.is_some_and(|token| token < last_change).then_some(None);
    call.state.waitsets.insert_member(number, mailbox, member);
}

fn update(call: &mut Call<'_>, number: SetNo, entry: Entry<'_>, errors: &mut Errors) {
    let mailbox = call.state.mailboxes.find_account(entry.account);
    let mailbox = mailbox.filter(|mailbox| call.state.waitsets.member(number, *mailbox).is_some());
    let Some(mailbox) = mailbox else {
        errors.insert((entry.account.id.clone(), ErrorType::NotInSetDuringUpdate));
        return;
    };
    call.turn.changed = true;
    let last_change = call.state.mailboxes.get(mailbox).number;
    call.state.waitsets.update(number, mailbox, entry.member, last_change);
}

/// Leaves out errors that no answer has room for.
pub fn cut_errors(call: &mut Call<'_>, errors: &mut Errors) {
    let mut bytes = weight(errors);
    if bytes <= MAX_ERRORS {
        return;
    }
    let before = errors.len();
    while bytes > MAX_ERRORS
        && let Some(error) = errors.pop_last()
    {
        bytes -= error_weight(&error);
    }
    let left_out = (before - errors.len()).to_string();
    call.turn
        .log(LogLevel::Warn, [&left_out, " errors of accounts left out of an answer to a WaitSet's owner"].concat());
}

/// Whether a client's sequence number is the current one.
fn is_current(state: &State, number: SetNo, seq: &str) -> bool {
    match state.waitsets.get(number).map(|set| &set.progress) {
        Some(Progress::Chosen { current, .. }) => seq.parse::<i64>().is_ok_and(|seq| seq as u64 == *current && seq > 0),
        Some(Progress::Everyone { sent, .. }) => sent.is_some_and(|sent| sent.text() == seq),
        None => false,
    }
}

/// What was sent is acknowledged, if the client brings the number that it was sent with.
fn acknowledge(call: &mut Call<'_>, number: SetNo, asked: &Asked) {
    if !is_current(call.state, number, &asked.seq) {
        return;
    }
    let everyone = call.state.waitsets.get(number).and_then(|set| match &set.progress {
        Progress::Everyone { acknowledged, sent: Some(sent) } => Some(acknowledged < sent),
        _ => None,
    });
    call.turn.changed |= match everyone {
        Some(moves) => {
            call.state.waitsets.alter(number, |set| {
                if let Progress::Everyone { acknowledged, sent: Some(sent) } = &mut set.progress {
                    *acknowledged = (*acknowledged).max(*sent);
                }
            });
            moves
        }
        None => call.state.waitsets.acknowledge_sent(number),
    };
}

/// Whether there is something to tell: news, or what was sent to a client that does not have it.
fn is_due(state: &State, number: SetNo, asked: &Asked) -> bool {
    let again = state.waitsets.has_sent(number) && !is_current(state, number, &asked.seq);
    state.waitsets.has_news(number) || again
}

/// Tells what there is to tell, and takes it for sent; without news, the client's own number comes back.
pub fn tell(state: &mut State, number: SetNo, asked: &Asked, form: &Form) -> Node {
    let node = begin(state, number, form);
    if !is_due(state, number, asked) {
        return end(node.with("seq", asked.seq.clone()), Vec::new(), &asked.errors, form);
    }
    let everyone = state.waitsets.get(number).is_some_and(|set| set.id.everyone);
    if everyone {
        tell_everyone(state, number, asked, form, node)
    } else {
        tell_chosen(state, number, asked, form, node)
    }
}

/// The answer to a request that another one displaced, or whose set is gone.
pub fn canceled(state: &State, number: SetNo, waiter: &Waiter) -> Node {
    end(
        begin(state, number, &waiter.form).with("canceled", Value::True),
        Vec::new(),
        &waiter.asked.errors,
        &waiter.form,
    )
}

fn begin(state: &State, number: SetNo, form: &Form) -> Node {
    let (name, namespace) =
        if form.admin { ("AdminWaitSetResponse", "urn:zimbraAdmin") } else { ("WaitSetResponse", "urn:zimbraMail") };
    let id = state.waitsets.get(number).map(|set| set.id.text()).unwrap_or_default();
    Node::of(name, namespace).with("waitSet", id)
}

fn end(node: Node, accounts: Vec<Node>, errors: &Errors, form: &Form) -> Node {
    let node = node.with_some("requestId", form.request_id.clone());
    node.many(accounts).many(error_nodes(errors))
}

fn tell_chosen(state: &mut State, number: SetNo, asked: &Asked, form: &Form, node: Node) -> Node {
    let mut numbers = Vec::new();
    let mut bytes = 0;
    for mailbox in state.waitsets.to_send(number) {
        let id = state.mailboxes.get(mailbox).id();
        let member = state.waitsets.member(number, mailbox);
        let told = member.into_iter().flat_map(|member| [&member.fresh, &member.sent]).flatten().flatten();
        let details: usize = if asked.expand { told.map(|mods| mods.bytes()).sum() } else { 0 };
        bytes += 64 + mods::weight(id) + details;
        if bytes > MAX_ANSWER && !numbers.is_empty() {
            break;
        }
        numbers.push(mailbox);
    }
    let mut accounts = Vec::with_capacity(numbers.len());
    for mailbox in numbers {
        state.waitsets.send(number, mailbox);
        let member = state.waitsets.member(number, mailbox);
        let told = member.and_then(|member| member.sent.as_ref()).and_then(|signal| signal.as_deref());
        accounts.push(account(state, mailbox, told.filter(|_| asked.expand)));
    }
    let sent = state.waitsets.alter(number, |set| match &mut set.progress {
        Progress::Chosen { current, errors, sent_errors } => {
            *current += 1;
            send_errors(errors, sent_errors);
            Some((*current, sent_errors.clone()))
        }
        Progress::Everyone { .. } => None,
    });
    let (current, mut errors) = sent.flatten().unwrap_or_default();
    errors.extend(asked.errors.iter().cloned());
    end(node.with("seq", current.to_string()), accounts, &errors, form)
}

/// Errors become sent, as many as an answer has room for.
fn send_errors(errors: &mut Errors, sent: &mut Errors) {
    let mut bytes = weight(sent);
    while let Some(error) = errors.pop_first() {
        bytes += error_weight(&error);
        if bytes > MAX_RUN_ERRORS && !sent.is_empty() {
            errors.insert(error);
            return;
        }
        sent.insert(error);
    }
}

fn error_weight((id, _): &(String, ErrorType)) -> usize {
    64 + mods::weight(id)
}

fn weight(errors: &Errors) -> usize {
    errors.iter().map(error_weight).sum()
}

fn tell_everyone(state: &mut State, number: SetNo, asked: &Asked, form: &Form, node: Node) -> Node {
    let Some((types, from)) = state.waitsets.get(number).and_then(|set| match &set.progress {
        Progress::Everyone { acknowledged, .. } => Some((set.types, *acknowledged)),
        Progress::Chosen { .. } => None,
    }) else {
        return end(node, Vec::new(), &asked.errors, form);
    };
    let (mut accounts, mut seen) = (Vec::new(), std::collections::BTreeSet::new());
    let (mut bytes, mut last) = (0, from);
    for (place, mailbox) in state.waitsets.commits.changed_after(types, from) {
        if seen.insert(mailbox) {
            bytes += 64 + mods::weight(state.mailboxes.get(mailbox).id());
            if bytes > MAX_ANSWER {
                break;
            }
            accounts.push(account(state, mailbox, None));
        }
        last = place;
    }
    state.waitsets.alter(number, |set| {
        if let Progress::Everyone { sent, .. } = &mut set.progress {
            *sent = Some(last);
        }
    });
    end(node.with("seq", last.text()), accounts, &asked.errors, form)
}

fn account(state: &State, mailbox: MailboxNo, told: Option<&Mods>) -> Node {
    let mailbox = state.mailboxes.get(mailbox);
    let node = Node::new("a").with("id", mailbox.id()).with("changeid", mailbox.number);
    node.many(told.into_iter().flat_map(Mods::nodes))
}

/// Errors by account.
pub fn error_nodes(errors: &Errors) -> impl Iterator<Item = Node> {
    errors.iter().map(|(id, why)| Node::new("error").with("id", id.as_str()).with("type", why.name()))
}
