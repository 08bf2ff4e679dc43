//! What the companion APIs answer when they don't.

/// An error in AWS's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct Error {
    /// The shape's name, as in `ResourceNotFoundException`.
    pub kind: &'static str,
    /// Its code where the query protocol has another name for it.
    pub query_code: Option<&'static str>,
    pub message: String,
    /// Whether it is the caller's fault: status 400, else 500.
    pub of_caller: bool,
}

impl Error {
    pub(crate) fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, query_code: None, message: message.into(), of_caller: true }
    }

    pub(crate) fn coded(kind: &'static str, code: &'static str, message: String) -> Self {
        Self { kind, query_code: Some(code), message, of_caller: true }
    }

    /// The disk, say.
    pub(crate) fn of_service(kind: &'static str, error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %error, "a request for logs or metrics failed");
        let message = "The service cannot complete the request.".to_owned();
        Self { kind, query_code: None, message, of_caller: false }
    }
}
