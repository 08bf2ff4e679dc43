//! The one HTTP client of all that the service sends to others: destinations of events, code that
//! lies in an S3, telemetry.
//!
//! ```text
//! events, observe, the binary ─► Client ─┬─ http://  ─► connections, kept for a while
//!                                        └─ https:// ─► the same, by TLS: roots are read on first use
//! ```
//! **Invariant:** nothing of TLS is made before the first request that needs it: neither the start
//! of a service nor its idle memory pays for it. Every answer has an end in time and in bytes, and
//! every error names its endpoint. What a request means is its sender's matter.

mod dial;
mod endpoint;
mod error;
mod pool;
mod signing;
mod trust;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderMap};
use hyper::rt::{Read, Write};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

pub use self::endpoint::{Endpoint, EndpointError};
pub use self::error::{Error, Why};
use self::pool::{Connection, Pool};
pub use self::signing::{Credentials, Signature};
pub use self::trust::Trust;

/// Until a connection stands; the same again for TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends requests. Cheap to clone: clones share their connections.
#[derive(Clone, Debug, Default)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    pool: Arc<Pool>,
    trust: Trust,
    /// Absent until it is needed, and after a certificate that wasn't trusted: who is trusted may
    /// have been set right since.
    tls: Mutex<Option<Arc<ClientConfig>>>,
}

/// What is asked of whom.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub endpoint: &'a Endpoint,
    pub method: Method,
    /// Path and query, percent-encoded.
    pub target: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: Bytes,
    pub signature: Option<Signature<'a>>,
    pub limits: Limits,
}

/// What an exchange may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the first attempt to connect to the last byte of the answer.
    pub time: Duration,
    /// Of the answer's body.
    pub answer_bytes: usize,
}

/// Whatever the status.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// An exchange that came to nothing.
struct Lost {
    why: Why,
    /// The request, if none of it was written.
    unsent: Option<hyper::Request<Full<Bytes>>>,
}

impl Client {
    pub fn new(trust: Trust) -> Self {
        Self { inner: Arc::new(Inner { trust, ..Inner::default() }) }
    }

    /// One exchange. A request whose connection had waited in the pool and is closed before the
    /// answer begins is sent once more, on a new one, if that can do no harm: none of it was
    /// written, or its method is idempotent (RFC 9110, section 9.2.2).
    ///
    /// # Errors
    /// If there is no whole answer within the limits. A status is none.
    pub async fn send(&self, request: Request<'_>) -> Result<Answer, Error> {
        let failed = |why| Error::new(request.endpoint, why);
        let limits = request.limits;
        let made = make(&request).map_err(failed)?;
        let exchange = self.exchange(request.endpoint, made, limits.answer_bytes);
        match tokio::time::timeout(limits.time, exchange).await {
            Ok(answer) => answer.map_err(failed),
            Err(_) => Err(failed(Why::Timeout(limits.time))),
        }
    }

    async fn exchange(
        &self,
        endpoint: &Endpoint,
        request: hyper::Request<Full<Bytes>>,
        answer_bytes_max: usize,
    ) -> Result<Answer, Why> {
        let mut request = request;
        if let Some(connection) = self.inner.pool.take(endpoint) {
            let spare = request.method().is_idempotent().then(|| request.clone());
            match self.over(endpoint, connection, request, answer_bytes_max).await {
                Ok(answer) => return Ok(answer),
                Err(Lost { why: Why::Closed, unsent }) => {
                    request = unsent.or(spare).ok_or(Why::Closed)?;
                }
                Err(Lost { why, .. }) => return Err(why),
            }
        }
        let connection = self.connect(endpoint).await?;
        let answer = self.over(endpoint, connection, request, answer_bytes_max).await;
        answer.map_err(|lost| lost.why)
    }

    async fn over(
        &self,
        endpoint: &Endpoint,
        mut connection: Connection,
        request: hyper::Request<Full<Bytes>>,
        answer_bytes_max: usize,
    ) -> Result<Answer, Lost> {
        let answer = connection.sender.try_send_request(request).await.map_err(|mut error| {
            let unsent = error.take_message();
            Lost { why: Why::of_http(error.into_error()), unsent }
        })?;
        let (head, body) = answer.into_parts();
        let body = whole(body, answer_bytes_max).await;
        let body = body.map_err(|why| Lost { why, unsent: None })?;
        self.inner.pool.put(endpoint, connection);
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Connection, Why> {
        let (host, port) = endpoint.address();
        let stream = in_time(dial::dial(host, port)).await?.map_err(Why::Connect)?;
        let _ = stream.set_nodelay(true);
        if !endpoint.is_secure() {
            return handshake(TokioIo::new(stream)).await;
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Why::HostName)?;
        let connector = TlsConnector::from(self.tls().await?);
        let stream = in_time(connector.connect(name, stream)).await?;
        let stream = stream.map_err(|error| Why::of_tls(error, &self.inner.trust));
        if let Err(Why::Untrusted(_)) = stream {
            *self.inner.tls.lock().await = None;
        }
        handshake(TokioIo::new(stream?)).await
    }

    async fn tls(&self) -> Result<Arc<ClientConfig>, Why> {
        let mut tls = self.inner.tls.lock().await;
        if let Some(tls) = &*tls {
            return Ok(tls.clone());
        }
        let trust = self.inner.trust.clone();
        let config = tokio::task::spawn_blocking(move || trust.config());
        // Only the end of the service stops it.
        let config = config.await.map_err(|_| Why::Closed)??;
        Ok(tls.insert(Arc::new(config)).clone())
    }
}

/// A body as one piece of memory, of its own size if it tells that.
async fn whole(mut body: Incoming, bytes_max: usize) -> Result<Bytes, Why> {
    let told = body.size_hint().exact().unwrap_or_default();
    let told = usize::try_from(told).ok().filter(|told| *told <= bytes_max);
    let mut whole = Vec::with_capacity(told.ok_or(Why::TooLong(bytes_max))?);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Why::Answer(error.into()))?;
        let Some(data) = frame.data_ref() else { continue };
        if data.len() > bytes_max - whole.len() {
            return Err(Why::TooLong(bytes_max));
        }
        whole.extend_from_slice(data);
    }
    Ok(whole.into())
}

async fn in_time<T>(connect: impl Future<Output = io::Result<T>>) -> Result<io::Result<T>, Why> {
    tokio::time::timeout(CONNECT_TIMEOUT, connect).await.map_err(|_| Why::ConnectTimeout)
}

async fn handshake(stream: impl Read + Write + Unpin + Send + 'static) -> Result<Connection, Why> {
    let (sender, connection) = http1::handshake(stream).await.map_err(Why::of_http)?;
    let task = tokio::spawn(connection).abort_handle();
    Ok(Connection { sender, task })
}

fn make(request: &Request<'_>) -> Result<hyper::Request<Full<Bytes>>, Why> {
    let Request { endpoint, method, target, headers, body, signature, .. } = request;
    let mut made = hyper::Request::builder().method(method).uri(*target);
    made = made.header(HOST, endpoint.authority());
    for (name, value) in *headers {
        made = made.header(*name, *value);
    }
    if let Some(signature) = signature {
        for (name, value) in signature.headers(request) {
            made = made.header(name, value);
        }
    }
    made.body(Full::new(body.clone())).map_err(Why::Request)
}

#[cfg(test)]
mod tests;
