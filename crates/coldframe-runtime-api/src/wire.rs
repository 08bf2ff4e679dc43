//! Replies on the wire.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;

use crate::state::Refused;

pub(crate) type Reply = Response<Full<Bytes>>;

/// The headers of a request, on either way.
pub(crate) trait Headers: Sync {
    /// The first value of that name, which is in lower case.
    fn value(&self, name: &str) -> Option<&[u8]>;

    /// The same, if it is text.
    fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.value(name)?).ok().filter(|text| text.is_ascii())
    }
}

impl Headers for HeaderMap {
    fn value(&self, name: &str) -> Option<&[u8]> {
        self.get(name).map(HeaderValue::as_bytes)
    }
}

impl Headers for coldframe_http::Request<'_> {
    fn value(&self, name: &str) -> Option<&[u8]> {
        self.header(name)
    }
}

/// A request is refused (§2.4).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    InvalidRequestId,
    InvalidInvocationId,
    InvalidResponseMode,
    Truncated,
    State(Refused),
    /// The limit, bytes.
    TooLarge(u64),
}

fn with_status(status: StatusCode, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    reply
}

fn json(status: StatusCode, body: &serde_json::Value) -> Reply {
    // AWS ends its JSON replies with a newline.
    let mut reply = with_status(status, format!("{body}\n").into());
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

pub(crate) fn accepted() -> Reply {
    let mut reply = with_status(StatusCode::ACCEPTED, Bytes::from_static(b"{\"status\":\"OK\"}\n"));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

pub(crate) fn pong() -> Reply {
    with_status(StatusCode::OK, Bytes::from_static(b"pong"))
}

pub(crate) fn not_found() -> Reply {
    with_status(StatusCode::NOT_FOUND, Bytes::from_static(b"404 page not found\n"))
}

pub(crate) fn method_not_allowed() -> Reply {
    with_status(StatusCode::METHOD_NOT_ALLOWED, Bytes::new())
}

pub(crate) fn refusal(refusal: &Refusal) -> Reply {
    let (status, kind, message) = match refusal {
        Refusal::InvalidRequestId => {
            (StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID".to_owned())
        }
        // AWS's text has not been seen.
        Refusal::InvalidInvocationId => {
            (StatusCode::BAD_REQUEST, "InvalidInvocationId", "Invalid invocation ID".to_owned())
        }
        Refusal::InvalidResponseMode => (
            StatusCode::BAD_REQUEST,
            "InvalidFunctionResponseMode",
            "Invalid function response mode".to_owned(),
        ),
        Refusal::Truncated => (
            StatusCode::BAD_REQUEST,
            "TruncatedHTTPRequest",
            "HTTP request detected as truncated".to_owned(),
        ),
        Refusal::State(refused) => {
            (StatusCode::FORBIDDEN, "InvalidStateTransition", refused.to_string())
        }
        Refusal::TooLarge(limit) => too_large(*limit),
    };
    error(status, kind, &message)
}

fn too_large(limit: u64) -> (StatusCode, &'static str, String) {
    let message = format!("Exceeded maximum allowed payload size ({limit} bytes).");
    (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
}

/// The body that every refusal has (§2.4).
pub(crate) fn error(status: StatusCode, kind: &str, message: &str) -> Reply {
    json(status, &json!({ "errorMessage": message, "errorType": kind }))
}

/// A route that exists only where something is switched on.
pub(crate) fn absent() -> Reply {
    with_status(StatusCode::NOT_FOUND, Bytes::new())
}

/// An answer of 200 whose body is JSON already.
pub(crate) fn json_text(body: String) -> Reply {
    let mut reply = with_status(StatusCode::OK, body.into());
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}
