//! What the admin API answers where it does not do what was asked.

use axum::Json;
use axum::http::header::{CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{BODY_BYTES, BODY_TIME};
use crate::ingest::TooMany;
use crate::ingest::json::JsonError;
use crate::tenant::IngestError;

/// A refusal: status, `{"error":{"code","message"}}`, and what the one or the other status needs.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    header: Option<(HeaderName, HeaderValue)>,
    expected: Option<u64>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { status, code, message: message.into(), header: None, expected: None }
    }

    fn with(self, name: HeaderName, value: impl Into<HeaderValue>) -> Refusal {
        Refusal { header: Some((name, value.into())), ..self }
    }

    /// The request does not have the form that it must have; the text says where.
    pub fn malformed(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, "malformed", message)
    }

    pub fn key() -> Refusal {
        Refusal::new(StatusCode::UNAUTHORIZED, "key", "a key of this tenant is needed: `Authorization: Bearer KEY`")
            .with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"postbell\""))
    }

    pub fn tenant(name: &str) -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, "tenant", format!("there is no tenant `{name}`"))
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
            .with(CONNECTION, HeaderValue::from_static("close"))
    }

    pub fn too_large() -> Refusal {
        let message = format!("a body has at most {BODY_BYTES} bytes: send several smaller batches");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", message)
            .with(CONNECTION, HeaderValue::from_static("close"))
    }

    fn unavailable(code: &'static str, message: String, seconds: u64) -> Refusal {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, code, message).with(RETRY_AFTER, seconds)
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
            IngestError::Closed => Refusal::unavailable("closed", message, 5),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": { "code": self.code, "message": self.message } });
        if let Some(expected) = self.expected {
            body["expected"] = expected.into();
        }
        let mut response = (self.status, Json(body)).into_response();
        response.headers_mut().extend(self.header);
        response
    }
}
