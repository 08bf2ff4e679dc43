//! Signed requests to other services, at endpoints that were configured.

use std::time::Duration;

use bytes::Bytes;
use coldframe_client::{Answer, Credentials, Endpoint, Limits, Request, Signature};
use hyper::Method;
use hyper::header::LOCATION;

use crate::Options;

/// Of an answer, bytes: none that matters is longer.
const LIMITS: Limits = Limits { time: Duration::from_secs(30), answer_bytes: 256 << 10 };

/// Of an answer that is an error, bytes shown.
const SHOWN_BYTES_MAX: usize = 500;

/// A service that destinations or sources lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Sqs,
    Sns,
    EventBridge,
    S3,
    Kinesis,
    DynamoDbStreams,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::Sqs => "SQS",
            Self::Sns => "SNS",
            Self::EventBridge => "EventBridge",
            Self::S3 => "S3",
            Self::Kinesis => "Kinesis",
            Self::DynamoDbStreams => "DynamoDB Streams",
        }
    }

    fn signing_name(self) -> &'static str {
        match self {
            Self::Sqs => "sqs",
            Self::Sns => "sns",
            Self::EventBridge => "events",
            Self::S3 => "s3",
            Self::Kinesis => "kinesis",
            Self::DynamoDbStreams => "dynamodb",
        }
    }

    /// What an operator sets the endpoint by.
    fn flag(self) -> &'static str {
        match self {
            Self::Sqs => "--sqs-endpoint",
            Self::Sns => "--sns-endpoint",
            Self::EventBridge => "--eventbridge-endpoint",
            Self::S3 => "--s3-endpoint",
            Self::Kinesis => "--kinesis-endpoint",
            Self::DynamoDbStreams => "--dynamodb-streams-endpoint",
        }
    }

    /// The same in the environment: AWS's name.
    fn variable(self) -> &'static str {
        match self {
            Self::Sqs => "AWS_ENDPOINT_URL_SQS",
            Self::Sns => "AWS_ENDPOINT_URL_SNS",
            Self::EventBridge => "AWS_ENDPOINT_URL_EVENTBRIDGE",
            Self::S3 => "AWS_ENDPOINT_URL_S3",
            Self::Kinesis => "AWS_ENDPOINT_URL_KINESIS",
            Self::DynamoDbStreams => "AWS_ENDPOINT_URL_DYNAMODB_STREAMS",
        }
    }
}

/// Where other services are. What isn't given can't be reached.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    pub sqs: Option<Endpoint>,
    pub sns: Option<Endpoint>,
    pub eventbridge: Option<Endpoint>,
    pub s3: Option<Endpoint>,
    pub kinesis: Option<Endpoint>,
    pub dynamodb_streams: Option<Endpoint>,
}

impl Endpoints {
    pub(crate) fn of(&self, service: Service) -> Result<&Endpoint, Error> {
        let endpoint = match service {
            Service::Sqs => &self.sqs,
            Service::Sns => &self.sns,
            Service::EventBridge => &self.eventbridge,
            Service::S3 => &self.s3,
            Service::Kinesis => &self.kinesis,
            Service::DynamoDbStreams => &self.dynamodb_streams,
        };
        let (name, flag, variable) = (service.name(), service.flag(), service.variable());
        endpoint.as_ref().ok_or(Error::NoEndpoint { name, flag, variable })
    }
}

/// A request did not do what it was for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no endpoint of {name} is configured: {flag} does")]
    NoEndpoint { name: &'static str, flag: &'static str, variable: &'static str },
    #[error("{0} is no destination that can be spoken to")]
    NoDestination(String),
    #[error("the service of {flag} cannot be used")]
    Unreached {
        flag: &'static str,
        #[source]
        error: coldframe_client::Error,
    },
    #[error("the service's answer is none of its kind")]
    Answer,
    #[error("the service answered {status}: {body}")]
    Status { status: u16, body: String },
    /// It isn't followed: a signature is for one host.
    #[error("the service answered {status}, which sends to {location}: {body}")]
    Redirect { status: u16, location: String, body: String },
    /// It answered well, and did not do it.
    #[error("the service did not take it: {0}")]
    NotTaken(String),
}

impl Error {
    /// Trying again would give the same.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::NoEndpoint { .. } | Self::NoDestination(_) => true,
            Self::Status { status, .. } => *status < 500 && *status != 429 && *status != 408,
            // Whoever set the endpoint or its certificates wrong may set them right in time.
            Self::Unreached { error, .. } => {
                matches!(error.why, coldframe_client::Why::Request(_))
            }
            // S3 sends elsewhere until a new bucket's name is known everywhere; for good, an endpoint
            // may be set right.
            Self::Redirect { .. } => false,
            Self::Answer | Self::NotTaken(_) => false,
        }
    }
}

/// A request to be signed.
pub(crate) struct Signed<'a> {
    pub(crate) service: Service,
    pub(crate) method: Method,
    /// Percent-encoded.
    pub(crate) path: &'a str,
    pub(crate) region: &'a str,
    pub(crate) headers: &'a [(&'static str, &'a str)],
    pub(crate) body: Bytes,
}

/// Sends it; any answer but success is an error. The answer's body.
pub(crate) async fn send(options: &Options, signed: Signed<'_>) -> Result<Bytes, Error> {
    send_within(options, signed, LIMITS).await
}

/// As [`send`], with limits of its own.
pub(crate) async fn send_within(
    options: &Options,
    signed: Signed<'_>,
    limits: Limits,
) -> Result<Bytes, Error> {
    let credentials: &Credentials = &options.credentials;
    let (region, service) = (signed.region, signed.service.signing_name());
    let request = Request {
        endpoint: options.endpoints.of(signed.service)?,
        method: signed.method,
        target: signed.path,
        headers: signed.headers,
        body: signed.body,
        signature: Some(Signature { credentials, region, service }),
        limits,
    };
    let answer = options.client.send(request).await;
    let flag = signed.service.flag();
    let answer = answer.map_err(|error| Error::Unreached { flag, error })?;
    if answer.status.is_success() { Ok(answer.body) } else { Err(refused(&answer)) }
}

fn refused(answer: &Answer) -> Error {
    let shown = |text: &[u8]| {
        String::from_utf8_lossy(&text[..text.len().min(SHOWN_BYTES_MAX)]).into_owned()
    };
    let (status, body) = (answer.status.as_u16(), shown(&answer.body));
    if !answer.status.is_redirection() {
        return Error::Status { status, body };
    }
    let location = answer.headers.get(LOCATION);
    let location = location.map_or_else(|| "nowhere".to_owned(), |to| shown(to.as_bytes()));
    Error::Redirect { status, location, body }
}

#[cfg(test)]
mod tests;
