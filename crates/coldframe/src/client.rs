//! A small client of a running service: the CLI uses the same doors as everybody.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use bytes::Bytes;
use coldframe_core::sigv4;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

pub(crate) struct Client {
    host: String,
    sender: http1::SendRequest<Full<Bytes>>,
    signer: Option<Signer>,
}

/// What AWS's tools sign with, too.
struct Signer {
    access_key: String,
    secret_key: String,
    session_token: Option<String>,
    region: String,
}

impl Client {
    /// Connects to `http://HOST:PORT`.
    pub(crate) async fn connect(endpoint: &str) -> anyhow::Result<Self> {
        let Some(host) = endpoint.strip_prefix("http://") else {
            bail!("the endpoint {endpoint} must begin with http://");
        };
        let host = host.trim_end_matches('/').to_owned();
        let stream = TcpStream::connect(&host).await.with_context(|| {
            format!("no coldframe answers at {endpoint}: start one by `coldframe up`, or give its --endpoint-url")
        })?;
        stream.set_nodelay(true).context("cannot set up the connection")?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.context("cannot speak HTTP")?;
        tokio::spawn(connection);
        Ok(Self { host, sender, signer: None })
    }

    /// Signs requests with the key that the environment holds, if it holds one.
    pub(crate) fn signing(mut self) -> Self {
        let get = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let region = get("AWS_REGION").or_else(|| get("AWS_DEFAULT_REGION"));
        if let (Some(access_key), Some(secret_key)) =
            (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY"))
        {
            let region = region.unwrap_or_else(|| "us-east-1".to_owned());
            let session_token = get("AWS_SESSION_TOKEN");
            self.signer = Some(Signer { access_key, secret_key, session_token, region });
        }
        self
    }

    /// One request; the answer's body is still to be read.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> anyhow::Result<Response<Incoming>> {
        let mut all = vec![("host", self.host.as_str())];
        all.extend_from_slice(headers);
        let signature =
            self.signer.as_ref().map(|signer| signer.sign(method.as_str(), path, &all, &body));
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in all {
            request = request.header(name, value);
        }
        for (name, value) in signature.unwrap_or_default() {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).context("cannot make the request")?;
        self.sender.ready().await.context("the service has closed the connection")?;
        self.sender.send_request(request).await.context("the service did not answer")
    }

    /// One JSON request; any answer but success is an error with the service's words.
    pub(crate) async fn json(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let body = body.map(|body| body.to_string().into()).unwrap_or_default();
        let response = self.send(method, path, &[], body).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await.context("the answer was cut")?.to_bytes();
        if !status.is_success() {
            bail!("{}", message(status, &bytes));
        }
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).context("the answer is no JSON")
    }
}

impl Signer {
    fn sign(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Vec<(&'static str, String)> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let credentials = sigv4::Credentials {
            access_key: &self.access_key,
            secret_key: &self.secret_key,
            session_token: self.session_token.as_deref(),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        sigv4::sign(
            &sigv4::Request { method, path, query, headers },
            &sigv4::sha256_hex(body),
            &credentials,
            (&self.region, "lambda"),
            now,
        )
    }
}

/// The service's words for what went wrong.
pub(crate) fn message(status: StatusCode, body: &[u8]) -> String {
    let said = serde_json::from_slice::<Value>(body).ok();
    let said = said.as_ref().and_then(|body| {
        ["message", "Message", "errorMessage"].iter().find_map(|key| body[*key].as_str())
    });
    said.map_or_else(|| format!("the service answered {status}"), str::to_owned)
}
