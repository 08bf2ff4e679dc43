//! Objects from the S3 that `--s3-endpoint` names: plain HTTP, the bucket in the path, signed if the
//! service's own environment has keys.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use coldframe_core::limits::UNZIPPED_BYTES_MAX;
use coldframe_core::objects::{Object, ObjectError, Objects};
use coldframe_core::{BoxFuture, sigv4};
use coldframe_events::Endpoint;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::http::uri::Authority;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A whole exchange, whatever the size of the object.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Objects of one S3, or of none.
pub(crate) struct S3 {
    endpoint: Option<Endpoint>,
    credentials: Option<Credentials>,
}

struct Credentials {
    access_key: String,
    secret_key: String,
    session_token: Option<String>,
}

impl S3 {
    /// With the usual variables of the service's environment, or unsigned.
    pub(crate) fn new(endpoint: Option<Endpoint>) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let credentials = variable("AWS_ACCESS_KEY_ID").zip(variable("AWS_SECRET_ACCESS_KEY"));
        let credentials = credentials.map(|(access_key, secret_key)| Credentials {
            access_key,
            secret_key,
            session_token: variable("AWS_SESSION_TOKEN"),
        });
        Self { endpoint, credentials }
    }

    async fn fetch(&self, object: &Object) -> Result<Bytes, ObjectError> {
        let authority = self.endpoint.as_ref().ok_or(ObjectError::NoEndpoint)?.authority();
        let unreachable = |error: &dyn std::error::Error| {
            ObjectError::Unreachable(format!("http://{authority}: {error}"))
        };
        let address =
            (authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80));
        let stream = TcpStream::connect(address).await.map_err(|error| unreachable(&error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
        let connection = tokio::spawn(connection);
        let exchange = async {
            let request = self.request(authority, object).map_err(|error| unreachable(&error))?;
            let answer = sender.send_request(request).await.map_err(|error| unreachable(&error))?;
            let status = answer.status();
            let limit = usize::try_from(UNZIPPED_BYTES_MAX).unwrap_or(usize::MAX);
            let body = Limited::new(answer.into_body(), limit).collect().await;
            let body = body.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    ObjectError::TooLarge
                } else {
                    unreachable(&*error)
                }
            })?;
            let body = body.to_bytes();
            if status.is_success() { Ok(body) } else { Err(refused(status.as_u16(), &body)) }
        };
        let fetched = exchange.await;
        connection.abort();
        fetched
    }

    fn request(
        &self,
        authority: &Authority,
        object: &Object,
    ) -> Result<Request<Empty<Bytes>>, hyper::http::Error> {
        let path = format!("/{}/{}", encoded(&object.bucket, false), encoded(&object.key, true));
        let query = object.version.as_deref();
        let query = query.map(|version| format!("versionId={}", encoded(version, false)));
        let query = query.unwrap_or_default();
        let headers = [("host", authority.as_str())];
        let mut added = Vec::new();
        if let Some(Credentials { access_key, secret_key, session_token }) = &self.credentials {
            let request =
                sigv4::Request { method: "GET", path: &path, query: &query, headers: &headers };
            let session_token = session_token.as_deref();
            let credentials = sigv4::Credentials { access_key, secret_key, session_token };
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let body = sigv4::sha256_hex(b"");
            added = sigv4::sign(&request, &body, &credentials, (&object.region, "s3"), now);
        }
        let target = if query.is_empty() { path } else { format!("{path}?{query}") };
        let mut request = Request::get(target);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        for (name, value) in added {
            request = request.header(name, value);
        }
        request.body(Empty::new())
    }
}

impl Objects for S3 {
    fn get(&self, object: Object) -> BoxFuture<'_, Result<Bytes, ObjectError>> {
        Box::pin(async move {
            let fetched = tokio::time::timeout(TIMEOUT, self.fetch(&object)).await;
            let late = || ObjectError::Unreachable("it did not answer in time".to_owned());
            fetched.unwrap_or_else(|_| Err(late()))
        })
    }
}

/// What S3's error document says.
fn refused(status: u16, body: &[u8]) -> ObjectError {
    let text = String::from_utf8_lossy(body);
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (content, _) = rest.split_once(&format!("</{name}>"))?;
        Some(content.to_owned())
    };
    match (element("Code"), element("Message")) {
        (Some(code), Some(message)) => ObjectError::Refused { code, message },
        _ => ObjectError::Unreachable(format!("it answered {status}")),
    }
}

/// Percent-encoded as signatures have it.
fn encoded(text: &str, keeps_slashes: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if plain || (keeps_slashes && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_plain_http() {
        for good in ["http://127.0.0.1:5000", "http://minio/", "http://[::1]:9000"] {
            assert!(good.parse::<Endpoint>().is_ok(), "{good}");
        }
        for bad in
            ["https://s3.amazonaws.com", "http://", "http://a@b", "127.0.0.1:80", "http://a/b"]
        {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn refusals_are_read() {
        let body = b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>";
        let expected = ObjectError::Refused {
            code: "NoSuchKey".into(),
            message: "The specified key does not exist.".into(),
        };
        assert_eq!(refused(404, body), expected);
        assert!(matches!(refused(502, b"<html>"), ObjectError::Unreachable(_)));
    }

    #[test]
    fn keys_are_encoded_and_keep_their_slashes() {
        assert_eq!(encoded("a/b c+ü.zip", true), "a/b%20c%2B%C3%BC.zip");
        assert_eq!(encoded("a/b", false), "a%2Fb");
    }
}
