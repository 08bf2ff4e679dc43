//! The limits of the service, each with its unit and origin.

use std::time::Duration;

/// Payload of a synchronous request, bytes. AWS: "Lambda quotas", 6 MB.
pub const REQUEST_PAYLOAD_BYTES_MAX: usize = 6_291_456;

/// Payload of an asynchronous request, bytes (service-api.md §0.3).
pub const ASYNC_PAYLOAD_BYTES_MAX: usize = 1_048_576;

/// Payload of the legacy InvokeAsync, bytes (service-api.md §3.6).
pub const INVOKE_ASYNC_PAYLOAD_BYTES_MAX: usize = 262_144;

/// Attempts of an asynchronous invocation after the first (service-api.md §0.3).
pub const ASYNC_RETRIES: u32 = 2;

/// How old an asynchronous event may become (service-api.md §0.3).
pub const ASYNC_AGE: Duration = Duration::from_secs(21_600);

/// Buffered response accepted by the Runtime API, bytes (execution-environment.md §0.3).
pub const RESPONSE_PAYLOAD_BYTES_MAX: usize = 6_291_556;

/// Streamed response, bytes (execution-environment.md §0.3), 200 MB.
pub const STREAMED_RESPONSE_BYTES_MAX: u64 = 209_715_200;

/// What a streamed response may send at once before its rate counts, bytes (§9.5).
pub const STREAM_BURST_BYTES: u64 = 6_291_456;

/// What a streamed response may send after its burst, bytes each [`STREAM_REFILL_INTERVAL`] (§9.5).
pub const STREAM_REFILL_BYTES: u64 = 262_144;

/// See [`STREAM_REFILL_BYTES`].
pub const STREAM_REFILL_INTERVAL: Duration = Duration::from_millis(125);

/// Extensions of one environment, internal and external (execution-environment.md §0.3).
pub const EXTENSIONS_MAX: usize = 10;

/// Shutdown phase with an external extension (execution-environment.md §1.7).
pub const SHUTDOWN_LIMIT: Duration = Duration::from_millis(2000);

/// Shutdown phase with internal extensions only (execution-environment.md §1.7).
pub const SHUTDOWN_LIMIT_INTERNAL: Duration = Duration::from_millis(500);

/// The runtime's part of [`SHUTDOWN_LIMIT`]: 30 % (execution-environment.md §1.7).
pub const SHUTDOWN_LIMIT_RUNTIME: Duration = Duration::from_millis(600);

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

/// Zips of an account's functions and layers, bytes (service-api.md §0.3).
pub const CODE_STORAGE_BYTES: u64 = 80_530_636_800;

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
