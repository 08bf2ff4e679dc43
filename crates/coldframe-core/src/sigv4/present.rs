//! Signatures of others: read, then checked against the secret.

use hmac::Mac;

use super::{ALGORITHM, Request, Scope, UNSIGNED_PAYLOAD, canonical, mac, string_to_sign};
use super::{parse_time, time, time::of_http_date};

/// How far the clocks of caller and service may differ, and for how long a signature can be sent
/// again, seconds. AWS: 5 minutes (service-api.md §9.5).
pub const SKEW_S: u64 = 300;

/// `X-Amz-Expires`, seconds. AWS: a week.
const EXPIRES_S_MAX: u64 = 604_800;

/// A signature as the request presents it; nothing in it is believed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    pub access_key: String,
    pub session_token: Option<String>,
    date: String,
    pub region: String,
    pub service: String,
    /// `YYYYMMDDThhmmssZ`
    time: String,
    signed_headers: String,
    signature: String,
    /// Of a presigned request: how long it holds, seconds.
    expires_s: Option<u64>,
}

/// Why a request isn't let in, in AWS's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `IncompleteSignature`: it isn't formed as signatures are.
    #[error("{0}")]
    Incomplete(String),
    /// `InvalidSignature`: formed well, and doesn't hold.
    #[error("{0}")]
    Invalid(String),
}

impl Refusal {
    fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }
}

impl Presented {
    /// Reads the signature off the header, or else the query; `None` if the request has none.
    ///
    /// # Errors
    /// [`Refusal::Incomplete`] if there is one and it isn't whole.
    pub fn read(request: &Request<'_>) -> Result<Option<Self>, Refusal> {
        if let Some(authorization) = request.header("authorization") {
            return Self::of_header(request, authorization).map(Some);
        }
        let parameters = Parameters::read(request.query);
        let is_presigned = parameters.get("X-Amz-Algorithm").is_some()
            || parameters.get("X-Amz-Credential").is_some()
            || parameters.get("X-Amz-Signature").is_some();
        if is_presigned { Self::of_query(&parameters).map(Some) } else { Ok(None) }
    }

    fn of_header(request: &Request<'_>, authorization: &str) -> Result<Self, Refusal> {
        let (algorithm, rest) = authorization.split_once(' ').unwrap_or((authorization, ""));
        if algorithm != ALGORITHM {
            return Err(Refusal::Incomplete(format!(
                "Unsupported AWS 'algorithm': '{algorithm}'. Authorization={authorization}"
            )));
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for part in rest.split(',') {
            let Some((name, value)) = part.trim().split_once('=') else {
                return Err(Refusal::Incomplete(format!(
                    "'{}' not a valid key=value pair (missing equal-sign) in Authorization header: '{authorization}'.",
                    part.trim()
                )));
            };
            match name {
                "Credential" => credential = Some(value),
                "SignedHeaders" => signed_headers = Some(value),
                "Signature" => signature = Some(value),
                _ => {}
            }
        }
        // Clients that can set no header but HTTP's own have the time there.
        let date = || request.header("date");
        let of_date = || date().and_then(of_http_date).or_else(|| date().map(str::to_owned));
        let time = request.header("x-amz-date").map(str::to_owned).or_else(of_date);
        let (Some(credential), Some(signed_headers), Some(signature), Some(time)) =
            (credential, signed_headers, signature, time.as_deref())
        else {
            let lacks = |name: &str, value: Option<&str>| match value {
                Some(_) => String::new(),
                None => format!("Authorization header requires '{name}' parameter. "),
            };
            let mut text = lacks("Credential", credential)
                + &lacks("Signature", signature)
                + &lacks("SignedHeaders", signed_headers);
            if time.is_none() {
                text += "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ";
            }
            return Err(Refusal::Incomplete(format!("{text}Authorization={authorization}")));
        };
        let token = request.header("x-amz-security-token").map(str::to_owned);
        Self::of_parts(credential, time, signed_headers, signature, token, None)
    }

    fn of_query(parameters: &Parameters) -> Result<Self, Refusal> {
        const NAMES: [&str; 5] = [
            "X-Amz-Algorithm",
            "X-Amz-Credential",
            "X-Amz-Signature",
            "X-Amz-SignedHeaders",
            "X-Amz-Date",
        ];
        let [Some(algorithm), Some(credential), Some(signature), Some(signed_headers), Some(time)] =
            NAMES.map(|name| parameters.get(name))
        else {
            let mut text = String::new();
            for name in NAMES.iter().filter(|name| parameters.get(name).is_none()) {
                text += &format!("AWS query-string parameters must include '{name}'. ");
            }
            return Err(Refusal::Incomplete(text + "Re-examine the query-string parameters."));
        };
        if algorithm != ALGORITHM {
            let text = format!("Unsupported AWS 'algorithm': '{algorithm}'.");
            return Err(Refusal::Incomplete(text));
        }
        let expires_s =
            match parameters.get("X-Amz-Expires") {
                None => SKEW_S,
                Some(text) => {
                    let seconds: Option<u64> = text.parse().ok();
                    seconds.filter(|seconds| (1..=EXPIRES_S_MAX).contains(seconds)).ok_or_else(|| {
                    Refusal::Incomplete(format!(
                        "X-Amz-Expires must be a number of seconds from 1 to {EXPIRES_S_MAX}."
                    ))
                })?
                }
            };
        let token = parameters.get("X-Amz-Security-Token").map(str::to_owned);
        Self::of_parts(credential, time, signed_headers, signature, token, Some(expires_s))
    }

    fn of_parts(
        credential: &str,
        time: &str,
        signed_headers: &str,
        signature: &str,
        session_token: Option<String>,
        expires_s: Option<u64>,
    ) -> Result<Self, Refusal> {
        // Read from behind: an access key may hold a slash.
        let mut parts = credential.rsplitn(5, '/');
        let [Some("aws4_request"), Some(service), Some(region), Some(date), Some(access_key)] =
            [parts.next(), parts.next(), parts.next(), parts.next(), parts.next()]
        else {
            return Err(Refusal::Incomplete(format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{credential}'"
            )));
        };
        Ok(Self {
            access_key: access_key.to_owned(),
            session_token,
            date: date.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            time: time.to_owned(),
            signed_headers: signed_headers.to_owned(),
            signature: signature.to_owned(),
            expires_s,
        })
    }

    /// Whether the request was signed with this secret, lately. `request` is the one it was read
    /// from, `body_sha256` the hash of the body as it came, `now` seconds since 1970.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if not.
    pub fn verify(
        &self,
        request: &Request<'_>,
        secret_key: &str,
        body_sha256: &str,
        now: u64,
    ) -> Result<(), Refusal> {
        self.check_time(now)?;
        let is_signed = |name: &str| self.signed_headers.split(';').any(|signed| signed == name);
        if !is_signed("host") {
            return Err(Refusal::invalid(
                "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
            ));
        }
        let declared = request.header("x-amz-content-sha256");
        let is_unsigned = declared == Some(UNSIGNED_PAYLOAD)
            && (is_signed("x-amz-content-sha256") || self.service == "s3")
            || self.service == "s3" && self.expires_s.is_some();
        let body_sha256 = if is_unsigned { UNSIGNED_PAYLOAD } else { body_sha256 };
        let normal = canonical::path(request.path, self.service == "s3");
        // Some clients sign the path as they send it, dots and all.
        let as_sent = canonical::path_as_sent(request.path);
        if self.holds(request, &normal, secret_key, body_sha256)
            || self.service != "s3"
                && as_sent != normal
                && self.holds(request, &as_sent, secret_key, body_sha256)
        {
            return Ok(());
        }
        Err(Refusal::invalid(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
        ))
    }

    fn holds(
        &self,
        request: &Request<'_>,
        path: &str,
        secret_key: &str,
        body_sha256: &str,
    ) -> bool {
        let scope = Scope { date: &self.date, region: &self.region, service: &self.service };
        let canonical = canonical::request(request, path, &self.signed_headers, body_sha256);
        let mac = mac(secret_key, scope, &string_to_sign(&self.time, scope, &canonical));
        let (pairs, rest) = self.signature.as_bytes().as_chunks::<2>();
        let given: Option<Vec<u8>> = pairs.iter().map(|pair| canonical::byte(*pair)).collect();
        // In constant time: how much of a guess was right is nobody's matter.
        rest.is_empty() && given.is_some_and(|given| mac.verify_slice(&given).is_ok())
    }

    /// Whether it was made lately, or holds still; [`Self::verify`] asks so, too.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if not.
    pub fn check_time(&self, now: u64) -> Result<(), Refusal> {
        let signed = parse_time(&self.time).ok_or_else(|| {
            let given = &self.time;
            Refusal::Incomplete(format!(
                "Date must be in ISO-8601 'basic format'. Got '{given}'. See http://en.wikipedia.org/wiki/ISO_8601"
            ))
        })?;
        if self.date != self.time[..8] {
            return Err(Refusal::invalid(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != '{}', from '{}'.",
                self.date,
                &self.time[..8],
                self.time
            )));
        }
        let valid_s = self.expires_s.unwrap_or(SKEW_S);
        let shown = |seconds: u64| match seconds {
            whole if whole % 60 == 0 => format!("{} min.", whole / 60),
            seconds => format!("{seconds} s."),
        };
        if signed.saturating_add(valid_s) < now {
            return Err(Refusal::invalid(format!(
                "Signature expired: {} is now earlier than {} ({} - {})",
                self.time,
                time(now.saturating_sub(valid_s)),
                time(now),
                shown(valid_s)
            )));
        }
        if signed > now.saturating_add(SKEW_S) {
            return Err(Refusal::invalid(format!(
                "Signature not yet current: {} is still later than {} ({} + {})",
                self.time,
                time(now + SKEW_S),
                time(now),
                shown(SKEW_S)
            )));
        }
        Ok(())
    }
}

/// The query's pairs, decoded.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn read(query: &str) -> Self {
        if !query.contains("X-Amz-") {
            return Self(Vec::new());
        }
        let text = |raw| String::from_utf8_lossy(&canonical::decode(raw)).into_owned();
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(name, value)| (text(name), text(value))).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}
