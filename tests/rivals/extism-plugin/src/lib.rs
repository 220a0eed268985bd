//! The notification logic as a plugin of Extism: one function, bytes in and bytes out.

use std::cell::RefCell;

use extism_pdk::{FnResult, plugin_fn};
use postbell_notify::Notify;

thread_local! {
    static NOTIFY: RefCell<Notify> = RefCell::default();
}

/// One input, its moment before it; gives the reaction.
#[plugin_fn]
pub fn feed(call: Vec<u8>) -> FnResult<Vec<u8>> {
    Ok(NOTIFY.with_borrow_mut(|notify| postbell_contest::respond(notify, &call)))
}
