//! Inputs as they are stored.
//!
//! A type of `notify.wit` is stored so: a record as a map from its fields' names, in which `_` stands for `-`; a variant
//! as its case's name in `UpperCamelCase`, or as a map from that to what the case holds; an enum as the name alone; an
//! absent option as null; a tuple or a list as an array, but a list of bytes as a byte string.
//!
//! Here stand the types that hold lists of bytes, and the host's own. All others are stored as the contract derives it.

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::contract::changes::Batch;
use crate::contract::lifecycle::Restart;
use crate::contract::outbound::{Outcome, Response};
use crate::contract::requests::{Access, Request, RequestHead, Resolution, Settlement};
use crate::journal::{Input, Skipped, SourceSpan, Swapped};

/// An [`Input`]: the name of its function alone, or a map from that to the parameters. Absent settings, span and skipped
/// change: none.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Input", rename_all = "lowercase")]
pub(super) enum StoredInput {
    Open {
        #[serde(with = "byte_string")]
        seed: Vec<u8>,
        #[serde(default)]
        settings: Vec<(String, String)>,
    },
    Configure {
        #[serde(default)]
        settings: Vec<(String, String)>,
    },
    Tick,
    Restarted(Restart),
    Drain,
    Ingest {
        batch: Batch,
        #[serde(default, with = "span", skip_serializing_if = "Option::is_none")]
        span: Option<SourceSpan>,
        #[serde(default, with = "skipped", skip_serializing_if = "Option::is_none")]
        skipped: Option<Box<Skipped>>,
    },
    Answer(#[serde(with = "request")] Box<Request>),
    Settled(Vec<Settlement>),
    Finished {
        call: u64,
        #[serde(with = "StoredOutcome")]
        outcome: Outcome,
    },
    Swapped(Box<Swapped>),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Request")]
struct StoredRequest {
    id: u64,
    head: RequestHead,
    #[serde(with = "byte_string")]
    body: Vec<u8>,
    access: Access,
    act_as: Option<Resolution>,
    accounts: Vec<Resolution>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Outcome")]
enum StoredOutcome {
    Answered(#[serde(with = "StoredResponse")] Response),
    Failed(String),
    Refused(String),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Response")]
struct StoredResponse {
    status: u16,
    #[serde(with = "byte_string")]
    body: Vec<u8>,
}

/// Where a batch stands in what its source sends.
#[derive(Serialize, Deserialize)]
#[serde(remote = "SourceSpan")]
struct StoredSpan {
    source: String,
    offset: u64,
    length: u64,
}

/// A change on which the plugin failed.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Skipped")]
struct StoredSkipped {
    batch: Batch,
    #[serde(default)]
    reason: String,
}

mod request {
    use super::*;

    pub(super) fn serialize<S: Serializer>(request: &Request, serializer: S) -> Result<S::Ok, S::Error> {
        StoredRequest::serialize(request, serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<Request>, D::Error> {
        StoredRequest::deserialize(deserializer).map(Box::new)
    }
}

mod span {
    use super::*;

    #[derive(Serialize)]
    struct Written<'a>(#[serde(with = "StoredSpan")] &'a SourceSpan);

    #[derive(Deserialize)]
    struct Read(#[serde(with = "StoredSpan")] SourceSpan);

    pub(super) fn serialize<S: Serializer>(span: &Option<SourceSpan>, serializer: S) -> Result<S::Ok, S::Error> {
        span.as_ref().map(Written).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SourceSpan>, D::Error> {
        Ok(Option::<Read>::deserialize(deserializer)?.map(|Read(span)| span))
    }
}

mod skipped {
    use super::*;

    #[derive(Serialize)]
    struct Written<'a>(#[serde(with = "StoredSkipped")] &'a Skipped);

    #[derive(Deserialize)]
    struct Read(#[serde(with = "StoredSkipped")] Skipped);

    pub(super) fn serialize<S: Serializer>(skipped: &Option<Box<Skipped>>, serializer: S) -> Result<S::Ok, S::Error> {
        skipped.as_deref().map(Written).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<Skipped>>, D::Error> {
        Ok(Option::<Read>::deserialize(deserializer)?.map(|Read(skipped)| Box::new(skipped)))
    }
}

/// Bytes as a byte string.
pub(crate) mod byte_string {
    use super::*;

    struct Bytes;

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        deserializer.deserialize_byte_buf(Bytes)
    }

    impl<'de> Visitor<'de> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
            formatter.write_str("a byte string")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }
    }
}
