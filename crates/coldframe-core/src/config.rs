//! One function version: everything an execution environment is made from. Immutable.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::limits::MEMORY_MB_PER_CPU;
use crate::{AccountId, FunctionArn};

/// Memory of a function, MB (of 2²⁰ bytes, as AWS counts them).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemorySize(u32);

impl MemorySize {
    pub const fn from_mb(mb: u32) -> Self {
        Self(mb)
    }

    pub const fn mb(self) -> u32 {
        self.0
    }

    pub const fn bytes(self) -> u64 {
        self.0 as u64 * 1024 * 1024
    }

    /// The share of CPU time this memory buys, in thousandths of a virtual CPU. AWS: 1,769 MB buy one.
    pub fn cpu_millis(self) -> u32 {
        (self.0 * 1000 / MEMORY_MB_PER_CPU).max(1)
    }
}

/// What runs the function's code.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Runtime {
    /// `python3.N` by our bootstrap and the host's interpreter.
    Python { minor: u32 },
    /// `nodejsN.x` likewise.
    NodeJs { major: u32 },
    /// `provided.al2`, `provided.al2023`: the package brings its `bootstrap`.
    Provided { name: String },
    /// An identifier of AWS's that coldframe cannot run.
    Other(String),
}

impl Runtime {
    /// Parses AWS's identifier, e.g. `python3.12`. Never fails: what is unknown is [`Runtime::Other`].
    pub fn parse(name: &str) -> Self {
        let number = |text: &str| text.parse::<u32>().ok().filter(|n| n.to_string() == text);
        if let Some(minor) = name.strip_prefix("python3.").and_then(number) {
            return Self::Python { minor };
        }
        let node = name.strip_prefix("nodejs").and_then(|rest| rest.strip_suffix(".x"));
        if let Some(major) = node.and_then(number) {
            return Self::NodeJs { major };
        }
        if name == "provided.al2" || name == "provided.al2023" {
            return Self::Provided { name: name.to_owned() };
        }
        Self::Other(name.to_owned())
    }

    /// Whether the package itself brings the `bootstrap`.
    pub fn is_os_only(&self) -> bool {
        matches!(self, Self::Provided { .. })
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Python { minor } => write!(f, "python3.{minor}"),
            Self::NodeJs { major } => write!(f, "nodejs{major}.x"),
            Self::Provided { name } | Self::Other(name) => f.write_str(name),
        }
    }
}

/// `TracingConfig.Mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tracing {
    Active,
    #[default]
    PassThrough,
}

/// `LoggingConfig.LogFormat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// How much a record matters (execution-environment.md §5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

impl LogLevel {
    /// Parses AWS's word, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let levels = [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error, Self::Fatal];
        levels.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(text))
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }
}

/// One immutable function version, as the scheduler and the environments need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionVersion {
    pub arn: FunctionArn,
    /// `$LATEST` or a number.
    pub version: String,
    /// Changes with code and configuration: environments of another revision are not reused.
    pub revision: String,
    pub runtime: Runtime,
    pub handler: String,
    /// The ARN of the execution role.
    pub role: String,
    pub memory: MemorySize,
    pub timeout: Duration,
    /// Size of `/tmp`, MB.
    pub ephemeral_storage_mb: u32,
    /// The customer's variables.
    pub environment: BTreeMap<String, String>,
    /// The unpacked package, read-only at `/var/task`.
    pub code: PathBuf,
    /// The merged layers, read-only at `/opt`; absent without layers.
    pub layers: Option<PathBuf>,
    pub tracing: Tracing,
    pub log_format: LogFormat,
    /// Only with [`LogFormat::Json`].
    pub application_log_level: Option<LogLevel>,
    /// Only with [`LogFormat::Json`].
    pub system_log_level: Option<LogLevel>,
    /// `TenancyConfig.TenantIsolationMode` is `PER_TENANT`: no environment serves two tenants.
    pub tenant_isolation: bool,
    pub log_group: String,
}

impl FunctionVersion {
    pub fn account(&self) -> &AccountId {
        &self.arn.account
    }

    /// Name of the log stream: `YYYY/MM/DD/[VERSION]HEX32`, with a log group of its own choice
    /// `YYYY/MM/DD/NAME[VERSION]HEX32` (service-api.md §10.2).
    pub fn log_stream(&self, date: &str, environment: crate::EnvironmentId) -> String {
        let own = self.log_group == format!("/aws/lambda/{}", self.arn.name);
        let name = if own { "" } else { &*self.arn.name };
        format!("{date}/{name}[{}]{}", self.version, environment.simple())
    }
}

/// Variables that customers cannot set (execution-environment.md §6.1).
pub const RESERVED_VARIABLES: [&str; 20] = [
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_parse_and_print_alike() {
        for name in
            ["python3.12", "nodejs22.x", "provided.al2023", "provided.al2", "java21", "python3.012"]
        {
            assert_eq!(Runtime::parse(name).to_string(), name);
        }
        assert_eq!(Runtime::parse("python3.12"), Runtime::Python { minor: 12 });
        assert_eq!(Runtime::parse("nodejs22.x"), Runtime::NodeJs { major: 22 });
        assert!(matches!(Runtime::parse("python3.012"), Runtime::Other(_)));
        assert!(matches!(Runtime::parse("nodejs22"), Runtime::Other(_)));
    }

    #[test]
    fn memory_buys_cpu() {
        assert_eq!(MemorySize::from_mb(1769).cpu_millis(), 1000);
        assert_eq!(MemorySize::from_mb(128).cpu_millis(), 72);
        assert_eq!(MemorySize::from_mb(128).bytes(), 134_217_728);
    }
}
