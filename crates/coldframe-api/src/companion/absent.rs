//! Services that aren't here (service-api.md §11): who has sent all of them to this endpoint is told
//! so in the protocol that he speaks, instead of what his client can't read.

use coldframe_core::RequestId;
use hyper::{Method, Request, StatusCode};
use serde_json::json;

use super::xml;
use crate::{Error, Reply, set, whole};

/// Every path of Lambda's begins with the date of an API.
const LAMBDA: &str = "/20";

/// Services that have Lambda's host and signing name, and dates of their own (§12).
const SIBLINGS: [(&str, &str); 4] = [
    ("/2025-03-07/", "lambda-web"),
    ("/2025-09-09/", "lambda-microvms"),
    ("/2026-04-04/", "lambda-core"),
    ("/2026-10-01/", "lambda-core"),
];

/// The refusal, if the request is surely for a service that isn't here.
pub(crate) fn refusal<B>(request: &Request<B>, request_id: RequestId) -> Option<Reply> {
    let path = request.uri().path();
    if path.starts_with(LAMBDA) {
        let (_, sibling) = SIBLINGS.into_iter().find(|(date, _)| path.starts_with(date))?;
        return Some(Error::not_implemented(sibling).reply());
    }
    if let Some(target) = target(request) {
        return Some(of_target(target, request));
    }
    let service = signed_for(request).filter(|service| *service != "lambda")?;
    Some(if service == "s3" {
        let mut reply = Reply::new(whole(xml::object_problem(
            "NotImplemented",
            &format!("{service} is not supported by this server"),
            request_id,
        )));
        *reply.status_mut() = StatusCode::NOT_IMPLEMENTED;
        set(reply.headers_mut(), "content-type", "application/xml");
        reply
    } else {
        Error::not_implemented(service).reply()
    })
}

/// What the JSON protocols ask of whom, as in `AWSEvents.ListRules`.
fn target<B>(request: &Request<B>) -> Option<&str> {
    let is_json = request.uri().path() == "/" && request.method() == Method::POST;
    let target = request.headers().get("x-amz-target").filter(|_| is_json)?;
    target.to_str().ok()
}

fn of_target<B>(target: &str, request: &Request<B>) -> Reply {
    let (service, operation) = target.rsplit_once('.').unwrap_or(("this service", target));
    let what = format!("{operation} of {service}");
    // Their clients look for the code in the body.
    let mut reply = crate::json(
        StatusCode::NOT_IMPLEMENTED,
        &json!({
            "__type": "NotImplementedException",
            "message": format!("{what} is not supported by this server"),
        }),
    );
    if let Some(kind) = request.headers().get("content-type") {
        reply.headers_mut().insert("content-type", kind.clone());
    }
    reply
}

/// The service in the scope of a signature, in either form.
fn signed_for<B>(request: &Request<B>) -> Option<&str> {
    let header = request.headers().get("authorization").and_then(|header| header.to_str().ok());
    let in_header = header.and_then(|header| {
        let scope = header.split([',', ' ']).find_map(|part| part.strip_suffix("/aws4_request"))?;
        scope.rsplit('/').next()
    });
    in_header.or_else(|| {
        let query = request.uri().query()?;
        let scope = query.split('&').find_map(|pair| pair.strip_prefix("X-Amz-Credential="))?;
        scope.strip_suffix("%2Faws4_request")?.rsplit("%2F").next()
    })
}
