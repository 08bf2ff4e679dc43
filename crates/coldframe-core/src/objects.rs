//! Objects of an S3: what the service API asks for packages that a request names and doesn't bring.

use bytes::Bytes;

use crate::BoxFuture;

/// An object, as `S3Bucket`, `S3Key` and `S3ObjectVersion` name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub bucket: String,
    pub key: String,
    pub version: Option<String>,
    pub region: String,
}

/// Why an object could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    #[error(
        "No S3 endpoint is configured: start coldframe with --s3-endpoint URL or AWS_ENDPOINT_URL_S3"
    )]
    NoEndpoint,
    /// S3 said so.
    #[error("S3 Error Code: {code}. S3 Error Message: {message}")]
    Refused { code: String, message: String },
    /// Larger than any package may be.
    #[error("the object is too large")]
    TooLarge,
    #[error("the S3 of --s3-endpoint cannot be used: {0}")]
    Unreachable(String),
}

/// Fetches objects.
pub trait Objects: Send + Sync {
    /// The whole object. May wait until others that were fetched are dropped: drop it soon.
    fn get(&self, object: Object) -> BoxFuture<'_, Result<Bytes, ObjectError>>;
}
