//! Postbell for C. The header, `include/postbell.h`, is made of this crate by cbindgen; its comments are these.
//!
//! Nothing that crosses the border is trusted: handles are numbers that are looked up, pointers are compared with null,
//! texts are checked to be UTF-8, and a panic becomes a status.

mod answers;
mod border;
mod changes;
mod journal;
mod registry;
mod requests;
mod tenants;

pub use answers::{Callbacks, postbell_hang_up};
pub use border::{Status, postbell_error, postbell_version};
pub use changes::{Change, Event, Ingested, postbell_ingest, postbell_ingest_json, postbell_source_offset};
pub use requests::{Header, Login, Rank, Request, postbell_identify, postbell_request, postbell_string_free};
pub use tenants::{
    HostOptions, Setting, postbell_host_close, postbell_host_open, postbell_plugin_bundled, postbell_plugin_free,
    postbell_plugin_load, postbell_tenant_close, postbell_tenant_open, postbell_tenant_swap,
};
