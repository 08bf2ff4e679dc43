//! CORS of a function URL (service-api.md §6.6): preflights are answered here, and what is configured
//! overrides what the function says.

use hyper::header::HeaderValue;
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use crate::access::policy::like;
use crate::{Reply, empty, set};

/// The answer to a preflight; `None` if the request isn't for the platform.
pub(super) fn preflight(
    cors: Option<&Value>,
    method: &Method,
    headers: &HeaderMap,
) -> Option<Reply> {
    let cors = cors?;
    if method != Method::OPTIONS {
        return None;
    }
    let mut reply = empty(StatusCode::OK);
    if let Some(origin) = allowed(cors, headers) {
        let out = reply.headers_mut();
        common(cors, &origin, out);
        for (name, member) in [
            ("access-control-allow-methods", "AllowMethods"),
            ("access-control-allow-headers", "AllowHeaders"),
        ] {
            if let Some(list) = list(cors, member) {
                set(out, name, &list);
            }
        }
        if let Some(seconds) = cors["MaxAge"].as_u64() {
            set(out, "access-control-max-age", &seconds.to_string());
        }
    }
    Some(reply)
}

/// Sets the headers of an answer to an actual request.
pub(super) fn apply(cors: Option<&Value>, request: &HeaderMap, out: &mut HeaderMap<HeaderValue>) {
    let Some(cors) = cors else { return };
    let Some(origin) = allowed(cors, request) else { return };
    common(cors, &origin, out);
    if let Some(list) = list(cors, "ExposeHeaders") {
        set(out, "access-control-expose-headers", &list);
    }
}

fn common(cors: &Value, origin: &str, out: &mut HeaderMap<HeaderValue>) {
    set(out, "access-control-allow-origin", origin);
    if cors["AllowCredentials"].as_bool() == Some(true) {
        set(out, "access-control-allow-credentials", "true");
    }
}

/// What `access-control-allow-origin` says; `None` if the request's origin may not.
fn allowed(cors: &Value, headers: &HeaderMap) -> Option<String> {
    let origin = headers.get("origin")?.to_str().ok()?;
    let origins = cors["AllowOrigins"].as_array()?;
    let matching = origins.iter().filter_map(Value::as_str).find(|one| like(one, origin))?;
    // Browsers take no `*` with credentials.
    let any = matching == "*" && cors["AllowCredentials"].as_bool() != Some(true);
    Some(if any { "*".to_owned() } else { origin.to_owned() })
}

fn list(cors: &Value, member: &str) -> Option<String> {
    let items: Vec<&str> = cors[member].as_array()?.iter().filter_map(Value::as_str).collect();
    (!items.is_empty()).then(|| items.join(","))
}
