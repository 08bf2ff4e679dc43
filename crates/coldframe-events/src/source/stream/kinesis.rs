//! Kinesis Data Streams, by its JSON protocol (service-api.md §11).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coldframe_core::source::Position;
use coldframe_store::queue::Millis;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::lineage::Shard;
use super::record::{Around, Record, hash, is_sequence_number};
use super::remote::{Page, Remote, milliseconds};
use crate::client::Error;
use crate::now;

/// Records of one answer. AWS: Kinesis quotas.
pub(super) const RECORDS_MAX: usize = 10_000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    stream_description_summary: Summary,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Summary {
    retention_period_hours: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    #[serde(default)]
    shards: Vec<ListedShard>,
    next_token: Option<String>,
}

/// Of both services.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedShard {
    shard_id: String,
    parent_shard_id: Option<String>,
    adjacent_parent_shard_id: Option<String>,
    sequence_number_range: Option<Range>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Range {
    ending_sequence_number: Option<String>,
}

impl From<ListedShard> for Shard {
    fn from(listed: ListedShard) -> Self {
        let ending = listed.sequence_number_range.and_then(|range| range.ending_sequence_number);
        let parents = [listed.parent_shard_id, listed.adjacent_parent_shard_id];
        Self {
            id: listed.shard_id,
            parents: parents.into_iter().flatten().filter(|id| !id.is_empty()).collect(),
            is_closed: ending.is_some(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Got {
    /// Always there: what has none is no answer, and not the end of its shard.
    records: Vec<Sent>,
    next_shard_iterator: Option<String>,
    #[serde(default)]
    millis_behind_latest: i64,
}

/// A record as Kinesis sends it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Sent {
    sequence_number: String,
    partition_key: String,
    /// Base64.
    #[serde(default)]
    data: String,
    /// Seconds.
    approximate_arrival_timestamp: Option<f64>,
}

/// One record of the event. AWS's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    kinesis: Inner<'a>,
    event_source: &'static str,
    event_version: &'static str,
    #[serde(rename = "eventID")]
    event_id: String,
    event_name: &'static str,
    invoke_identity_arn: &'a str,
    aws_region: &'a str,
    #[serde(rename = "eventSourceARN")]
    event_source_arn: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inner<'a> {
    kinesis_schema_version: &'static str,
    partition_key: &'a str,
    sequence_number: &'a str,
    data: &'a str,
    approximate_arrival_timestamp: f64,
}

/// `DescribeStreamSummary`: how long records are kept, hours, if it is told.
pub(super) async fn describe(remote: &Remote<'_>) -> Result<Option<u32>, Error> {
    let described: Described = remote.call("DescribeStreamSummary", &named(remote)).await?;
    Ok(described.stream_description_summary.retention_period_hours)
}

/// `ListShards`: one page, and what the next is asked by.
pub(super) async fn shards(
    remote: &Remote<'_>,
    token: Option<String>,
) -> Result<(Vec<ListedShard>, Option<String>), Error> {
    let asked = token.map_or_else(|| named(remote), |token| json!({ "NextToken": token }));
    let listed: Listed = remote.call("ListShards", &asked).await?;
    Ok((listed.shards, listed.next_token))
}

/// What `GetShardIterator` is asked.
pub(super) fn iterator(remote: &Remote<'_>, at: &Position) -> Value {
    let mut asked = named(remote);
    let kind = match at {
        Position::Begin | Position::End => "TRIM_HORIZON",
        Position::Since(moment) => {
            asked["Timestamp"] = json!(*moment as f64 / 1000.0);
            "AT_TIMESTAMP"
        }
        Position::After(number) => {
            asked["StartingSequenceNumber"] = json!(number);
            "AFTER_SEQUENCE_NUMBER"
        }
    };
    asked["ShardIteratorType"] = json!(kind);
    asked
}

/// `GetRecords`
pub(super) async fn read(
    remote: &Remote<'_>,
    iterator: &str,
    limit: usize,
    around: Around<'_>,
) -> Result<Page, Error> {
    let asked = json!({
        "ShardIterator": iterator, "Limit": limit.min(RECORDS_MAX), "StreamARN": remote.stream.text,
    });
    let got: Got = remote.call("GetRecords", &asked).await?;
    let records = got.records.iter().map(|sent| record(sent, around));
    Ok(Page {
        records: records.collect::<Result<_, _>>()?,
        next: got.next_shard_iterator,
        is_behind: got.millis_behind_latest > 0,
    })
}

/// By both: with the ARN it may be another account's, the name is what older servers know.
fn named(remote: &Remote<'_>) -> Value {
    json!({ "StreamName": remote.stream.name, "StreamARN": remote.stream.text })
}

fn record(sent: &Sent, around: Around<'_>) -> Result<Record, Error> {
    if !is_sequence_number(&sent.sequence_number) {
        return Err(Error::Answer);
    }
    let arrived: Millis = sent.approximate_arrival_timestamp.map_or_else(now, milliseconds);
    let shown = Shown {
        kinesis: Inner {
            kinesis_schema_version: "1.0",
            partition_key: &sent.partition_key,
            sequence_number: &sent.sequence_number,
            data: &sent.data,
            approximate_arrival_timestamp: arrived as f64 / 1000.0,
        },
        event_source: "aws:kinesis",
        event_version: "1.0",
        event_id: format!("{}:{}", around.shard, sent.sequence_number),
        event_name: "aws:kinesis:record",
        invoke_identity_arn: around.role,
        aws_region: &around.stream.region,
        event_source_arn: &around.stream.text,
    };
    let data = if around.filters.is_empty() {
        String::new()
    } else {
        // What is no text is no JSON either.
        let decoded = STANDARD.decode(&sent.data).unwrap_or_default();
        String::from_utf8(decoded).unwrap_or_default()
    };
    let passes = around.passes(|| metadata(&shown), &data);
    Ok(Record {
        sequence_number: sent.sequence_number.clone(),
        key: hash(&sent.partition_key),
        arrived,
        passes,
        json: serde_json::to_vec(&shown).map_err(|_| Error::Answer)?,
        number: 0,
    })
}

/// Patterns have `data` at the top; the fields beside it may be asked there, too.
fn metadata(shown: &Shown<'_>) -> Value {
    let mut metadata = serde_json::to_value(shown).unwrap_or(Value::Null);
    if let Value::Object(within) = metadata["kinesis"].clone() {
        for (name, value) in within {
            metadata[name] = value;
        }
    }
    metadata
}

#[cfg(test)]
mod tests {
    use coldframe_core::source::{StreamArn, StreamKind};

    use super::super::super::filter::{DataField, Pattern};
    use super::*;

    const STREAM: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/s";

    fn read(data: &[u8], filters: &[&str]) -> Record {
        let of = DataField::of(Some(StreamKind::Kinesis));
        let filters: Vec<Pattern> =
            filters.iter().map(|text| Pattern::parse(text, of).unwrap()).collect();
        let stream = StreamArn::parse(STREAM).unwrap();
        let sent = serde_json::from_value(json!({
            "SequenceNumber": "49", "PartitionKey": "1", "Data": STANDARD.encode(data),
            "ApproximateArrivalTimestamp": 1_545_084_650.987,
        }));
        let around = Around {
            stream: &stream,
            shard: "shardId-000000000006",
            role: "arn:aws:iam::123456789012:role/r",
            filters: &filters,
        };
        record(&sent.unwrap(), around).unwrap()
    }

    // Spec: service-api.md §7.3, "Events".
    #[test]
    fn records_read_as_awss() {
        let record = read(b"Hello, this is a test.", &[]);
        let expected = concat!(
            r#"{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":"1","sequenceNumber":"49","#,
            r#""data":"SGVsbG8sIHRoaXMgaXMgYSB0ZXN0Lg==","approximateArrivalTimestamp":1545084650.987},"#,
            r#""eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"shardId-000000000006:49","#,
            r#""eventName":"aws:kinesis:record","invokeIdentityArn":"arn:aws:iam::123456789012:role/r","#,
            r#""awsRegion":"eu-west-1","eventSourceARN":"arn:aws:kinesis:eu-west-1:123456789012:stream/s"}"#,
        );
        assert_eq!(std::str::from_utf8(&record.json).unwrap(), expected);
        assert_eq!(record.arrived, 1_545_084_650_987);
    }

    // Spec: service-api.md §7.6, second table.
    #[test]
    fn filters_see_the_data_decoded() {
        let check = |data: &[u8], filters: &[&str], passes: bool| {
            assert_eq!(read(data, filters).passes, passes, "{filters:?}");
        };
        let wanted = r#"{"data":{"a":[1]}}"#;
        check(br#"{"a":1}"#, &[wanted], true);
        check(br#"{"a":2}"#, &[wanted], false);
        check(b"text", &[wanted], false);
        check(b"\xff\xfe", &[wanted], false);
        check(b"text", &[r#"{"partitionKey":["1"]}"#], true);
        check(b"text", &[r#"{"kinesis":{"partitionKey":["2"]}}"#, wanted], false);
        let text = Pattern::parse(r#"{"data":["text"]}"#, DataField::of(Some(StreamKind::Kinesis)));
        text.unwrap_err();
    }
}
