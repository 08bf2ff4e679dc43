//! The event of a request, payload format 2.0 (service-api.md §6.2).

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coldframe_core::RequestId;
use hyper::http::request::Parts;
use serde_json::{Map, Value, json};

use crate::Caller;
use crate::model;

/// What the event tells besides the request itself.
pub(super) struct Origin<'a> {
    pub(super) id: &'a str,
    /// As sent.
    pub(super) path: &'a str,
    /// The host's name of the URL, without the port.
    pub(super) domain: &'a str,
    pub(super) port: &'a str,
    pub(super) peer: Option<IpAddr>,
    pub(super) trace: &'a str,
    pub(super) request_id: RequestId,
    /// Who has signed, if signatures count.
    pub(super) caller: Option<&'a Caller>,
    pub(super) at: jiff::Timestamp,
}

pub(super) fn event(parts: &Parts, body: &[u8], origin: &Origin<'_>) -> Value {
    let peer = origin.peer.map(|peer| peer.to_string()).unwrap_or_default();
    let query = parts.uri.query().unwrap_or_default();
    let (headers, cookies) = headers(parts, body, origin, &peer);
    let user_agent = headers.get("user-agent").cloned().unwrap_or_else(|| json!(""));
    let mut context = json!({
        "accountId": "anonymous",
        "apiId": origin.id,
        "domainName": origin.domain,
        "domainPrefix": origin.id,
        "http": {
            "method": parts.method.as_str(),
            "path": origin.path,
            "protocol": "HTTP/1.1",
            "sourceIp": peer,
            "userAgent": user_agent,
        },
        "requestId": origin.request_id.to_string(),
        "routeKey": "$default",
        "stage": "$default",
        "time": origin.at.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
        "timeEpoch": origin.at.as_millisecond(),
    });
    if let Some(caller) = origin.caller {
        let (account, user) = (caller.account.as_str(), caller.identity.user_id());
        context["accountId"] = json!(account);
        context["authorizer"] = json!({ "iam": {
            "accessKey": caller.access_key,
            "accountId": account,
            "callerId": user,
            "cognitoIdentity": null,
            "principalOrgId": null,
            "userArn": caller.identity.to_string(),
            "userId": user,
        } });
    }
    let is_text = is_text(parts) && std::str::from_utf8(body).is_ok();
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": origin.path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": context,
        "isBase64Encoded": !body.is_empty() && !is_text,
    });
    if !cookies.is_empty() {
        event["cookies"] = json!(cookies);
    }
    if let Some(parameters) = parameters(query) {
        event["queryStringParameters"] = parameters;
    }
    if !body.is_empty() {
        event["body"] = if is_text {
            json!(String::from_utf8_lossy(body))
        } else {
            json!(STANDARD.encode(body))
        };
    }
    event
}

/// Headers of the connection, not of the request.
const DROPPED: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "te", "upgrade"];

fn headers(
    parts: &Parts,
    body: &[u8],
    origin: &Origin<'_>,
    peer: &str,
) -> (Map<String, Value>, Vec<String>) {
    let (mut headers, mut cookies) = (Map::new(), Vec::new());
    for name in parts.headers.keys() {
        let values = parts.headers.get_all(name).iter();
        let values: Vec<String> =
            values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
        match name.as_str() {
            "cookie" => {
                let all = values.iter().flat_map(|value| value.split(';'));
                cookies =
                    all.map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect();
            }
            // A signature that was checked is the platform's matter, not the function's.
            "authorization" if origin.caller.is_some() => {}
            name if DROPPED.contains(&name) => {}
            name => {
                headers.insert(name.to_owned(), json!(values.join(",")));
            }
        }
    }
    let mut put = |name: &str, value: &str| headers.insert(name.to_owned(), json!(value));
    // HTTP/2 has the host in front.
    if let (None, Some(authority)) = (parts.headers.get("host"), parts.uri.authority()) {
        put("host", authority.as_str());
    }
    if !body.is_empty() {
        put("content-length", &body.len().to_string());
    }
    put("x-amzn-trace-id", origin.trace);
    put("x-forwarded-for", peer);
    put("x-forwarded-port", origin.port);
    put("x-forwarded-proto", "http");
    (headers, cookies)
}

/// Decoded; repeated names joined by commas.
fn parameters(query: &str) -> Option<Value> {
    let pairs = model::query_pairs(query).ok()?;
    let mut parameters: Map<String, Value> = Map::new();
    for (name, value) in pairs {
        let joined = match parameters.get(&name).and_then(Value::as_str) {
            Some(before) => format!("{before},{value}"),
            None => value,
        };
        parameters.insert(name, json!(joined));
    }
    (!parameters.is_empty()).then_some(Value::Object(parameters))
}

fn is_text(parts: &Parts) -> bool {
    let kind = parts.headers.get("content-type").and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().to_ascii_lowercase();
    ["text", "json", "xml", "javascript"].iter().any(|word| kind.contains(word))
}
