//! A small client of a running service: the CLI uses the same doors as everybody.

use anyhow::{Context, bail};
use bytes::Bytes;
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
        Ok(Self { host, sender })
    }

    /// One request; the answer's body is still to be read.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(path).header("host", &self.host);
        for (name, value) in headers {
            request = request.header(*name, *value);
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

/// The service's words for what went wrong.
pub(crate) fn message(status: StatusCode, body: &[u8]) -> String {
    let said = serde_json::from_slice::<Value>(body).ok();
    let said = said.as_ref().and_then(|body| {
        ["message", "Message", "errorMessage"].iter().find_map(|key| body[*key].as_str())
    });
    said.map_or_else(|| format!("the service answered {status}"), str::to_owned)
}
