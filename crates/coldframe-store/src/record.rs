//! Records as they lie on the disk. Members may be added with a default, never renamed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A function: `$LATEST` and what belongs to all its versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionRecord {
    /// Zip functions: AWS's identifier.
    pub runtime: Option<String>,
    pub handler: Option<String>,
    pub role: String,
    pub description: String,
    pub memory_mb: u32,
    pub timeout_s: u32,
    pub ephemeral_storage_mb: u32,
    /// Absent if the request had none.
    pub environment: Option<BTreeMap<String, String>>,
    pub architectures: Vec<String>,
    /// `Active` or `PassThrough`.
    pub tracing: String,
    pub logging: Logging,
    /// SHA-256 of the zip, hex.
    pub code_sha256: String,
    /// Size of the zip, bytes.
    pub code_size: u64,
    pub package_type: String,
    /// `YYYY-MM-DDThh:mm:ss.SSS+0000`
    pub last_modified: String,
    pub revision_id: String,
    /// Changes only with code or configuration: what environments are kept by.
    pub generation: String,
    pub state: State,
    /// Absent before the function was active.
    pub update: Option<Update>,
    pub tags: BTreeMap<String, String>,
    /// Members that are accepted and echoed without effect here, as they came.
    pub echoed: BTreeMap<String, Value>,
}

/// `LoggingConfig`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logging {
    /// `Text` or `JSON`.
    pub format: String,
    pub application_level: Option<String>,
    pub system_level: Option<String>,
    pub group: String,
}

/// `State`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    Pending,
    Active,
}

/// `LastUpdateStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Update {
    InProgress,
    Successful,
}
