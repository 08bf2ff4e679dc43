//! `Invoke` (service-api.md §3).

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use coldframe_core::FunctionVersion;
use coldframe_core::invoke::{Invocation, Refusal};
use hyper::{Response, StatusCode};
use serde::de::IgnoredAny;
use uuid::Uuid;

use crate::function::named;
use crate::{Call, Error, Reply, Service, empty, set, whole};

/// Client context, bytes of base64. AWS: "Invoke", 3,583.
const CLIENT_CONTEXT_BYTES_MAX: usize = 3583;

/// An invocation that may go to the function.
pub(crate) struct Asked {
    pub(crate) invocation: Invocation,
    /// The tracing header that the answer repeats.
    pub(crate) trace: String,
    pub(crate) version: String,
}

/// Why an invocation never reached the function.
pub(crate) fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::Throttled { reason } => Error::throttled(reason),
        Refusal::Draining => Error::new("ServiceException", refusal.to_string()),
        Refusal::Platform(_) => Error::service(&refusal),
    }
}

impl Service {
    pub(crate) async fn invoke(self: &Arc<Self>, call: Call) -> Result<Reply, Error> {
        let Some(asked) = self.asked(&call)? else { return Ok(empty(StatusCode::NO_CONTENT)) };
        if call.header("x-amz-invocation-type") == Some("Event") {
            return self.invoke_event(&call, asked).await;
        }
        let Asked { invocation, trace, version } = asked;
        // A caller that goes away drops this future, and the function goes on.
        let answer = self.invoker.invoke(invocation).await;
        let answer = answer.map_err(refused)?;
        let mut reply = Response::new(whole(answer.payload));
        let headers = reply.headers_mut();
        let content_type = answer.content_type.as_deref().unwrap_or("application/json");
        set(headers, "content-type", content_type);
        set(headers, "x-amz-executed-version", &version);
        set(headers, "x-amzn-remapped-content-length", "0");
        set(headers, "x-amzn-trace-id", &trace);
        if answer.function_error {
            set(headers, "x-amz-function-error", "Unhandled");
        }
        if let Some(tail) = answer.log_tail {
            set(headers, "x-amz-log-result", &STANDARD.encode(tail));
        }
        Ok(reply)
    }

    /// Reads and checks an invocation, buffered or streamed; `None` if it is only a dry run.
    pub(crate) fn asked(&self, call: &Call) -> Result<Option<Asked>, Error> {
        let named = named(call)?;
        let function = self.to_run(&named)?;
        let trace = call.header("x-amzn-trace-id").map_or_else(new_trace, str::to_owned);
        let kind = call.header("x-amz-invocation-type").unwrap_or("RequestResponse");
        let client_context = call.header("x-amz-client-context").map(client_context).transpose()?;
        let tenant_id = tenant(&function, call.header("x-amz-tenant-id"))?;
        check_payload(&call.body)?;
        if kind == "DryRun" {
            return Ok(None);
        }
        let version = function.version.clone();
        let invocation = Invocation {
            request_id: call.request_id,
            function,
            invoked_arn: named.shown(),
            payload: if call.body.is_empty() {
                Bytes::from_static(b"{}")
            } else {
                call.body.clone()
            },
            client_context,
            cognito_identity: cognito_identity(call),
            trace_header: Some(trace.clone()),
            wants_log_tail: call.header("x-amz-log-type") == Some("Tail"),
            tenant_id,
        };
        Ok(Some(Asked { invocation, trace, version }))
    }
}

/// The tenant of an invocation: required by functions that keep tenants apart, refused by others.
/// AWS's texts have not been seen.
fn tenant(function: &FunctionVersion, given: Option<&str>) -> Result<Option<Arc<str>>, Error> {
    match (function.tenant_isolation, given) {
        (true, Some(tenant)) => Ok(Some(tenant.into())),
        (false, None) => Ok(None),
        (true, None) => Err(Error::invalid(
            "The invoked function is enabled with tenancy configuration. Add a valid tenant ID in your request and try again.",
        )),
        (false, Some(_)) => Err(Error::invalid(
            "The invoked function is not enabled with tenancy configuration. Remove the tenant ID from your request and try again.",
        )),
    }
}

/// Who a mobile app's user is. AWS knows it by the caller's credentials, which Cognito has given
/// out; here nobody's are, so the caller says it in headers of our own.
fn cognito_identity(call: &Call) -> Option<String> {
    let id = call.header("x-amz-cognito-identity-id");
    let pool = call.header("x-amz-cognito-identity-pool-id");
    (id.is_some() || pool.is_some()).then(|| {
        serde_json::json!({
            "cognitoIdentityId": id.unwrap_or_default(),
            "cognitoIdentityPoolId": pool.unwrap_or_default(),
        })
        .to_string()
    })
}

/// Any JSON value in UTF-8.
pub(crate) fn check_payload(payload: &[u8]) -> Result<(), Error> {
    if payload.is_empty() {
        return Ok(());
    }
    serde_json::from_slice::<IgnoredAny>(payload).map(drop).map_err(|error| {
        Error::new(
            "InvalidRequestContentException",
            format!(
                "Could not parse request body into json: Could not parse payload into json: {error}"
            ),
        )
    })
}

fn client_context(header: &str) -> Result<String, Error> {
    let refused = || {
        Error::new(
            "InvalidRequestContentException",
            "Client context must be a valid Base64-encoded JSON object.",
        )
    };
    if header.len() > CLIENT_CONTEXT_BYTES_MAX {
        return Err(refused());
    }
    let bytes = STANDARD.decode(header).map_err(|_| refused())?;
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&bytes).map_err(|_| refused())?;
    // Rendered anew: no newline of the client's may end the header it travels in. DEL, which no
    // header takes and JSON leaves as it is, can only stand in a string.
    Ok(serde_json::Value::Object(object).to_string().replace('\x7f', "\\u007f"))
}

/// A trace that nobody samples, as AWS makes one for callers without.
pub(crate) fn new_trace() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (root, parent) = (Uuid::new_v4().simple().to_string(), Uuid::new_v4().simple().to_string());
    format!("Root=1-{seconds:08x}-{};Parent={};Sampled=0", &root[..24], &parent[..16])
}
