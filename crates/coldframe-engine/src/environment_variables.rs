//! The variables a runtime starts with (execution-environment.md §6.1, §6.2). Nothing of the
//! service's own environment leaks in.

use std::collections::BTreeMap;

use coldframe_core::config::RESERVED_VARIABLES;
use coldframe_core::identity::Session;
use coldframe_core::{EnvironmentId, FunctionVersion, LogFormat, Runtime};

/// Where the Runtime API listens inside.
pub(crate) const RUNTIME_API: &str = "127.0.0.1:9001";

/// Credentials of one environment.
pub(crate) struct Credentials<'a> {
    pub(crate) session: &'a Session,
    /// For the metadata endpoint.
    pub(crate) metadata_token: String,
}

/// What extensions don't get of the runtime's variables (§6.3), beside those that begin with `_`.
const RUNTIME_ONLY: [&str; 7] = [
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_XRAY_CONTEXT_MISSING",
    "AWS_XRAY_DAEMON_ADDRESS",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
];

/// The variables of external extensions, out of the runtime's.
pub(crate) fn of_extensions(runtime: &[String]) -> Vec<String> {
    let wanted = |variable: &&String| {
        let key = variable.split('=').next().unwrap_or_default();
        !key.starts_with('_') && !RUNTIME_ONLY.contains(&key)
    };
    runtime.iter().filter(wanted).cloned().collect()
}

/// An id of an availability zone in the region, e.g. `use1-az1` (§6.10).
pub(crate) fn zone(region: &str) -> String {
    let mut parts = region.split('-');
    let mut id = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.strip_suffix("east").or_else(|| part.strip_suffix("west")) {
            Some(first) if !first.is_empty() => {
                id.extend(first.chars().take(1));
                id.extend(part[first.len()..].chars().take(1));
            }
            // Numbers as they are, words by their first letter.
            _ if part.bytes().all(|byte| byte.is_ascii_digit()) => id.push_str(part),
            _ => id.extend(part.chars().take(1)),
        }
    }
    id + "-az1"
}
/// The runtime's variables, `KEY=VALUE`.
pub(crate) fn of_runtime(
    function: &FunctionVersion,
    log_stream: &str,
    credentials: &Credentials<'_>,
    initialization_type: &str,
) -> Vec<String> {
    let mut variables: BTreeMap<&str, String> = BTreeMap::new();
    let mut put = |key: &'static str, value: &str| {
        variables.insert(key, value.to_owned());
    };
    // What the customer may override.
    put("LANG", "en_US.UTF-8");
    put("PATH", "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin");
    put(
        "LD_LIBRARY_PATH",
        "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
    );
    put("TZ", ":UTC");
    let node_path;
    match &function.runtime {
        Runtime::Python { .. } => put("PYTHONPATH", "/var/runtime"),
        Runtime::NodeJs { major } => {
            node_path = format!(
                "/opt/nodejs/node{major}/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules"
            );
            put("NODE_PATH", &node_path);
        }
        Runtime::Provided { .. } | Runtime::Other(_) => {}
    }
    put("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR");
    put("AWS_XRAY_DAEMON_ADDRESS", "169.254.79.129:2000");
    put("_AWS_XRAY_DAEMON_ADDRESS", "169.254.79.129");
    put("_AWS_XRAY_DAEMON_PORT", "2000");
    let json = function.log_format == LogFormat::Json;
    put("AWS_LAMBDA_LOG_FORMAT", if json { "JSON" } else { "Text" });
    if let (true, Some(level)) = (json, function.application_log_level) {
        put("AWS_LAMBDA_LOG_LEVEL", level.as_str());
    }
    for (key, value) in &function.environment {
        if !key.starts_with('_') && !RESERVED_VARIABLES.contains(&key.as_str()) {
            variables.insert(key, value.clone());
        }
    }
    // What he may not.
    let mut put = |key: &'static str, value: &str| {
        variables.insert(key, value.to_owned());
    };
    let arn = &function.arn;
    put("_HANDLER", &function.handler);
    put("AWS_REGION", &arn.region);
    put("AWS_DEFAULT_REGION", &arn.region);
    if !function.runtime.is_os_only() {
        put("AWS_EXECUTION_ENV", &format!("AWS_Lambda_{}", function.runtime));
    }
    put("AWS_LAMBDA_FUNCTION_NAME", &arn.name);
    put("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &function.memory.mb().to_string());
    put("AWS_LAMBDA_FUNCTION_VERSION", &function.version);
    put("AWS_LAMBDA_INITIALIZATION_TYPE", initialization_type);
    put("AWS_LAMBDA_LOG_GROUP_NAME", &function.log_group);
    put("AWS_LAMBDA_LOG_STREAM_NAME", log_stream);
    put("AWS_ACCESS_KEY", &credentials.session.access_key);
    put("AWS_ACCESS_KEY_ID", &credentials.session.access_key);
    put("AWS_SECRET_ACCESS_KEY", &credentials.session.secret_key);
    put("AWS_SESSION_TOKEN", &credentials.session.session_token);
    put("AWS_LAMBDA_RUNTIME_API", RUNTIME_API);
    put("LAMBDA_TASK_ROOT", "/var/task");
    put("LAMBDA_RUNTIME_DIR", "/var/runtime");
    put("_LAMBDA_TELEMETRY_LOG_FD", &coldframe_sandbox::LOG_DESCRIPTOR.to_string());
    put("AWS_LAMBDA_METADATA_API", RUNTIME_API);
    put("AWS_LAMBDA_METADATA_TOKEN", &credentials.metadata_token);
    variables.into_iter().map(|(key, value)| format!("{key}={value}")).collect()
}

/// The host name inside, in the manner of AWS's.
pub(crate) fn hostname(id: EnvironmentId) -> String {
    format!("env-{}", &id.simple()[..12])
}

#[cfg(test)]
mod tests;
