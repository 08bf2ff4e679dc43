//! Objects from the S3 that `--s3-endpoint` names: the bucket in the path, signed if the service's own
//! environment has keys.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coldframe_client::{Client, Credentials, Endpoint, Limits, Request, Signature, Why};
use coldframe_core::BoxFuture;
use coldframe_core::limits::UNZIPPED_BYTES_MAX;
use coldframe_core::objects::{Object, ObjectError, Objects};
use hyper::Method;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A whole exchange, whatever the size of the object.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Objects that are fetched or in use at one time: each may take [`UNZIPPED_BYTES_MAX`] of memory.
const FETCHES_MAX: usize = 3;

/// Objects of one S3, or of none.
pub(crate) struct S3 {
    endpoint: Option<Endpoint>,
    client: Client,
    credentials: Option<Credentials>,
    fetches: Arc<Semaphore>,
}

/// An object, and its place among [`FETCHES_MAX`].
struct Fetched {
    bytes: Bytes,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Fetched {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl S3 {
    /// With the usual variables of the service's environment, or unsigned.
    pub(crate) fn new(endpoint: Option<Endpoint>, client: Client) -> Self {
        let credentials = Credentials::from_variables(|name| std::env::var(name).ok());
        let fetches = Arc::new(Semaphore::new(FETCHES_MAX));
        Self { endpoint, client, credentials, fetches }
    }

    async fn fetch(&self, object: &Object) -> Result<Bytes, ObjectError> {
        let endpoint = self.endpoint.as_ref().ok_or(ObjectError::NoEndpoint)?;
        let place = tokio::time::timeout(TIMEOUT, self.fetches.clone().acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            let busy = format!("{FETCHES_MAX} other objects are still being fetched from it");
            return Err(ObjectError::Unreachable(busy));
        };
        let signature = self.credentials.as_ref().map(|credentials| Signature {
            credentials,
            region: &object.region,
            service: "s3",
        });
        let answer_bytes = usize::try_from(UNZIPPED_BYTES_MAX).unwrap_or(usize::MAX);
        let request = Request {
            endpoint,
            method: Method::GET,
            target: &target(object),
            headers: &[],
            body: Bytes::new(),
            signature,
            limits: Limits { time: TIMEOUT, answer_bytes },
        };
        let answer = self.client.send(request).await.map_err(|error| match error.why {
            Why::TooLong(_) => ObjectError::TooLarge,
            _ => ObjectError::Unreachable(error.chain()),
        })?;
        if answer.status.is_success() {
            Ok(Bytes::from_owner(Fetched { bytes: answer.body, _place: place }))
        } else {
            Err(refused(endpoint, answer.status.as_u16(), &answer.body))
        }
    }
}

fn target(object: &Object) -> String {
    let mut target = format!("/{}/{}", encoded(&object.bucket, false), encoded(&object.key, true));
    if let Some(version) = &object.version {
        target += "?versionId=";
        target += &encoded(version, false);
    }
    target
}

impl Objects for S3 {
    fn get(&self, object: Object) -> BoxFuture<'_, Result<Bytes, ObjectError>> {
        Box::pin(async move { self.fetch(&object).await })
    }
}

/// What S3's error document says.
fn refused(endpoint: &Endpoint, status: u16, body: &[u8]) -> ObjectError {
    let text = String::from_utf8_lossy(body);
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (content, _) = rest.split_once(&format!("</{name}>"))?;
        Some(content.to_owned())
    };
    match (element("Code"), element("Message")) {
        (Some(code), Some(message)) => ObjectError::Refused { code, message },
        _ => ObjectError::Unreachable(format!("{endpoint} answered {status}")),
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn only_so_many_objects_are_in_memory() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    stream.read_buf(&mut request).await.unwrap();
                }
                let answer =
                    b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nzip";
                stream.write_all(answer).await.unwrap();
            }
        });
        let s3 = S3::new(Some(endpoint), Client::default());
        let object = |key: usize| Object {
            bucket: "bucket".into(),
            key: key.to_string(),
            version: None,
            region: "us-east-1".into(),
        };
        let mut fetched = Vec::new();
        for key in 0..FETCHES_MAX {
            fetched.push(s3.get(object(key)).await.unwrap());
        }
        let mut more = s3.get(object(FETCHES_MAX));
        let short = Duration::from_millis(100);
        assert!(tokio::time::timeout(short, &mut more).await.is_err(), "one more is in memory");
        let part = fetched.pop().unwrap().slice(..1);
        assert!(tokio::time::timeout(short, &mut more).await.is_err(), "it is still in use");
        drop(part);
        let in_time = tokio::time::timeout(Duration::from_secs(20), more).await.unwrap();
        assert_eq!(in_time.unwrap(), "zip");
        // One that fails keeps no place.
        drop(fetched);
        let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let s3 = S3::new(Some(format!("http://{dead}").parse().unwrap()), Client::default());
        for key in 0..2 * FETCHES_MAX {
            assert!(matches!(s3.get(object(key)).await, Err(ObjectError::Unreachable(_))));
        }
    }

    #[test]
    fn refusals_are_read() {
        let body = b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>";
        let expected = ObjectError::Refused {
            code: "NoSuchKey".into(),
            message: "The specified key does not exist.".into(),
        };
        let endpoint = "https://s3".parse().unwrap();
        assert_eq!(refused(&endpoint, 404, body), expected);
        assert!(matches!(refused(&endpoint, 502, b"<html>"), ObjectError::Unreachable(_)));
    }

    #[test]
    fn keys_are_encoded_and_keep_their_slashes() {
        assert_eq!(encoded("a/b c+ü.zip", true), "a/b%20c%2B%C3%BC.zip");
        assert_eq!(encoded("a/b", false), "a%2Fb");
    }
}
