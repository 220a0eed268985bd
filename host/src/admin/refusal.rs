//! What the admin API answers where it does not do what was asked.

use axum::Json;
use axum::http::header::{CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{ARCHIVES, BODY_BYTES, BODY_TIME, COMPONENT_BYTES, Right};
use crate::cluster::RegistryError;
use crate::ingest::TooMany;
use crate::ingest::json::JsonError;
use crate::journal::JournalError;
use crate::program::tenants::ChangeError;
use crate::tenant::IngestError;

/// A refusal: status, `{"error":{"code","message"}}`, and what the one or the other status needs.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Of a gap: the offset to go on from.
    expected: Option<u64>,
    /// Seconds after which it may be tried again.
    retry_after: Option<u32>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { status, code, message: message.into(), expected: None, retry_after: None }
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The request does not have the form that it must have; the text says where.
    pub fn malformed(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, "malformed", message)
    }

    pub fn key(right: Right) -> Refusal {
        let which = match right {
            Right::Ingest => "a key of this tenant",
            Right::Administer => "an admin-key of this tenant or of the server",
        };
        Refusal::unauthorized(which)
    }

    pub fn server_key() -> Refusal {
        Refusal::unauthorized("the server's admin-key")
    }

    fn unauthorized(which: &str) -> Refusal {
        let message = format!("{which} is needed: `Authorization: Bearer KEY`");
        Refusal::new(StatusCode::UNAUTHORIZED, "key", message)
    }

    pub fn change(error: ChangeError) -> Refusal {
        let (status, code) = match &error {
            ChangeError::Wrong(_) => (StatusCode::BAD_REQUEST, "malformed"),
            ChangeError::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
            ChangeError::Unknown(_) => (StatusCode::NOT_FOUND, "tenant"),
            ChangeError::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        };
        Refusal::new(status, code, error.to_string())
    }

    /// The server still starts.
    pub fn starting() -> Refusal {
        Refusal::unavailable("starting", "the server is starting".to_owned(), 1)
    }

    pub fn tenant(name: &str) -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, "tenant", format!("there is no tenant `{name}`"))
    }

    pub fn plugin(tenant: &str, plugin: &str) -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, "plugin", format!("the tenant {tenant} has no plugin `{plugin}`"))
    }

    pub fn no_cluster() -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, "cluster", "this server is in no cluster")
    }

    pub fn node(name: &str) -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, "node", format!("there is no node `{name}`"))
    }

    pub fn registry(error: &RegistryError) -> Refusal {
        Refusal::unavailable("cluster", error.to_string(), 5)
    }

    pub fn path() -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, "path", "there is nothing at this path")
    }

    pub fn method() -> Refusal {
        Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this path does not take this method")
    }

    pub fn too_slow() -> Refusal {
        let message = format!("the body took longer than {} seconds", BODY_TIME.as_secs());
        Refusal::new(StatusCode::REQUEST_TIMEOUT, "too-slow", message)
    }

    pub fn too_large() -> Refusal {
        let message = format!("a body has at most {BODY_BYTES} bytes: send several smaller batches");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", message)
    }

    pub fn component_too_large() -> Refusal {
        let message = format!("a component has at most {COMPONENT_BYTES} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", message)
    }

    pub fn form_too_large() -> Refusal {
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "that is no key")
    }

    pub fn archives() -> Refusal {
        Refusal::unavailable("busy", format!("{ARCHIVES} archives are being made already"), 10)
    }

    fn unavailable(code: &'static str, message: String, seconds: u32) -> Refusal {
        let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, code, message);
        Refusal { retry_after: Some(seconds), ..refusal }
    }

    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self.status {
            StatusCode::UNAUTHORIZED => Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"postbell\""))),
            // The rest of the body may still be on its way.
            StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE => {
                Some((CONNECTION, HeaderValue::from_static("close")))
            }
            _ => self.retry_after.map(|seconds| (RETRY_AFTER, seconds.into())),
        }
    }
}

impl From<JsonError> for Refusal {
    fn from(error: JsonError) -> Refusal {
        match error {
            JsonError::TooMany(error) => error.into(),
            other => Refusal::malformed(other.to_string()),
        }
    }
}

impl From<TooMany> for Refusal {
    fn from(error: TooMany) -> Refusal {
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", format!("{error}: send several smaller batches"))
    }
}

impl From<JournalError> for Refusal {
    fn from(error: JournalError) -> Refusal {
        Refusal::unavailable("journal", error.to_string(), 5)
    }
}

impl From<IngestError> for Refusal {
    fn from(error: IngestError) -> Refusal {
        let message = error.to_string();
        match error {
            IngestError::Gap { expected } => {
                Refusal { expected: Some(expected), ..Refusal::new(StatusCode::CONFLICT, "gap", message) }
            }
            // The same batch would very probably fail again, so no `Retry-After` invites to repeat it.
            IngestError::Fault(_) => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", message),
            IngestError::TooLarge => Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", message),
            IngestError::Busy | IngestError::Overlap { .. } => Refusal::unavailable("busy", message, 1),
            IngestError::Journal(_) => Refusal::unavailable("journal", message, 5),
            IngestError::Moved => Refusal::unavailable("moved", message, 1),
            IngestError::Closed => Refusal::unavailable("closed", message, 5),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let header = self.header();
        let mut body = json!({ "error": { "code": self.code, "message": self.message } });
        if let Some(expected) = self.expected {
            body["expected"] = expected.into();
        }
        let mut response = (self.status, Json(body)).into_response();
        response.headers_mut().extend(header);
        response
    }
}
