//! What a function returned, as HTTP (service-api.md §6.3, §6.4).

use std::future::poll_fn;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use coldframe_core::invoke::{Answer, ResponseStream, StreamEnd, StreamPart, StreamedAnswer};
use coldframe_core::limits::RESPONSE_PAYLOAD_BYTES_MAX;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};
use serde_json::Value;

use crate::body::RawStream;
use crate::{Body, Reply, whole};

/// The content type of a stream that begins with its status and headers.
const PRELUDE: &str = "application/vnd.awslambda.http-integration-response";

/// Between the prelude and the body.
const PRELUDE_END: [u8; 8] = [0; 8];

/// A prelude longer than this is none, bytes.
const PRELUDE_BYTES_MAX: usize = 1024 * 1024;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A function that failed, or returned what is no answer.
pub(super) fn bad_gateway() -> Reply {
    let mut reply = Response::new(whole(Bytes::from_static(b"Internal Server Error")));
    *reply.status_mut() = StatusCode::BAD_GATEWAY;
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    reply
}

/// The answer of an invocation in the mode BUFFERED.
pub(super) fn response(answer: &Answer) -> Reply {
    let made = if answer.function_error { None } else { buffered(&answer.payload) };
    made.unwrap_or_else(bad_gateway)
}

/// The answer of an invocation in the mode RESPONSE_STREAM, as soon as its head is known.
pub(super) async fn streamed(answer: StreamedAnswer) -> Reply {
    let kind = answer.content_type.unwrap_or_default();
    let made = match kind.as_str() {
        PRELUDE => with_prelude(answer.stream).await,
        // A function that doesn't stream.
        "" | "application/json" => all(answer.stream).await.and_then(|all| buffered(&all)),
        kind => raw_stream(answer.stream, kind).await,
    };
    made.unwrap_or_else(bad_gateway)
}

/// `None` once the stream has ended; `Err` if it failed.
async fn next(stream: &mut dyn ResponseStream) -> Result<Option<Bytes>, ()> {
    match poll_fn(|context| stream.poll_part(context)).await {
        StreamPart::Chunk(chunk) => Ok(Some(chunk)),
        StreamPart::Complete(StreamEnd { error: None, .. }) => Ok(None),
        StreamPart::Complete(_) => Err(()),
    }
}

async fn all(mut stream: Box<dyn ResponseStream>) -> Option<Bytes> {
    let mut all = BytesMut::new();
    while let Some(chunk) = next(&mut *stream).await.ok()? {
        all.extend_from_slice(&chunk);
        if all.len() > RESPONSE_PAYLOAD_BYTES_MAX {
            return None;
        }
    }
    Some(all.freeze())
}

async fn raw_stream(mut stream: Box<dyn ResponseStream>, kind: &str) -> Option<Reply> {
    // Until something has come it may still fail.
    let first = next(&mut *stream).await.ok()?;
    let stream = first.is_some().then_some(stream);
    Some(with_body(Body::Raw(RawStream::new(first.unwrap_or_default(), stream)), kind))
}

async fn with_prelude(mut stream: Box<dyn ResponseStream>) -> Option<Reply> {
    let mut begun = BytesMut::new();
    let mut looked_at = 0;
    let at = loop {
        let mut windows = begun[looked_at..].windows(PRELUDE_END.len());
        if let Some(at) = windows.position(|window| window == PRELUDE_END) {
            break looked_at + at;
        }
        // The end may have begun.
        looked_at = begun.len().saturating_sub(PRELUDE_END.len() - 1);
        if begun.len() > PRELUDE_BYTES_MAX {
            return None;
        }
        begun.extend_from_slice(&next(&mut *stream).await.ok()??);
    };
    let prelude: Value = serde_json::from_slice(&begun[..at]).ok()?;
    let first = begun.freeze().slice(at + PRELUDE_END.len()..);
    let body = Body::Raw(RawStream::new(first, Some(stream)));
    let mut reply = with_body(body, "application/octet-stream");
    head(&prelude, &mut reply)?;
    Some(reply)
}

fn raw(body: Bytes, kind: &str) -> Reply {
    with_body(whole(body), kind)
}

fn with_body(body: Body, kind: &str) -> Reply {
    let mut reply = Response::new(body);
    if let Ok(kind) = HeaderValue::from_str(kind) {
        reply.headers_mut().insert(CONTENT_TYPE, kind);
    }
    reply
}

fn buffered(payload: &Bytes) -> Option<Reply> {
    let value: Value = serde_json::from_slice(payload).ok()?;
    let reply = match &value {
        // The payload itself: its bytes are the function's.
        Value::Object(object) if !object.contains_key("statusCode") => {
            raw(payload.clone(), "application/json")
        }
        Value::Object(object) => {
            let mut reply = raw(body(object.get("body"), object.get("isBase64Encoded"))?, "");
            reply.headers_mut().insert(CONTENT_TYPE, JSON);
            head(&value, &mut reply)?;
            reply
        }
        Value::String(text) => raw(text.clone().into(), "application/json"),
        other => raw(other.to_string().into(), "application/json"),
    };
    Some(reply)
}

fn body(body: Option<&Value>, is_base64: Option<&Value>) -> Option<Bytes> {
    match body {
        None | Some(Value::Null) => Some(Bytes::new()),
        Some(Value::String(text)) if is_base64.and_then(Value::as_bool) == Some(true) => {
            STANDARD.decode(text).ok().map(Bytes::from)
        }
        Some(Value::String(text)) => Some(text.clone().into()),
        Some(other) => Some(other.to_string().into()),
    }
}

/// Status, headers and cookies; `None` if they are none.
fn head(given: &Value, reply: &mut Reply) -> Option<()> {
    let status = match &given["statusCode"] {
        // Only a prelude may leave it out.
        Value::Null => 200,
        status => status.as_u64()?,
    };
    // An interim answer is followed by another, and none comes.
    let status = u16::try_from(status).ok().filter(|status| (200..600).contains(status))?;
    *reply.status_mut() = StatusCode::from_u16(status).ok()?;
    let out = reply.headers_mut();
    match &given["headers"] {
        Value::Null => {}
        headers => {
            for (name, value) in headers.as_object()? {
                put(out, name, value)?;
            }
        }
    }
    match &given["cookies"] {
        Value::Null => {}
        cookies => {
            for cookie in cookies.as_array()? {
                let cookie = HeaderValue::from_str(cookie.as_str()?).ok()?;
                out.append("set-cookie", cookie);
            }
        }
    }
    Some(())
}

fn put(out: &mut HeaderMap, name: &str, value: &Value) -> Option<()> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        _ => return None,
    };
    let name = name.to_ascii_lowercase();
    let name = match name.as_str() {
        // Of the connection, which is the platform's.
        "connection" | "content-length" | "keep-alive" | "transfer-encoding" | "upgrade" => {
            return Some(());
        }
        "date" | "server" => format!("x-amzn-remapped-{name}"),
        name if name.starts_with("x-amzn-") => format!("x-amzn-remapped-{name}"),
        _ => name,
    };
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    out.insert(name, HeaderValue::from_bytes(text.as_bytes()).ok()?);
    Some(())
}
