//! Event source mappings (service-api.md §7): the arrow between the service API, which keeps them,
//! and the room that polls. `api` calls [`EventSources`], `events` implements it; the binary
//! introduces them.

use std::time::Duration;

use uuid::Uuid;

use crate::{BoxFuture, FunctionArn};

/// An SQS queue, read from its ARN.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QueueArn {
    /// As it was given.
    pub text: String,
    pub region: String,
    pub account: String,
    pub name: String,
}

impl QueueArn {
    /// `None` if the ARN is none of a queue.
    pub fn parse(arn: &str) -> Option<Self> {
        let mut parts = arn.split(':');
        let (scheme, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
        let (region, account, name) = (parts.next()?, parts.next()?, parts.next()?);
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let is_queue = scheme == "arn"
            && partition.starts_with("aws")
            && service == "sqs"
            && parts.next().is_none()
            && !region.is_empty()
            && !account.is_empty()
            && !name.is_empty()
            && name.bytes().all(is_name);
        is_queue.then(|| Self {
            text: arn.to_owned(),
            region: region.to_owned(),
            account: account.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Keeps the order of messages in each group.
    pub fn is_fifo(&self) -> bool {
        self.name.ends_with(".fifo")
    }
}

/// An event source mapping as its poller needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub id: Uuid,
    pub queue: QueueArn,
    pub function: FunctionArn,
    /// What it stands for is asked at each invocation: a mapping follows its alias.
    pub qualifier: Option<String>,
    /// Messages of one invocation.
    pub batch_size: usize,
    /// How long a batch waits to be full.
    pub window: Duration,
    /// The function tells which messages failed (`ReportBatchItemFailures`).
    pub reports_failures: bool,
    /// Patterns, JSON text. A message passes by any of them; without one, all do.
    pub filters: Vec<String>,
    /// Batches in flight at most (`MaximumConcurrency`).
    pub concurrency_max: Option<usize>,
}

/// Why a queue can't be polled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error(
        "No SQS endpoint is configured: start coldframe with --sqs-endpoint URL or AWS_ENDPOINT_URL_SQS"
    )]
    NoEndpoint,
    #[error(
        "SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. SQS Error Message: The specified queue does not exist."
    )]
    Absent,
    /// SQS said so.
    #[error("SQS Error Code: {code}. SQS Error Message: {message}")]
    Refused { code: String, message: String },
    #[error("{0}")]
    Unreachable(String),
}

/// Not a pattern of Lambda's (service-api.md §7.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid filter pattern definition.")]
pub struct InvalidPattern;

/// Polls queues.
pub trait EventSources: Send + Sync {
    /// The queue's visibility timeout.
    fn visibility_timeout<'a>(
        &'a self,
        queue: &'a QueueArn,
    ) -> BoxFuture<'a, Result<Duration, SourceError>>;

    /// # Errors
    /// If the text is no pattern.
    fn check_pattern(&self, pattern: &str) -> Result<(), InvalidPattern>;

    /// From now on the queue is polled for the function.
    fn start_polling(&self, mapping: Mapping);

    /// Resolves when nothing of the mapping is polled for or runs. A poll that waits at the queue
    /// ends in its own time, and what it brings runs: cut off, it could take a message along.
    fn stop_polling(&self, id: Uuid) -> BoxFuture<'_, ()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_told_by_their_arns() {
        let check = |arn: &str, name: Option<&str>| {
            let found = QueueArn::parse(arn);
            assert_eq!(found.as_ref().map(|queue| queue.name.as_str()), name, "{arn}");
        };
        check("arn:aws:sqs:eu-west-1:123456789012:orders", Some("orders"));
        check("arn:aws-cn:sqs:cn-north-1:123456789012:a-_1.fifo", Some("a-_1.fifo"));
        check("arn:aws:sqs:eu-west-1:123456789012:", None);
        check("arn:aws:sqs:eu-west-1:123456789012:a/../b", None);
        check("arn:aws:sqs:eu-west-1:123456789012:a:b", None);
        check("arn:aws:sqs:eu-west-1::a", None);
        check("arn:aws:kinesis:eu-west-1:123456789012:stream/a", None);
        check("arn:aws:sqs", None);
        check("", None);
        let is_fifo = |name: &str| {
            QueueArn::parse(&format!("arn:aws:sqs:eu-west-1:123456789012:{name}"))
                .unwrap()
                .is_fifo()
        };
        assert!(is_fifo("a.fifo") && !is_fifo("a"));
    }
}
