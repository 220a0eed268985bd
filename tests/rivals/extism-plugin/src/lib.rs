//! The notification logic as a plugin of Extism: bytes in and bytes out.

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

/// The state.
#[plugin_fn]
pub fn save() -> FnResult<Vec<u8>> {
    Ok(NOTIFY.with_borrow_mut(|notify| postcard::to_allocvec(&postbell_contest::save(notify)))?)
}

/// Takes over a state that another saved.
#[plugin_fn]
pub fn load(state: Vec<u8>) -> FnResult<()> {
    NOTIFY.set(postbell_contest::load(&postcard::from_bytes::<Vec<Vec<u8>>>(&state)?));
    Ok(())
}
