//! Signed requests to other services, at endpoints that were configured.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use coldframe_core::sigv4;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::http::uri::Authority;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Options;

/// A whole exchange.
const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Of an answer, bytes: none that matters is longer.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// Of an answer that is an error, bytes shown.
const SHOWN_BYTES_MAX: usize = 500;

/// `http://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    authority: Authority,
}

/// No such endpoint can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("https is not supported yet: put a proxy in front that speaks http here")]
    Https,
    #[error("an endpoint is http://HOST:PORT")]
    Malformed,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if text.starts_with("https:") {
            return Err(EndpointError::Https);
        }
        let rest = text.strip_prefix("http://").ok_or(EndpointError::Malformed)?;
        let authority: Authority =
            rest.trim_end_matches('/').parse().map_err(|_| EndpointError::Malformed)?;
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(EndpointError::Malformed);
        }
        Ok(Self { authority })
    }
}

impl Endpoint {
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What is connected to.
    fn address(&self) -> (&str, u16) {
        let host = self.authority.host().trim_matches(['[', ']']);
        (host, self.authority.port_u16().unwrap_or(80))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.authority)
    }
}

/// Where other services are. What isn't given can't be reached.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    pub sqs: Option<Endpoint>,
    pub sns: Option<Endpoint>,
    pub eventbridge: Option<Endpoint>,
    pub s3: Option<Endpoint>,
}

/// What requests are signed with.
#[derive(Clone)]
pub struct Credentials {
    pub access_key: String,
    pub secret_key: String,
    pub session_token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

/// A request did not do what it was for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no endpoint of {0} is configured")]
    NoEndpoint(&'static str),
    #[error("{0} is no destination that can be spoken to")]
    NoDestination(String),
    #[error("cannot reach {0}")]
    Connect(String, #[source] std::io::Error),
    #[error("the service did not answer in time")]
    Timeout,
    #[error("the service cannot be spoken to")]
    Http(#[source] hyper::Error),
    #[error("the request cannot be made")]
    Request(#[source] hyper::http::Error),
    #[error("the service's answer was cut or is too long")]
    Answer,
    #[error("the service answered {status}: {body}")]
    Status { status: u16, body: String },
    /// It answered well, and did not do it.
    #[error("the service did not take it: {0}")]
    NotTaken(String),
}

impl Error {
    /// Trying again would give the same.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::NoEndpoint(_) | Self::NoDestination(_) | Self::Request(_) => true,
            Self::Status { status, .. } => *status < 500 && *status != 429 && *status != 408,
            Self::Connect(..)
            | Self::Timeout
            | Self::Http(_)
            | Self::Answer
            | Self::NotTaken(_) => false,
        }
    }
}

/// A request to be signed.
pub(crate) struct Signed<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) method: Method,
    /// Percent-encoded.
    pub(crate) path: &'a str,
    pub(crate) region: &'a str,
    /// The signing name.
    pub(crate) service: &'static str,
    pub(crate) headers: &'a [(&'static str, &'a str)],
    pub(crate) body: Bytes,
}

/// Sends it; any answer but success is an error. The answer's body.
pub(crate) async fn send(options: &Options, request: Signed<'_>) -> Result<Bytes, Error> {
    tokio::time::timeout(TIMEOUT, exchange(options, request)).await.map_err(|_| Error::Timeout)?
}

async fn exchange(options: &Options, signed: Signed<'_>) -> Result<Bytes, Error> {
    let request = sign(&options.credentials, &signed)?;
    let address = signed.endpoint.address();
    let connect = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address));
    let stream = connect.await.map_err(|_| Error::Timeout)?;
    let stream = stream.map_err(|error| Error::Connect(signed.endpoint.url(), error))?;
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(Error::Http)?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(Error::Http);
    let result = match answer {
        Ok(answer) => {
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|_| Error::Answer).map(|body| body.to_bytes());
            body.and_then(
                |body| if status.is_success() { Ok(body) } else { Err(refused(status, &body)) },
            )
        }
        Err(error) => Err(error),
    };
    connection.abort();
    result
}

fn refused(status: hyper::StatusCode, body: &[u8]) -> Error {
    let body = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES_MAX)]).into_owned();
    Error::Status { status: status.as_u16(), body }
}

fn sign(credentials: &Credentials, signed: &Signed<'_>) -> Result<Request<Full<Bytes>>, Error> {
    let mut headers = vec![("host", signed.endpoint.authority.as_str())];
    headers.extend_from_slice(signed.headers);
    let request = sigv4::Request {
        method: signed.method.as_str(),
        path: signed.path,
        query: "",
        headers: &headers,
    };
    let credentials = sigv4::Credentials {
        access_key: &credentials.access_key,
        secret_key: &credentials.secret_key,
        session_token: credentials.session_token.as_deref(),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let scope = (signed.region, signed.service);
    let body_sha256 = sigv4::sha256_hex(&signed.body);
    let added = sigv4::sign(&request, &body_sha256, &credentials, scope, now);
    let mut request = Request::builder().method(&signed.method).uri(signed.path);
    for (name, value) in &headers {
        request = request.header(*name, *value);
    }
    for (name, value) in added {
        request = request.header(name, value);
    }
    request.body(Full::new(signed.body.clone())).map_err(Error::Request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_plain_http() {
        let check = |text: &str, address: Result<(&str, u16), EndpointError>| {
            let found = text.parse::<Endpoint>();
            let found = found.as_ref().map(Endpoint::address).map_err(|error| *error);
            assert_eq!(found, address, "{text}");
        };
        check("http://127.0.0.1:5000", Ok(("127.0.0.1", 5000)));
        check("http://127.0.0.1:5000/", Ok(("127.0.0.1", 5000)));
        check("http://minio", Ok(("minio", 80)));
        check("http://[::1]", Ok(("::1", 80)));
        check("http://[::1]:9000", Ok(("::1", 9000)));
        check("https://sqs.eu-west-1.amazonaws.com", Err(EndpointError::Https));
        check("http://host/path", Err(EndpointError::Malformed));
        check("http://user@host", Err(EndpointError::Malformed));
        check("http://", Err(EndpointError::Malformed));
        check("127.0.0.1:5000", Err(EndpointError::Malformed));
    }
}
