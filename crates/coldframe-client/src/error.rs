//! Why there was no answer, in words that help to put it right.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use rustls::{CertificateError, Error as TlsError};

use crate::{CONNECT_TIMEOUT, Endpoint, Trust};

/// An exchange failed. The message names the endpoint, `source` says why.
#[derive(Debug, thiserror::Error)]
#[error("no answer came from {endpoint}")]
pub struct Error {
    /// As a URL.
    pub endpoint: String,
    #[source]
    pub why: Why,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    #[error("the request cannot be made")]
    Request(#[source] hyper::http::Error),
    #[error("the certificates of {trust} cannot be read")]
    Roots {
        trust: String,
        #[source]
        error: io::Error,
    },
    #[error("it cannot be reached")]
    Connect(#[source] io::Error),
    #[error("it took no connection within {CONNECT_TIMEOUT:?}")]
    ConnectTimeout,
    #[error("it did not answer within {0:?}")]
    Timeout(Duration),
    #[error("its host is no name that a certificate could be for")]
    HostName,
    /// With what is trusted.
    #[error("its certificate is signed by no authority of {0}")]
    Untrusted(String),
    #[error("its certificate is for {0}, not for this host")]
    Misnamed(String),
    #[error("its certificate is one of an authority itself: a server needs one that isn't")]
    Authority,
    #[error("its certificate is not valid")]
    Certificate(#[source] TlsError),
    #[error("it does not speak TLS: is it http?")]
    NoTls,
    #[error("TLS could not be agreed on with it")]
    Tls(#[source] TlsError),
    #[error("it closed the connection before it answered")]
    Closed,
    #[error("it does not speak HTTP as it should")]
    Http(#[source] hyper::Error),
    #[error("its answer was cut")]
    Answer(#[source] Box<dyn StdError + Send + Sync>),
    #[error("its answer is longer than {0} bytes")]
    TooLong(usize),
}

impl Error {
    pub(crate) fn new(endpoint: &Endpoint, why: Why) -> Self {
        Self { endpoint: endpoint.to_string(), why }
    }

    /// With all causes, for a log or a caller.
    pub fn chain(&self) -> String {
        coldframe_core::error::chain(self)
    }
}

impl Why {
    pub(crate) fn of_http(error: hyper::Error) -> Self {
        let lost = [
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::BrokenPipe,
            io::ErrorKind::UnexpectedEof,
        ];
        let io = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
        let closed = error.is_incomplete_message()
            || error.is_canceled()
            || error.is_closed()
            || io.is_some_and(|io| lost.contains(&io.kind()));
        if closed { Self::Closed } else { Self::Http(error) }
    }

    /// Of a handshake.
    pub(crate) fn of_tls(error: io::Error, trust: &Trust) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
        let Some(tls) = tls else { return Self::Connect(error) };
        let error = tls.clone();
        match &error {
            TlsError::InvalidCertificate(CertificateError::UnknownIssuer) => {
                Self::Untrusted(trust.to_string())
            }
            TlsError::InvalidCertificate(CertificateError::NotValidForNameContext {
                presented,
                ..
            }) => {
                let names = presented.iter().map(|name| shown(name)).collect::<Vec<_>>();
                Self::Misnamed(if names.is_empty() { "no name".into() } else { names.join(", ") })
            }
            TlsError::InvalidCertificate(CertificateError::Other(other))
                if other.0.to_string() == "CaUsedAsEndEntity" =>
            {
                Self::Authority
            }
            TlsError::InvalidCertificate(_) => Self::Certificate(error),
            TlsError::InvalidMessage(_) => Self::NoTls,
            _ => Self::Tls(error),
        }
    }
}

/// `localhost` of `DnsName("localhost")`.
fn shown(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.map_or(name, |inner| inner.trim_matches('"'))
}
