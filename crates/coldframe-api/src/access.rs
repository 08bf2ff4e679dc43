//! Who may come in (service-api.md §9.2–9.5): signatures, checked or taken on trust.
//!
//! ```text
//! headers ─► admit: which key, whose is it ─► (the body is read) ─► Admitted::verify ─► Caller
//! ```
//! Whoever has no key, or an old signature, is sent away before the body is read.

pub(crate) mod policy;
pub(crate) mod temporary;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use coldframe_core::AccountId;
use coldframe_core::identity::{Identity, Principal, Sessions};
use coldframe_core::sigv4::{self, Presented, Refusal};
use coldframe_store::Store;
use hyper::http::request::Parts;

use crate::Error;
use crate::caller::{Caller, region_or};

/// Longer bodies are hashed off the event loop.
const HASHED_AT_ONCE_BYTES_MAX: usize = 256 * 1024;

/// Whether signatures are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Any signature or none: a twelve-digit access key is the account.
    Open,
    /// Only what a key of the store, or of a living environment, has signed.
    Sigv4,
}

/// The door.
pub(crate) struct Access {
    pub(crate) authentication: Authentication,
    /// Knows the credentials of environments.
    pub(crate) sessions: Arc<dyn Sessions>,
    pub(crate) default_region: Arc<str>,
}

/// Why somebody isn't let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("Missing Authentication Token")]
    Unsigned,
    #[error("{0}")]
    Signature(#[from] Refusal),
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    #[error("The security token included in the request is expired")]
    Expired,
}

impl Denied {
    /// The code of services that speak JSON, and of those that speak XML.
    pub fn codes(&self) -> (&'static str, &'static str) {
        match self {
            Self::Unsigned => ("MissingAuthenticationTokenException", "MissingAuthenticationToken"),
            Self::Signature(Refusal::Incomplete(_)) => {
                ("IncompleteSignatureException", "IncompleteSignature")
            }
            Self::Signature(Refusal::Invalid(_)) => {
                ("InvalidSignatureException", "SignatureDoesNotMatch")
            }
            Self::UnknownKey => ("UnrecognizedClientException", "InvalidClientTokenId"),
            Self::Expired => ("ExpiredTokenException", "ExpiredToken"),
        }
    }
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        Self::new(denied.codes().0, denied.to_string())
    }
}

/// A request whose key is known; its signature is still to be checked against the body.
pub(crate) struct Admitted {
    caller: Caller,
    /// The signature and the secret it must have been made with; absent where none is checked.
    proof: Option<(Presented, String)>,
}

/// A request's head as signatures see it.
struct Head<'a> {
    headers: Vec<(&'a str, &'a str)>,
    parts: &'a Parts,
}

impl<'a> Head<'a> {
    fn of(parts: &'a Parts) -> Self {
        let text = |value: &'a hyper::header::HeaderValue| std::str::from_utf8(value.as_bytes());
        let headers = parts.headers.iter();
        let mut headers: Vec<(&str, &str)> =
            headers.filter_map(|(name, value)| Some((name.as_str(), text(value).ok()?))).collect();
        // HTTP/2 has the host in front.
        if let Some(authority) = parts.uri.authority()
            && !parts.headers.contains_key("host")
        {
            headers.push(("host", authority.as_str()));
        }
        Self { headers, parts }
    }

    fn request(&self) -> sigv4::Request<'_> {
        sigv4::Request {
            method: self.parts.method.as_str(),
            path: self.parts.uri.path(),
            query: self.parts.uri.query().unwrap_or_default(),
            headers: &self.headers,
        }
    }
}

impl Access {
    /// Whose request this is, as far as its head tells.
    pub(crate) fn admit(&self, store: &Store, parts: &Parts) -> Result<Admitted, Denied> {
        let head = Head::of(parts);
        let presented = match (self.authentication, Presented::read(&head.request())) {
            (_, Ok(presented)) => presented,
            (Authentication::Open, Err(_)) => None,
            (Authentication::Sigv4, Err(refusal)) => return Err(refusal.into()),
        };
        if self.authentication == Authentication::Open {
            return Ok(Admitted { caller: self.trusted(store, presented), proof: None });
        }
        let presented = presented.ok_or(Denied::Unsigned)?;
        let (secret_key, identity) = self.known(store, &presented)?;
        presented.check_time(now())?;
        Ok(Admitted {
            caller: self.caller(identity, Some(&presented)),
            proof: Some((presented, secret_key)),
        })
    }

    /// Who has not signed; `None` where one must.
    pub(crate) fn anybody(&self) -> Option<Admitted> {
        (self.authentication == Authentication::Open).then(|| {
            let identity = Identity::root(AccountId::default_account());
            Admitted { caller: self.caller(identity, None), proof: None }
        })
    }

    /// Secret and owner of the key that a request was signed with.
    fn known(&self, store: &Store, presented: &Presented) -> Result<(String, Identity), Denied> {
        let Some(token) = presented.session_token.as_deref() else {
            let key = store.key(&presented.access_key).ok_or(Denied::UnknownKey)?;
            let account = AccountId::parse(&key.account).ok_or(Denied::UnknownKey)?;
            let identity = Identity { account, principal: Principal::User(key.user.clone()) };
            return Ok((key.secret_key.clone(), identity));
        };
        let living = self.sessions.session(&presented.access_key);
        let Some(session) = living else {
            return temporary::read(store.session_secret(), &presented.access_key, token, now());
        };
        if !sigv4::same(token.as_bytes(), session.session_token.as_bytes()) {
            return Err(Denied::UnknownKey);
        }
        Ok((session.secret_key, session.identity))
    }

    /// Where nothing is checked: a known key is its owner, any other its account.
    fn trusted(&self, store: &Store, presented: Option<Presented>) -> Caller {
        let known = presented.as_ref().and_then(|presented| self.known(store, presented).ok());
        let identity = known.map_or_else(
            || {
                let key = presented.as_ref().map(|presented| presented.access_key.as_str());
                let account = key.and_then(AccountId::parse);
                Identity::root(account.unwrap_or_else(AccountId::default_account))
            },
            |(_, identity)| identity,
        );
        self.caller(identity, presented.as_ref())
    }

    fn caller(&self, identity: Identity, presented: Option<&Presented>) -> Caller {
        let (access_key, region, service) = match presented {
            Some(Presented { access_key, region, service, .. }) => {
                (access_key.as_str(), region.as_str(), service.as_str())
            }
            None => ("", "", ""),
        };
        Caller {
            account: identity.account.clone(),
            region: region_or(region, &self.default_region),
            access_key: access_key.to_owned(),
            service: service.to_owned(),
            identity,
        }
    }
}

impl Admitted {
    /// Whether anything is signed at all.
    pub(crate) fn is_signed(&self) -> bool {
        !self.caller.access_key.is_empty()
    }

    /// A signature holds for one service.
    pub(crate) fn check_service(&self, service: &str) -> Result<(), Denied> {
        if self.proof.is_none() || self.caller.service == service {
            return Ok(());
        }
        let text = format!("Credential should be scoped to correct service: '{service}'. ");
        Err(Refusal::Invalid(text).into())
    }

    /// Whether it has signed this body, too. `body` is as it came over the wire.
    pub(crate) async fn verify(self, parts: &Parts, body: &Bytes) -> Result<Caller, Denied> {
        if let Some((presented, secret_key)) = &self.proof {
            let body_sha256 = sha256(body).await;
            let head = Head::of(parts);
            presented.verify(&head.request(), secret_key, &body_sha256, now())?;
        }
        Ok(self.caller)
    }
}

/// Off the event loop if it takes long.
async fn sha256(body: &Bytes) -> String {
    if body.len() < HASHED_AT_ONCE_BYTES_MAX {
        return sigv4::sha256_hex(body);
    }
    let body = body.clone();
    let hash = tokio::task::spawn_blocking(move || sigv4::sha256_hex(&body)).await;
    // No hash: no signature fits it.
    hash.unwrap_or_default()
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
