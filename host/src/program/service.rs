//! What a service manager hears: systemd's protocol for services of type `notify` (sd_notify(3)). Without one, nobody.

use sd_notify::NotifyState;

/// What becomes of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Clients and sources are served, or the configuration was read again.
    Ready,
    /// The configuration is being read again.
    Reloading,
    /// The server ends.
    Stopping,
}

/// Tells the service manager, if there is one.
pub fn tell(progress: Progress) {
    let told = match progress {
        Progress::Ready => sd_notify::notify(&[NotifyState::Ready]),
        // The system's time is part of the protocol, so that the manager knows which reload this is.
        Progress::Reloading => {
            NotifyState::monotonic_usec_now().and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now]))
        }
        Progress::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
    };
    if let Err(error) = told {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
