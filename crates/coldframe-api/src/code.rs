//! `Code.Location` of GetFunction: the zip at a signed path of this endpoint, for ten minutes.

use std::io::ErrorKind;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use coldframe_core::packages::PackageError;
use hmac::{Hmac, KeyInit, Mac};
use hyper::Response;
use sha2::Sha256;
use uuid::Uuid;

use crate::policy::not_found;
use crate::{Error, Reply, Service, set};

/// Begins the paths.
pub(crate) const PATH: &str = "/_coldframe/code/";

/// AWS: "GetFunction", `Location` is valid for 10 minutes.
const VALID: Duration = Duration::from_secs(600);

/// Signs paths; another at each start.
pub(crate) struct Key([u8; 32]);

impl Key {
    pub(crate) fn new() -> Self {
        let mut key = [0; 32];
        key[..16].copy_from_slice(Uuid::new_v4().as_bytes());
        key[16..].copy_from_slice(Uuid::new_v4().as_bytes());
        Self(key)
    }

    fn mac(&self, hex: &str, expires: u64) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of every length");
        mac.update(format!("{hex}/{expires}").as_bytes());
        mac
    }

    /// The address of a package.
    pub(crate) fn location(&self, host: &str, hex: &str) -> String {
        let expires = now() + VALID.as_secs();
        let signature = self.mac(hex, expires).finalize().into_bytes();
        let signature = self::hex(&signature);
        format!("http://{host}{PATH}{hex}?Expires={expires}&Signature={signature}")
    }

    fn verify(&self, hex: &str, expires: u64, signature: &str) -> bool {
        parse_hex::<32>(signature)
            .is_some_and(|given| self.mac(hex, expires).verify_slice(&given).is_ok())
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// `CodeSha256`, from hex.
pub(crate) fn base64_of_hex(hex: &str) -> String {
    let bytes = parse_hex::<32>(hex).unwrap_or_default();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Two lower-case digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lower-case hex digits of exactly `N` bytes.
pub(crate) fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

impl Service {
    /// Serves a signed path.
    pub(crate) fn code(&self, hex: &str, query: &str) -> Result<Reply, Error> {
        let refused =
            || Error::new("AccessDeniedException", "Request has expired or its signature is wrong");
        let pairs = crate::model::query_pairs(query)?;
        let get =
            |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let expires = get("Expires").and_then(|text| text.parse().ok()).ok_or_else(refused)?;
        let sha256 = parse_hex(hex).ok_or_else(refused)?;
        if !self.code_key.verify(hex, expires, get("Signature").unwrap_or_default())
            || expires < now()
        {
            return Err(refused());
        }
        let zip = self.packages.zip(&sha256).map_err(|error| match error {
            PackageError::Io(error) if error.kind() == ErrorKind::NotFound => {
                not_found("No function or layer has this package any more.")
            }
            error => Error::service(&error),
        })?;
        let mut reply = Response::new(crate::whole(zip));
        set(reply.headers_mut(), "content-type", "application/zip");
        Ok(reply)
    }
}
