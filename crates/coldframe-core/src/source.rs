//! Event source mappings (service-api.md §7): the arrow between the service API, which keeps them,
//! and the room that polls. `api` calls [`EventSources`], `events` implements it; the binary
//! introduces them.

use std::collections::BTreeMap;
use std::sync::Arc;
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

/// What a stream is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamKind {
    Kinesis,
    /// DynamoDB Streams.
    DynamoDb,
}

/// A Kinesis stream, or the stream of a DynamoDB table, read from its ARN.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StreamArn {
    pub kind: StreamKind,
    /// As it was given.
    pub text: String,
    pub region: String,
    /// Of the stream; of the table.
    pub name: String,
}

impl StreamArn {
    /// `None` if the ARN is none of a stream. `…:stream/NAME`, `…:table/NAME/stream/LABEL`; a label
    /// is a time, with colons.
    pub fn parse(arn: &str) -> Option<Self> {
        let mut parts = arn.splitn(6, ':');
        let (scheme, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
        let (region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
        let is_name = |name: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            !name.is_empty() && name.bytes().all(plain)
        };
        let words: Vec<&str> = resource.split('/').collect();
        let (kind, name) = match (service, &*words) {
            ("kinesis", ["stream", name]) => (StreamKind::Kinesis, *name),
            ("dynamodb", ["table", name, "stream", label]) if !label.is_empty() => {
                (StreamKind::DynamoDb, *name)
            }
            _ => return None,
        };
        let is_stream = scheme == "arn"
            && partition.starts_with("aws")
            && !region.is_empty()
            && !account.is_empty()
            && is_name(name);
        is_stream.then(|| Self {
            kind,
            text: arn.to_owned(),
            region: region.to_owned(),
            name: name.to_owned(),
        })
    }
}

/// An event source mapping as its poller needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub id: Uuid,
    pub source: Source,
    pub function: FunctionArn,
    /// What it stands for is asked at each invocation: a mapping follows its alias.
    pub qualifier: Option<String>,
    /// Messages or records of one invocation.
    pub batch_size: usize,
    /// How long a batch waits to be full.
    pub window: Duration,
    /// The function tells which of them failed (`ReportBatchItemFailures`).
    pub reports_failures: bool,
    /// Patterns, JSON text. A message passes by any of them; without one, all do.
    pub filters: Vec<String>,
}

/// What is polled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Queue {
        queue: QueueArn,
        /// Batches in flight at most (`MaximumConcurrency`).
        concurrency_max: Option<usize>,
    },
    Stream {
        stream: StreamArn,
        reading: Reading,
    },
}

/// How a stream is read (service-api.md §7.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    pub start: Start,
    /// Batches of one shard in flight (`ParallelizationFactor`).
    pub lanes: usize,
    /// Attempts of a batch after the first; `None`: until its records expire.
    pub retries_max: Option<u32>,
    /// How old a record may become before its last attempt begins; `None`: until it expires.
    pub age_max: Option<Duration>,
    /// A batch that fails is halved (`BisectBatchOnFunctionError`).
    pub bisects: bool,
    /// ARN of the destination for what is told of records that are given up.
    pub on_failure: Option<String>,
    /// Length of the windows that the function adds records up in (`TumblingWindowInSeconds`). Then
    /// there is one lane.
    pub tumbling: Option<Duration>,
}

/// `StartingPosition`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    TrimHorizon,
    Latest,
    /// Milliseconds since 1970. Of Kinesis only.
    At(i64),
}

/// How far a shard is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// Nothing of it is; what comes first is its oldest record.
    Begin,
    /// Nothing of it is; what came before this moment, milliseconds since 1970, isn't wanted.
    Since(i64),
    /// All up to the record of this sequence number.
    After(String),
    /// All; it is closed.
    End,
}

impl Position {
    /// As it is kept: one word, or a word and its value behind a colon.
    pub fn text(&self) -> String {
        match self {
            Self::Begin => "begin".to_owned(),
            Self::Since(at) => format!("since:{at}"),
            Self::After(number) => format!("after:{number}"),
            Self::End => "end".to_owned(),
        }
    }

    /// What [`Position::text`] has written.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.split_once(':') {
            Some(("since", at)) => Self::Since(at.parse().ok()?),
            Some(("after", number)) => Self::After(number.to_owned()),
            None if text == "begin" => Self::Begin,
            None if text == "end" => Self::End,
            _ => return None,
        })
    }
}

/// Where the shards of a stream stand, by their ids.
pub type Positions = BTreeMap<String, Position>;

/// How the last batch of a stream went, as `LastProcessingResult` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processed {
    /// None since polling began: what was kept before stands.
    Nothing,
    Done,
    Failed,
}

impl Processed {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "No records processed",
            Self::Done => "OK",
            Self::Failed => "PROBLEM: Function call failed",
        }
    }
}

/// How far streams are done could not be kept: more of them may come again.
#[derive(Debug, thiserror::Error)]
#[error("how far a stream is done could not be kept")]
pub struct NotNoted(#[source] pub Arc<dyn std::error::Error + Send + Sync>);

/// Keeps how far streams are done. `events` calls it, `api` implements it, as it keeps mappings.
pub trait Progress: Send + Sync {
    /// What was kept last of this mapping.
    fn positions(&self, id: Uuid) -> Positions;

    /// Blocks for the disk: then it survives a crash of the service and of the host. Of a mapping
    /// that was deleted nothing is kept.
    ///
    /// # Errors
    /// If the disk failed; what was kept before stands.
    fn keep(&self, id: Uuid, positions: Positions, processed: Processed) -> Result<(), NotNoted>;
}

/// Why a source can't be polled. What a caller is told of it says which service it is of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error("No {name} endpoint is configured: start coldframe with {flag} URL or {variable}")]
    NoEndpoint { name: &'static str, flag: &'static str, variable: &'static str },
    #[error("it does not exist")]
    Absent,
    /// Its service said so.
    #[error("{code}: {message}")]
    Refused { code: String, message: String },
    #[error("{0}")]
    Unreachable(String),
}

/// Not a pattern of Lambda's (service-api.md §7.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid filter pattern definition.")]
pub struct InvalidPattern;

/// Polls queues and streams.
pub trait EventSources: Send + Sync {
    /// The queue's visibility timeout.
    fn visibility_timeout<'a>(
        &'a self,
        queue: &'a QueueArn,
    ) -> BoxFuture<'a, Result<Duration, SourceError>>;

    /// # Errors
    /// If the stream isn't there, or can't be asked.
    fn check_stream<'a>(&'a self, stream: &'a StreamArn) -> BoxFuture<'a, Result<(), SourceError>>;

    /// Whether the text is a pattern for what the source brings: of a stream's data only JSON can
    /// be asked.
    ///
    /// # Errors
    /// If it is none.
    fn check_pattern(
        &self,
        source: Option<StreamKind>,
        pattern: &str,
    ) -> Result<(), InvalidPattern>;

    /// From now on the source is polled for the function.
    fn start_polling(&self, mapping: Mapping);

    /// Resolves when nothing of the mapping is polled for or runs. A poll that waits at a queue
    /// ends in its own time, and what it brings runs: cut off, it could take a message along. A
    /// stream's is cut off.
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

    #[test]
    fn streams_are_told_by_their_arns() {
        let check = |arn: &str, found: Option<(StreamKind, &str)>| {
            let stream = StreamArn::parse(arn);
            assert_eq!(stream.as_ref().map(|one| (one.kind, one.name.as_str())), found, "{arn}");
        };
        let kinesis = "arn:aws:kinesis:eu-west-1:123456789012";
        check(&format!("{kinesis}:stream/clicks"), Some((StreamKind::Kinesis, "clicks")));
        check(&format!("{kinesis}:stream/clicks/consumer/c:1700000000"), None);
        check(&format!("{kinesis}:stream/"), None);
        check(&format!("{kinesis}:stream/a b"), None);
        let table = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders";
        let labelled = format!("{table}/stream/2026-11-28T06:14:59.123");
        check(&labelled, Some((StreamKind::DynamoDb, "orders")));
        check(table, None);
        check(&format!("{table}/stream/"), None);
        check("arn:aws:sqs:eu-west-1:123456789012:q", None);
        check("", None);
    }

    #[test]
    fn positions_are_read_as_they_are_written() {
        let all = [
            Position::Begin,
            Position::Since(1_700_000_000_123),
            Position::After("4959:0".to_owned()),
            Position::End,
        ];
        for position in all {
            assert_eq!(Position::parse(&position.text()), Some(position));
        }
        for text in ["", "since:x", "before:1", "after"] {
            assert_eq!(Position::parse(text), None, "{text}");
        }
    }
}
