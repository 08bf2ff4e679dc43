//! Errors as they go over the wire (service-api.md §9.5, Appendix D).

use coldframe_store as store;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde_json::json;

use crate::model::{Model, RouteError};
use crate::{Reply, set};

const FULL: &str = "The disk of this server is full. Nothing was changed.";

/// An answer that isn't what the caller hoped for: a code of AWS's and its text.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Error {
    code: &'static str,
    message: String,
    /// Of `TooManyRequestsException`.
    reason: Option<&'static str>,
}

impl Error {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), reason: None }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterValueException", message)
    }

    pub(crate) fn not_found(arn: &str) -> Self {
        Self::new("ResourceNotFoundException", format!("Function not found: {arn}"))
    }

    pub(crate) fn no_alias(arn: &str) -> Self {
        Self::new("ResourceNotFoundException", format!("Cannot find alias arn: {arn}"))
    }

    pub(crate) fn not_implemented(what: &str) -> Self {
        Self::new("NotImplementedException", format!("{what} is not supported by this server"))
    }

    pub(crate) fn throttled(reason: &'static str) -> Self {
        let message = "Rate Exceeded.".to_owned();
        Self { code: "TooManyRequestsException", message, reason: Some(reason) }
    }

    pub(crate) fn too_large(operation: &str, limit: usize) -> Self {
        // AWS calls Invoke so in this text only.
        let operation = if operation == "Invoke" { "InvokeFunction" } else { operation };
        Self::new(
            "RequestEntityTooLargeException",
            format!("Request must be smaller than {limit} bytes for the {operation} operation"),
        )
    }

    /// The platform's own fault: the cause is the operator's to read, not the caller's.
    pub(crate) fn service(cause: &dyn std::error::Error) -> Self {
        tracing::error!(error = coldframe_core::error::chain(cause), "a request failed");
        Self::new("ServiceException", "An internal error occurred.")
    }

    /// Status, and how the member of the text is written.
    fn shape(&self) -> (u16, &'static str) {
        match self.code {
            "ValidationException" | "SerializationException" => (400, "message"),
            "AccessDeniedException" => (403, "Message"),
            "MissingAuthenticationTokenException"
            | "IncompleteSignatureException"
            | "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "ExpiredTokenException" => (403, "message"),
            "UnknownOperationException" => (404, "Message"),
            "MethodNotAllowedException" => (405, "Message"),
            "RequestEntityTooLargeException" => (413, "message"),
            "NotImplementedException" => (501, "message"),
            code => Model::get().error(code).map_or((500, "Message"), |shape| {
                let member = if shape.message_member == "Message" { "Message" } else { "message" };
                (shape.status, member)
            }),
        }
    }

    pub(crate) fn reply(&self) -> Reply {
        let (status, member) = self.shape();
        let kind = if status < 500 { "User" } else { "Service" };
        let mut body = json!({ "Type": kind, member: self.message });
        if status == 403 || self.code == "ValidationException" {
            // Not in the model: clients look for either.
            body["message"] = json!(self.message);
            body["Message"] = json!(self.message);
        }
        if let Some(reason) = self.reason {
            body["Reason"] = json!(reason);
        }
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut reply = crate::json(status, &body);
        reply.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static(self.code));
        if self.code == "TooManyRequestsException" {
            set(reply.headers_mut(), "retry-after", "1");
        }
        reply
    }
}

impl From<RouteError> for Error {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::UnknownPath => {
                Self::new("UnknownOperationException", "no operation has this path")
            }
            RouteError::MethodNotAllowed => {
                Self::new("MethodNotAllowedException", "no operation of this path has this method")
            }
            RouteError::MalformedEncoding => Self::new(
                "SerializationException",
                "the path or query is not percent-encoded UTF-8",
            ),
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match &error {
            // As AWS refuses what comes during another change (service-api.md §2.3).
            store::Error::Changed { .. } => Self::new(
                "ResourceConflictException",
                format!("The operation cannot be performed at this time. {error}"),
            ),
            // What the operator can mend, the caller may know.
            store::Error::Full(_) => Self { message: FULL.to_owned(), ..Self::service(&error) },
            _ => Self::service(&error),
        }
    }
}
