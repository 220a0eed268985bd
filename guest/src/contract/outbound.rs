//! Interface `outbound`: how calls end.

/// The answer to an outbound call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Response {
    /// HTTP status; 0 for a TCP call.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

/// What became of an outbound call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Outcome {
    /// The peer answered.
    Answered(Response),
    /// The peer did not answer; a later attempt may succeed.
    Failed(String),
    /// The host will not make this call.
    Refused(String),
}
