//! AWS's signatures, version 4: made for the services we call, checked on the requests we get
//! (service-api.md §9.2, §9.3).
//!
//! ```text
//! request ─► canonical request ─► string to sign ─┐
//! secret ─► date ─► region ─► service ─► key ─────┴─► signature
//! ```
//!
//! A check has two steps, as the secret is looked up between them: [`Presented::read`] and
//! [`Presented::verify`]. Pure: who calls brings the time and the hash of the body.

mod canonical;
mod present;
mod time;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

pub use self::present::{Presented, Refusal, SKEW_S};
pub use self::time::{parse_time, time};

/// Begins header and query alike; the only algorithm there is here.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Stands for the hash of a body that isn't signed.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// A request as it goes, or came, over the wire.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    /// Still percent-encoded.
    pub path: &'a str,
    /// Still percent-encoded, without the `?`.
    pub query: &'a str,
    /// In any case and order. `host` must be among them: HTTP/2 has it in `:authority`.
    pub headers: &'a [(&'a str, &'a str)],
}

impl<'a> Request<'a> {
    fn header(&self, name: &str) -> Option<&'a str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value)
    }
}

/// What a caller signs with.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    pub access_key: &'a str,
    pub secret_key: &'a str,
    pub session_token: Option<&'a str>,
}

/// Where a signature holds: one day, one region, one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope<'a> {
    /// `YYYYMMDD`
    pub date: &'a str,
    pub region: &'a str,
    /// The signing name: `lambda`, `sqs`, `s3`, `events`, …
    pub service: &'a str,
}

impl std::fmt::Display for Scope<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { date, region, service } = self;
        write!(f, "{date}/{region}/{service}/aws4_request")
    }
}

/// SHA-256, lower-case hex: the body's hash as [`sign`] and [`Presented::verify`] take it.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Signs all headers of the request; returns those to be added to it, `authorization` the last.
///
/// `body_sha256` is [`sha256_hex`] of the body, or [`UNSIGNED_PAYLOAD`]. `now`: seconds since 1970.
pub fn sign(
    request: &Request<'_>,
    body_sha256: &str,
    credentials: &Credentials<'_>,
    (region, service): (&str, &str),
    now: u64,
) -> Vec<(&'static str, String)> {
    let time = time(now);
    let scope = Scope { date: &time[..8], region, service };
    let mut added = vec![("x-amz-date", time.clone())];
    if let Some(token) = credentials.session_token {
        added.push(("x-amz-security-token", token.to_owned()));
    }
    // S3 demands it always; others learn by it that the body isn't signed.
    if service == "s3" || body_sha256 == UNSIGNED_PAYLOAD {
        added.push(("x-amz-content-sha256", body_sha256.to_owned()));
    }
    let mut headers = request.headers.to_vec();
    headers.extend(added.iter().map(|(name, value)| (*name, value.as_str())));
    let mut names: Vec<String> =
        headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.sort_unstable();
    names.dedup();
    let signed = names.join(";");
    let request = Request { headers: &headers, ..*request };
    let path = canonical::path(request.path, service == "s3");
    let canonical = canonical::request(&request, &path, &signed, body_sha256);
    let string = string_to_sign(&time, scope, &canonical);
    let signature = hex(&mac(credentials.secret_key, scope, &string).finalize().into_bytes());
    let access_key = credentials.access_key;
    let authorization = format!(
        "{ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={signed}, Signature={signature}"
    );
    added.push(("authorization", authorization));
    added
}

fn string_to_sign(time: &str, scope: Scope<'_>, canonical: &str) -> String {
    format!("{ALGORITHM}\n{time}\n{scope}\n{}", sha256_hex(canonical.as_bytes()))
}

/// The signature of a string, not yet taken out: it compares in constant time.
fn mac(secret_key: &str, scope: Scope<'_>, string: &str) -> Hmac<Sha256> {
    let step = |key: &[u8], text: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
        mac.update(text.as_bytes());
        mac
    };
    let key = [scope.region, scope.service, "aws4_request"]
        .into_iter()
        .fold(step(format!("AWS4{secret_key}").as_bytes(), scope.date), |key, text| {
            step(&key.finalize().into_bytes(), text)
        });
    step(&key.finalize().into_bytes(), string)
}

/// Percent-encoded for a path's segment or a query: letters, digits and `-._~` stay.
pub fn uri_encode(text: &str) -> String {
    canonical::encode(text, b"")
}

/// Compares secrets: how long it takes tells nothing of how much is right.
pub fn same(one: &[u8], other: &[u8]) -> bool {
    let (one, other) = (Sha256::digest(one), Sha256::digest(other));
    one.iter().zip(&other).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
