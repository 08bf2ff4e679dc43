//! `Invoke` (service-api.md §3).
//!
//! ```text
//! request ─┬─ as nearly all are ─► plain ──┐
//!          └─ route, check, ... ─► invoke ─┴─► ask ─► carry_out
//! ```

pub(crate) mod plain;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use coldframe_core::invoke::{Invocation, Refusal};
use coldframe_core::{FunctionVersion, RequestId, lineage};
use hyper::{Response, StatusCode};
use serde::de::IgnoredAny;
use uuid::Uuid;

use crate::function::{Named, named};
use crate::recursion::is_link;
use crate::{Call, Error, Reply, Service, empty, set, whole};

/// Client context, bytes of base64. AWS: "Invoke", 3,583.
const CLIENT_CONTEXT_BYTES_MAX: usize = 3583;

/// An invocation that may go to the function.
pub(crate) struct Asked {
    pub(crate) invocation: Invocation,
    /// The tracing header that the answer repeats.
    pub(crate) trace: String,
    pub(crate) version: String,
    pub(crate) named: Named,
}

/// What a request asks of a function, beside its name.
pub(crate) struct Asks<'a> {
    pub(crate) request_id: RequestId,
    pub(crate) payload: Bytes,
    pub(crate) trace: Option<&'a str>,
    /// A function asks: the invocation is a link of a chain.
    pub(crate) is_link: bool,
    /// As it came: base64.
    pub(crate) client_context: Option<&'a str>,
    pub(crate) cognito_identity: Option<String>,
    pub(crate) tenant_id: Option<&'a str>,
    pub(crate) wants_log_tail: bool,
}

/// `InvocationType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    RequestResponse,
    Event,
    DryRun,
}

impl Kind {
    /// The type of that name; others the model has refused.
    pub(crate) fn of(name: Option<&str>) -> Self {
        match name {
            Some("Event") => Self::Event,
            Some("DryRun") => Self::DryRun,
            _ => Self::RequestResponse,
        }
    }
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
        let kind = Kind::of(call.header("x-amz-invocation-type"));
        self.carry_out(self.asked(&call)?, kind).await
    }

    async fn carry_out(&self, asked: Asked, kind: Kind) -> Result<Reply, Error> {
        match kind {
            Kind::RequestResponse => {}
            Kind::Event => return self.invoke_event(asked).await,
            Kind::DryRun => return Ok(empty(StatusCode::NO_CONTENT)),
        }
        let Asked { invocation, trace, version, .. } = asked;
        self.check_loop(&invocation)?;
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

    /// Reads and checks an invocation, buffered or streamed.
    pub(crate) fn asked(&self, call: &Call) -> Result<Asked, Error> {
        let asks = Asks {
            request_id: call.request_id,
            payload: call.body.clone(),
            trace: call.header("x-amzn-trace-id"),
            is_link: is_link(&call.caller),
            client_context: call.header("x-amz-client-context"),
            cognito_identity: cognito_identity(call),
            tenant_id: call.header("x-amz-tenant-id"),
            wants_log_tail: call.header("x-amz-log-type") == Some("Tail"),
        };
        self.ask(named(call)?, asks)
    }

    fn ask(&self, named: Named, asks: Asks<'_>) -> Result<Asked, Error> {
        let function = self.to_run(&named)?;
        let trace = asks.trace.map_or_else(new_trace, str::to_owned);
        let client_context = asks.client_context.map(client_context).transpose()?;
        let tenant_id = tenant(&function, asks.tenant_id)?;
        check_payload(&asks.payload)?;
        let version = function.version.clone();
        // What comes from outside begins a chain, and its header is passed on as it is.
        let trace_header =
            if asks.is_link { lineage::enter(&trace, &named.arn) } else { trace.clone() };
        let invocation = Invocation {
            request_id: asks.request_id,
            function,
            invoked_arn: named.shown(),
            payload: if asks.payload.is_empty() { Bytes::from_static(b"{}") } else { asks.payload },
            client_context,
            cognito_identity: asks.cognito_identity,
            trace_header: Some(trace_header),
            wants_log_tail: asks.wants_log_tail,
            tenant_id,
        };
        Ok(Asked { invocation, trace, version, named })
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
