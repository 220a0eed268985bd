//! Interface `types`: moments and reactions.

/// Milliseconds since the Unix epoch.
pub type Instant = u64;

/// One client request, numbered by the host; never reused within a tenant.
pub type RequestId = u64;

/// One outbound call, numbered by the plugin; never reused within a tenant.
pub type CallId = u64;

/// When an input happens: `now` in milliseconds since the epoch, `sequence` its place in the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Moment {
    /// Never goes backwards.
    pub now: Instant,
    /// The journal position that this input has or would have.
    pub sequence: u64,
}

/// Everything that is to be done after one input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Reaction {
    /// Parts of answers, in the order in which they are to be sent.
    pub replies: Vec<Reply>,
    /// Outbound calls to make.
    pub calls: Vec<Call>,
    /// When `tick` is next due; a function of the state.
    pub wake_at: Option<Instant>,
    /// The changes of this input that were not applied.
    pub rejections: Vec<Rejection>,
    /// For the operator's log.
    pub logs: Vec<LogLine>,
    /// Whether this input altered the state.
    pub changed: bool,
}

/// One part of the answer to one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Reply {
    /// The request that is answered.
    pub to: RequestId,
    /// HTTP status; read from the first part only.
    pub status: u16,
    /// HTTP headers; from the first part only.
    pub headers: Vec<(String, String)>,
    /// The bytes of this part.
    pub body: Vec<u8>,
    /// Whether further parts may follow.
    pub more: bool,
    /// Whether `settled` is to report what became of this part.
    pub confirm: bool,
}

/// An outbound call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Call {
    /// The plugin's number of this call.
    pub id: CallId,
    /// Where to.
    pub target: CallTarget,
    /// What is sent.
    pub body: Vec<u8>,
}

/// Where an outbound call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum CallTarget {
    /// An HTTP POST.
    HttpPost(HttpTarget),
    /// Bytes over a fresh TCP connection.
    Tcp(TcpTarget),
}

/// The target of an HTTP POST.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct HttpTarget {
    /// Absolute URL.
    pub url: String,
    /// Headers to send.
    pub headers: Vec<(String, String)>,
}

/// The target of a TCP call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TcpTarget {
    /// Host name or address.
    pub address: String,
    /// Port.
    pub port: u16,
}

/// A change that was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Rejection {
    /// Which change.
    pub place: Place,
    /// Why, in words for the sender.
    pub reason: String,
}

/// The place of a change in its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Place {
    /// Index of the account's group, index of the change in it.
    Change((u32, u32)),
    /// Index among the book's changes.
    Book(u32),
}

/// A line for the operator's log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LogLine {
    /// How grave.
    pub level: LogLevel,
    /// The text.
    pub message: String,
}

/// How grave a log line is.
#[allow(missing_docs, reason = "the names say it")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}
