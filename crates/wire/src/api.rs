//! Requests and answers of the HTTP API under `/v1`. The OpenAPI document is made from these.
//!
//! Times are RFC 3339 in UTC, spans are integers of milliseconds, shares are thousandths.

mod agents;
mod fleet;
mod gates;
mod incidents;
mod releases;
mod traffic;
mod verdicts;

pub use agents::*;
pub use fleet::*;
pub use gates::*;
pub use incidents::*;
pub use releases::*;
pub use traffic::*;
pub use verdicts::*;

use model::{Digest, Finding, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A refusal or error, as `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `https://plimsoll.dev/errors/CODE`-like reference: `docs/errors/CODE.md`.
    #[serde(rename = "type")]
    pub type_: String,
    /// The code, stable for programs.
    pub code: String,
    /// HTTP status.
    pub status: u16,
    /// What happened.
    pub detail: String,
    /// What to do next.
    pub next: String,
    /// Each thing that was found, when a check says no.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub findings: Vec<Finding>,
}

/// A plain yes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Done {
    /// In words.
    pub detail: String,
}

/// `POST /v1/blobs/missing`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MissingRequest {
    /// Which blobs the client has.
    #[schema(value_type = Vec<String>)]
    pub digests: Vec<Digest>,
}

/// Which of them the control plane lacks.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MissingAnswer {
    /// To be uploaded with `PUT /v1/blobs/DIGEST`.
    #[schema(value_type = Vec<String>)]
    pub missing: Vec<Digest>,
}

/// `GET /v1/journal`: one record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JournalRecord {
    /// Its position.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// The chain's hash up to and with it.
    #[schema(value_type = String)]
    pub hash: Digest,
    /// What happened; `type` says which kind.
    #[schema(value_type = Object)]
    pub event: model::Event,
}

/// `GET /v1/journal`: one record as it was appended, whatever its version. Its hash is over these
/// very fields, in canonical encoding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StoredRecord {
    /// Its position.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// The chain's hash up to and with it.
    #[schema(value_type = String)]
    pub hash: Digest,
    /// What happened; `type` says which kind.
    #[schema(value_type = Object)]
    pub event: serde_json::Value,
}
