//! The clients' side: connections, logins, and the way of a request to its tenant and back.

pub mod answer;
pub mod authenticator;
pub mod basic;
pub mod connection;
pub mod counters;
pub mod delivery;
pub mod directory;
pub mod dovecot;
pub mod exchange;
pub mod forward;
pub mod front;
pub mod gate;
pub mod hand_over;
pub mod logins;
pub mod passwords;
pub mod peers;
pub mod places;
pub mod preauth;
pub mod proxies;
pub mod receive;
pub mod room;
pub mod sending;
pub mod socket;
pub mod throttle;
pub mod tls;
pub mod tokens;
