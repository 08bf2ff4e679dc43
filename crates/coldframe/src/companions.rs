//! The companion APIs that tools ask of the same endpoint (service-api.md §10, §11): CloudWatch
//! Logs, CloudWatch, and `/metrics`. What they say is `coldframe-observe`'s matter; here is how it
//! comes over HTTP.

use std::sync::Arc;

use bytes::Bytes;
use coldframe_api::{Caller, Denied};
use coldframe_engine::Engine;
use coldframe_observe::{Error, Observe, Protocol};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use uuid::Uuid;

use crate::service::{Body, full};

/// Ten thousand log events of a megabyte together, with what JSON puts around and into them.
const REQUEST_BYTES_MAX: usize = 8 * 1024 * 1024;

const LOGS_TARGET: &str = "Logs_20140328.";
const METRICS_TARGET: &str = "GraniteServiceVersion20100801.";
const METRICS_PATH: &str = "/service/GraniteServiceVersion20100801/operation/";

pub(crate) struct Companions {
    pub(crate) api: Arc<coldframe_api::Service>,
    pub(crate) observe: Observe,
    pub(crate) engine: Arc<Engine>,
}

/// What a request is for.
pub(crate) enum For {
    Prometheus,
    Logs(String),
    Metrics(Protocol, Option<String>),
}

impl Companions {
    /// Whether the request is for one of these APIs; the body needn't be read to know.
    pub(crate) fn wants(request: &Request<Incoming>) -> Option<For> {
        let path = request.uri().path();
        if path == "/metrics" && request.method() == Method::GET {
            return Some(For::Prometheus);
        }
        if let Some(operation) = path.strip_prefix(METRICS_PATH) {
            return Some(For::Metrics(Protocol::Cbor, Some(operation.to_owned())));
        }
        if path != "/" || request.method() != Method::POST {
            return None;
        }
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let target = header("x-amz-target").unwrap_or_default();
        if let Some(operation) = target.strip_prefix(LOGS_TARGET) {
            return Some(For::Logs(operation.to_owned()));
        }
        if let Some(operation) = target.strip_prefix(METRICS_TARGET) {
            return Some(For::Metrics(Protocol::Json, Some(operation.to_owned())));
        }
        // The query protocol has nothing but the signature's scope to tell its service.
        let signed = header("authorization").is_some_and(|text| {
            text.split([',', ' ']).any(|part| part.ends_with("/monitoring/aws4_request"))
        });
        signed.then_some(For::Metrics(Protocol::Query, None))
    }

    pub(crate) async fn answer(&self, wanted: For, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let request_id = Uuid::new_v4().to_string();
        let body = match Limited::new(body, REQUEST_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                let too_large = error.is::<http_body_util::LengthLimitError>();
                let status =
                    if too_large { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
                return crate::admin::problem(status, &error.to_string());
            }
        };
        let service = match &wanted {
            // Its readers sign as they do for the admin API.
            For::Prometheus => "lambda",
            For::Logs(_) => "logs",
            For::Metrics(..) => "monitoring",
        };
        let caller = self.api.caller(service, &parts, &body).await;
        let caller = match caller {
            Ok(caller) => caller,
            Err(refused) => return denied(&wanted, &refused, &request_id),
        };
        let mut reply = match wanted {
            For::Logs(operation) => self.logs(&caller, &operation, &body).await,
            For::Metrics(protocol, operation) => {
                let asked = (&*body, request_id.as_str());
                self.metrics(&caller, protocol, operation.as_deref(), asked).await
            }
            For::Prometheus => {
                self.observe.settle().await;
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                reply(StatusCode::OK, kind, self.observe.prometheus(&self.engine.gauges()).into())
            }
        };
        set(reply.headers_mut(), "x-amzn-requestid", &request_id);
        reply
    }

    async fn logs(&self, caller: &Caller, operation: &str, body: &[u8]) -> Response<Body> {
        let (account, region) = (&caller.account, &caller.region);
        let answered = self.observe.cloudwatch_logs(account, region, operation, body).await;
        let (status, body) = match answered {
            // What has no output has no body.
            Ok(answer) if answer.as_object().is_some_and(|members| members.is_empty()) => {
                (StatusCode::OK, Bytes::new())
            }
            Ok(answer) => (StatusCode::OK, answer.to_string().into()),
            Err(error) => {
                let shape = serde_json::json!({ "__type": error.kind, "message": error.message });
                (status(&error), shape.to_string().into())
            }
        };
        reply(status, "application/x-amz-json-1.1", body)
    }

    async fn metrics(
        &self,
        caller: &Caller,
        protocol: Protocol,
        operation: Option<&str>,
        (body, request_id): (&[u8], &str),
    ) -> Response<Body> {
        let (account, region) = (&caller.account, &caller.region);
        let asked = (body, request_id);
        let answered = self.observe.cloudwatch(account, region, protocol, operation, asked).await;
        let mut reply = match &answered {
            Ok(answer) => reply(StatusCode::OK, protocol.content_type(), answer.clone().into()),
            Err(error) => {
                let body = protocol.error(error, request_id);
                reply(status(error), protocol.content_type(), body.into())
            }
        };
        if protocol == Protocol::Cbor {
            set(reply.headers_mut(), "smithy-protocol", "rpc-v2-cbor");
        }
        // Clients made for the query protocol know the errors by their older codes.
        if let Err(Error { query_code: Some(code), of_caller, .. }) = &answered {
            let fault = if *of_caller { "Sender" } else { "Receiver" };
            set(reply.headers_mut(), "x-amzn-query-error", &format!("{code};{fault}"));
        }
        reply
    }
}

/// Who isn't let in is told so in the protocol he speaks.
fn denied(wanted: &For, denied: &Denied, request_id: &str) -> Response<Body> {
    let (kind, query_code) = denied.codes();
    let message = denied.to_string();
    let error = Error { kind, query_code: Some(query_code), message, of_caller: true };
    let (status, kind, body) = match wanted {
        For::Prometheus => {
            return crate::admin::problem(StatusCode::FORBIDDEN, &error.message);
        }
        For::Logs(_) => {
            let shape = serde_json::json!({ "__type": error.kind, "message": error.message });
            (StatusCode::BAD_REQUEST, "application/x-amz-json-1.1", shape.to_string().into_bytes())
        }
        For::Metrics(protocol, _) => {
            let status = match protocol {
                Protocol::Query => StatusCode::FORBIDDEN,
                _ => StatusCode::BAD_REQUEST,
            };
            (status, protocol.content_type(), protocol.error(&error, request_id))
        }
    };
    let mut reply = reply(status, kind, body.into());
    set(reply.headers_mut(), "x-amzn-requestid", request_id);
    reply
}

fn status(error: &Error) -> StatusCode {
    if error.of_caller { StatusCode::BAD_REQUEST } else { StatusCode::INTERNAL_SERVER_ERROR }
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

fn reply(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Body> {
    let mut reply = Response::new(full(Full::new(body)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}
