//! The logic, driven through its one door: [`postbell_notify::Notify`].

mod changes;
mod faults;
mod formats;
mod groupwise;
mod histories;
mod promised;
mod pull;
mod push;
mod samples;
mod stopping;
mod streams;
mod subscribe;
mod world;
mod zimbra;
