//! Records as they lie on the disk. Members may be added with a default, never renamed.

use std::collections::BTreeMap;
use std::sync::Arc;

use coldframe_core::{AccountId, FunctionArn};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A function as it is kept in memory: parts are shared, and written when they are other parts.
#[derive(Clone, Debug)]
pub struct Function {
    /// `$LATEST`.
    pub latest: Arc<FunctionRecord>,
    pub settings: Arc<Settings>,
    /// By number. The number of a deleted one is not given again.
    pub versions: BTreeMap<u64, Arc<FunctionRecord>>,
    pub aliases: BTreeMap<String, Arc<AliasRecord>>,
}

impl Function {
    /// A function without versions.
    pub fn new(latest: FunctionRecord, settings: Settings) -> Self {
        Self {
            latest: Arc::new(latest),
            settings: Arc::new(settings),
            versions: BTreeMap::new(),
            aliases: BTreeMap::new(),
        }
    }

    /// A version or alias is gone: how its events were handled goes with it.
    pub fn forget_event_invoke(&mut self, qualifier: &str) {
        if self.settings.event_invoke.contains_key(qualifier) {
            Arc::make_mut(&mut self.settings).event_invoke.remove(qualifier);
        }
    }
}

/// `FunctionEventInvokeConfig`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventInvokeRecord {
    pub retries_max: Option<u32>,
    pub age_max_s: Option<u32>,
    /// ARNs.
    pub on_success: Option<String>,
    pub on_failure: Option<String>,
    /// Milliseconds since 1970.
    pub last_modified_ms: i64,
}

/// What belongs to a function as a whole, whatever its version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    pub tags: BTreeMap<String, String>,
    /// The highest number a version ever had.
    pub last_version: u64,
    /// The description that `$LATEST` had when that version was made of it.
    pub published_description: String,
    pub reserved_concurrency: Option<u32>,
    /// How asynchronous invocations are handled, by qualifier.
    pub event_invoke: BTreeMap<String, EventInvokeRecord>,
    /// `RecursiveLoop`, once set.
    pub recursive_loop: Option<String>,
    /// Function URLs by alias; that of `$LATEST` by the empty name.
    pub urls: BTreeMap<String, UrlRecord>,
}

/// `FunctionUrlConfig`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UrlRecord {
    /// 32 lower-case letters and digits: the first part of the host's name.
    pub id: String,
    /// `NONE` or `AWS_IAM`
    pub auth_type: String,
    /// As it was given.
    pub cors: Option<Value>,
    /// Absent if it was never given.
    pub invoke_mode: Option<String>,
    /// `YYYY-MM-DDThh:mm:ss.ssssssZ`
    pub created: String,
    pub modified: String,
}

/// An alias.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AliasRecord {
    /// `$LATEST` or a number.
    pub version: String,
    pub description: String,
    pub revision_id: String,
    /// The share of invocations that another version gets.
    pub weights: BTreeMap<String, f64>,
    /// As [`FunctionRecord::policy`].
    pub policy: Vec<String>,
    pub policy_head: Option<PolicyHead>,
    pub provisioned: Option<Provisioned>,
}

/// What a policy that was put as a whole says beside its statements.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyHead {
    pub version: Option<String>,
    pub id: Option<String>,
}

/// `ProvisionedConcurrencyConfig`, as it was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provisioned {
    pub requested: u32,
    pub last_modified: String,
}

/// A layer version as a function uses it: what was published may be deleted meanwhile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerUse {
    pub arn: String,
    /// SHA-256 of the zip, hex.
    pub sha256: String,
    /// Size of the zip, bytes.
    pub code_size: u64,
    /// Size of its content, bytes.
    pub unzipped_size: u64,
}

/// A layer as it is kept in memory.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    /// The highest number a version ever had.
    pub last_version: u64,
    /// By number. The number of a deleted one is not given again.
    pub versions: BTreeMap<u64, Arc<LayerRecord>>,
}

/// One version of a layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerRecord {
    pub description: String,
    /// `YYYY-MM-DDThh:mm:ss.SSS+0000`
    pub created: String,
    /// SHA-256 of the zip, hex.
    pub sha256: String,
    /// Size of the zip, bytes.
    pub code_size: u64,
    /// Size of its content, bytes.
    pub unzipped_size: u64,
    /// Absent if the request had none.
    pub architectures: Option<Vec<String>>,
    /// Absent if the request had none.
    pub runtimes: Option<Vec<String>>,
    pub license: Option<String>,
    /// As [`FunctionRecord::policy`].
    #[serde(default)]
    pub policy: Vec<String>,
    /// Of the policy.
    pub revision_id: String,
}

/// `RuntimeManagementConfig`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuntimeUpdate {
    /// `Auto`, `FunctionUpdate` or `Manual`.
    pub on: String,
    /// With `Manual`.
    pub version_arn: Option<String>,
}

/// One version of a function, `$LATEST` or a published one: its code and configuration.
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
    /// Members that are accepted and echoed without effect here, as they came.
    pub echoed: BTreeMap<String, Value>,
    /// Size of the package's content, bytes; 0 in records of the first layout.
    #[serde(default)]
    pub unzipped_size: u64,
    #[serde(default)]
    pub layers: Vec<LayerUse>,
    /// Statements of the resource policy in order of insertion, each as JSON text: the order of its
    /// keys is what callers see.
    #[serde(default)]
    pub policy: Vec<String>,
    /// Absent if its statements were added one by one.
    #[serde(default)]
    pub policy_head: Option<PolicyHead>,
    #[serde(default)]
    pub runtime_update: Option<RuntimeUpdate>,
    #[serde(default)]
    pub provisioned: Option<Provisioned>,
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

/// A function's unqualified address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionKey {
    /// Twelve digits.
    pub account: String,
    pub region: String,
    pub name: String,
}

impl FunctionKey {
    /// The address. An account that is none, which no program of ours wrote, is the default one.
    pub fn arn(&self) -> FunctionArn {
        FunctionArn {
            account: AccountId::parse(&self.account).unwrap_or_else(AccountId::default_account),
            region: self.region.as_str().into(),
            name: self.name.as_str().into(),
        }
    }
}

impl From<&FunctionArn> for FunctionKey {
    fn from(arn: &FunctionArn) -> Self {
        Self {
            account: arn.account.as_str().to_owned(),
            region: arn.region.to_string(),
            name: arn.name.to_string(),
        }
    }
}
