//! A stream's service: what is asked of either kind, and how their errors are understood.

use std::time::Duration;

use bytes::Bytes;
use coldframe_client::Limits;
use coldframe_core::source::{Position, SourceError, StreamArn, StreamKind};
use coldframe_store::queue::Millis;
use hyper::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::trouble::told;
use super::lineage::Shard;
use super::record::{Around, Record, is_shard_id};
use super::{dynamodb, kinesis};
use crate::Options;
use crate::client::{Error, Service, Signed, send_within};

/// Of an answer: 10 MiB of records, in base64, all of which JSON must escape.
const LIMITS: Limits = Limits { time: Duration::from_secs(30), answer_bytes: 64 << 20 };

/// Pages of one list of shards: a server that always has one more is not believed.
const SHARD_PAGES_MAX: usize = 200;

/// Shards of a stream, with those that are closed: where each stands is kept.
const SHARDS_MAX: usize = 100_000;

/// How long records are kept, hours, unless told longer. AWS: DynamoDB Streams; the least of Kinesis.
const RETENTION_HOURS_MIN: u32 = 24;

/// Where it is, and how it is spoken to.
pub(super) struct Remote<'a> {
    pub(super) options: &'a Options,
    pub(super) stream: &'a StreamArn,
}

/// What one read brings.
#[derive(Debug)]
pub(super) struct Page {
    /// In the shard's order.
    pub(super) records: Vec<Record>,
    /// By what to read on; `None`: the shard is closed, and this was its end.
    pub(super) next: Option<String>,
    /// There is more, now.
    pub(super) is_behind: bool,
}

/// What an error asks to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Another iterator.
    Expired,
    /// To begin at the oldest record: those that were wanted are kept no more.
    Trimmed,
    /// There is no such stream or shard.
    Absent,
    /// To ask more slowly.
    TooFast,
    /// To try again.
    Other,
}

impl Trouble {
    pub(super) fn of(error: &Error) -> Self {
        let Error::Status { body, .. } = error else { return Self::Other };
        let table = [
            ("ExpiredIteratorException", Self::Expired),
            ("TrimmedDataAccessException", Self::Trimmed),
            ("ResourceNotFoundException", Self::Absent),
            ("ProvisionedThroughputExceededException", Self::TooFast),
            ("LimitExceededException", Self::TooFast),
        ];
        let found = table.iter().find(|(word, _)| body.contains(word));
        found.map_or(Self::Other, |(_, trouble)| *trouble)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Iterator {
    shard_iterator: String,
}

impl Remote<'_> {
    /// Whether it is there.
    pub(super) async fn check(&self) -> Result<(), SourceError> {
        let checked = match self.stream.kind {
            StreamKind::Kinesis => kinesis::describe(self).await.map(drop),
            StreamKind::DynamoDb => dynamodb::shards(self, None).await.map(drop),
        };
        checked.map_err(|error| told(&error, &["ResourceNotFoundException"]))
    }

    /// How long it keeps records.
    pub(super) async fn retention(&self) -> Result<Duration, Error> {
        let hours = match self.stream.kind {
            StreamKind::Kinesis => kinesis::describe(self).await?,
            StreamKind::DynamoDb => None,
        };
        // A stream that kept nothing would have every record given up.
        let hours = hours.unwrap_or_default().max(RETENTION_HOURS_MIN);
        Ok(Duration::from_secs(3600 * u64::from(hours)))
    }

    /// All its shards.
    pub(super) async fn shards(&self) -> Result<Vec<Shard>, Error> {
        let (mut shards, mut token) = (Vec::<Shard>::new(), None);
        for _ in 0..SHARD_PAGES_MAX {
            let (page, next) = match self.stream.kind {
                StreamKind::Kinesis => kinesis::shards(self, token).await?,
                StreamKind::DynamoDb => dynamodb::shards(self, token).await?,
            };
            let begin = shards.len();
            shards.extend(page.into_iter().map(Shard::from));
            let all_known = shards[begin..].iter().all(|shard| is_shard_id(&shard.id));
            if !all_known || shards.len() > SHARDS_MAX {
                return Err(Error::Answer);
            }
            token = next.filter(|next| !next.is_empty());
            if token.is_none() {
                return Ok(shards);
            }
        }
        Err(Error::Answer)
    }

    /// `GetShardIterator`
    pub(super) async fn iterator(
        &self,
        shard: &str,
        at: &Position,
        is_fresh: bool,
    ) -> Result<String, Error> {
        let mut asked = match self.stream.kind {
            StreamKind::Kinesis => kinesis::iterator(self, at),
            StreamKind::DynamoDb => dynamodb::iterator(self, at, is_fresh),
        };
        asked["ShardId"] = json!(shard);
        let got: Iterator = self.call("GetShardIterator", &asked).await?;
        Ok(got.shard_iterator)
    }

    /// `GetRecords`; `at` is where the iterator stands.
    pub(super) async fn read(
        &self,
        iterator: &str,
        limit: usize,
        at: &Position,
        around: Around<'_>,
    ) -> Result<Page, Error> {
        let mut page = match self.stream.kind {
            StreamKind::Kinesis => kinesis::read(self, iterator, limit, around).await?,
            StreamKind::DynamoDb => dynamodb::read(self, iterator, limit, at, around).await?,
        };
        page.next = page.next.filter(|next| !next.is_empty());
        Ok(page)
    }

    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        action: &str,
        asked: &Value,
    ) -> Result<T, Error> {
        let (service, prefix, content_type) = match self.stream.kind {
            StreamKind::Kinesis => {
                (Service::Kinesis, "Kinesis_20131202", "application/x-amz-json-1.1")
            }
            StreamKind::DynamoDb => {
                (Service::DynamoDbStreams, "DynamoDBStreams_20120810", "application/x-amz-json-1.0")
            }
        };
        let target = format!("{prefix}.{action}");
        let request = Signed {
            service,
            method: Method::POST,
            path: "/",
            region: &self.stream.region,
            headers: &[("content-type", content_type), ("x-amz-target", target.as_str())],
            body: asked.to_string().into(),
        };
        let answer: Bytes = send_within(self.options, request, LIMITS).await?;
        serde_json::from_slice(&answer).map_err(|_| Error::Answer)
    }
}

/// Of seconds, as JSON has times.
pub(super) fn milliseconds(seconds: f64) -> Millis {
    // What is too large becomes the largest.
    (seconds * 1000.0).round() as Millis
}
