//! The limits of the service, each with its unit and origin.

use std::time::Duration;

/// Payload of a synchronous request, bytes. AWS: "Lambda quotas", 6 MB.
pub const REQUEST_PAYLOAD_BYTES_MAX: usize = 6_291_456;

/// Buffered response accepted by the Runtime API, bytes (execution-environment.md §0.3).
pub const RESPONSE_PAYLOAD_BYTES_MAX: usize = 6_291_556;

/// On-demand init (execution-environment.md §0.3).
pub const INIT_LIMIT: Duration = Duration::from_secs(10);

/// How long processes may take to be gone after `SIGKILL` (execution-environment.md §0.3).
pub const REAP_LIMIT: Duration = Duration::from_secs(2);

/// Log tail in the answer of Invoke, bytes before base64. AWS: "Invoke", 4 KB.
pub const LOG_TAIL_BYTES: usize = 4096;

/// Environment variables, bytes of their JSON rendering (service-api.md §0.3).
pub const ENVIRONMENT_VARIABLES_BYTES_MAX: usize = 4096;

/// Zip in the request, bytes (service-api.md §0.3).
pub const ZIPPED_BYTES_MAX: usize = 52_428_800;

/// Code and layers unpacked, bytes (service-api.md §0.3).
pub const UNZIPPED_BYTES_MAX: u64 = 262_144_000;

/// Whole CreateFunction request, bytes (service-api.md §0.3).
pub const CREATE_REQUEST_BYTES_MAX: usize = 70_167_211;

/// Simultaneous invocations of an account (service-api.md §0.3).
pub const ACCOUNT_CONCURRENCY: usize = 1000;

/// Memory that buys one virtual CPU, MB (execution-environment.md §0.3).
pub const MEMORY_MB_PER_CPU: u32 = 1769;

/// Open files of each process (execution-environment.md §6.7).
pub const OPEN_FILES_MAX: u64 = 1024;

/// Processes and threads of one environment (execution-environment.md §6.7).
pub const PROCESSES_MAX: u32 = 1024;
