//! AWS's signature on what is sent.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use coldframe_core::sigv4;

use crate::Request;

/// What requests are signed with.
#[derive(Clone)]
pub struct Credentials {
    pub access_key: String,
    pub secret_key: String,
    pub session_token: Option<String>,
}

/// With whose key a request is signed, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Signature<'a> {
    pub credentials: &'a Credentials,
    pub region: &'a str,
    /// The signing name, e.g. `sqs`.
    pub service: &'a str,
}

impl Credentials {
    /// Of `AWS_ACCESS_KEY_ID` and its companions; `None` if they aren't set.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        let access_key = get("AWS_ACCESS_KEY_ID")?;
        let secret_key = get("AWS_SECRET_ACCESS_KEY")?;
        Some(Self { access_key, secret_key, session_token: get("AWS_SESSION_TOKEN") })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

impl Signature<'_> {
    /// What is to be added to the request.
    pub(crate) fn headers(&self, request: &Request<'_>) -> Vec<(&'static str, String)> {
        let mut headers = vec![("host", request.endpoint.authority())];
        headers.extend_from_slice(request.headers);
        let (path, query) = request.target.split_once('?').unwrap_or((request.target, ""));
        let signed =
            sigv4::Request { method: request.method.as_str(), path, query, headers: &headers };
        let credentials = sigv4::Credentials {
            access_key: &self.credentials.access_key,
            secret_key: &self.credentials.secret_key,
            session_token: self.credentials.session_token.as_deref(),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let body_sha256 = sigv4::sha256_hex(&request.body);
        sigv4::sign(&signed, &body_sha256, &credentials, (self.region, self.service), now)
    }
}
