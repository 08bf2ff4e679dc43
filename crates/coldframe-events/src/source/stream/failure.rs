//! What is told of records that are given up (service-api.md §7.3, "On failure destination").

use coldframe_core::source::{StreamArn, StreamKind};
use coldframe_core::{Destination, RequestId};
use coldframe_store::FunctionKey;
use coldframe_store::queue::{Event, Millis, Work};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::super::polled::Polled;
use super::record::{Record, event};
use crate::now;
use crate::record::{RequestContext, strftime, timestamp};

/// Why records are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    RetryAttemptsExhausted,
    RecordAgeExceeded,
}

/// The last answer to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Last {
    pub(super) request_id: RequestId,
    pub(super) version: String,
    /// Not one that names records.
    pub(super) function_error: bool,
}

/// Records that are given up; at least one.
pub(super) struct GivenUp<'a> {
    pub(super) shard: &'a str,
    pub(super) records: &'a [Record],
    pub(super) condition: Condition,
    pub(super) invokes: u32,
    pub(super) last: Option<&'a Last>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    request_context: RequestContext<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_context: Option<ResponseContext<'a>>,
    version: &'static str,
    timestamp: String,
    #[serde(rename = "KinesisBatchInfo", skip_serializing_if = "Option::is_none")]
    kinesis: Option<BatchInfo<'a>>,
    #[serde(rename = "DDBStreamBatchInfo", skip_serializing_if = "Option::is_none")]
    dynamodb: Option<BatchInfo<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseContext<'a> {
    status_code: u16,
    executed_version: &'a str,
    /// `null` where the function has named what failed.
    function_error: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchInfo<'a> {
    shard_id: &'a str,
    start_sequence_number: &'a str,
    end_sequence_number: &'a str,
    approximate_arrival_of_first_record: String,
    approximate_arrival_of_last_record: String,
    batch_size: usize,
    stream_arn: &'a str,
}

impl GivenUp<'_> {
    /// What the destination gets, as an event of the durable queue.
    pub(super) fn telling(&self, polled: &Polled, stream: &StreamArn, destination: &str) -> Event {
        let function = FunctionKey::from(&polled.mapping.function);
        let request_id = self.last.map_or_else(|| Uuid::new_v4().into(), |last| last.request_id);
        let (partition, id) = (polled.mapping.function.partition(), polled.mapping.id);
        let (region, account) = (&function.region, &function.account);
        let mapping = format!(
            "arn:{partition}:lambda:{region}:{account}:event-source-mapping:{id}/{}",
            self.shard
        );
        let whole = matches!(Destination::parse(destination), Some(Destination::Bucket { .. }));
        let payload = self.record(&polled.function_arn(), stream, request_id, now(), whole);
        let work = Work::Deliver {
            destination: destination.to_owned(),
            function,
            // What it is of: an object in S3 is named by it.
            function_arn: mapping,
            success: false,
            dead_letter: None,
        };
        // Its own: parts of a batch have their last answer in common, and an object in S3 is named by
        // it.
        let own = Uuid::new_v4().into();
        Event { request_id: own, trace_header: None, work, payload: payload.into() }
    }

    /// JSON text; `whole`: with the event that the function got.
    fn record(
        &self,
        function_arn: &str,
        stream: &StreamArn,
        request_id: RequestId,
        at: Millis,
        whole: bool,
    ) -> Vec<u8> {
        let (condition, answered) = match self.condition {
            Condition::RetryAttemptsExhausted => ("RetryAttemptsExhausted", self.last),
            Condition::RecordAgeExceeded => ("RecordAgeExceeded", None),
        };
        let arrived = |record: Option<&Record>| {
            let arrived = record.map_or(at, |record| record.arrived);
            match stream.kind {
                StreamKind::Kinesis => timestamp(arrived),
                StreamKind::DynamoDb => strftime(arrived, "%Y-%m-%dT%H:%M:%SZ"),
            }
        };
        let number = |record: Option<&Record>| {
            record.map_or("", |record| record.sequence_number.as_str()).to_owned()
        };
        let (first, last) = (self.records.first(), self.records.last());
        let (start, end) = (number(first), number(last));
        let info = BatchInfo {
            shard_id: self.shard,
            start_sequence_number: &start,
            end_sequence_number: &end,
            approximate_arrival_of_first_record: arrived(first),
            approximate_arrival_of_last_record: arrived(last),
            batch_size: self.records.len(),
            stream_arn: &stream.text,
        };
        let (kinesis, dynamodb) = match stream.kind {
            StreamKind::Kinesis => (Some(info), None),
            StreamKind::DynamoDb => (None, Some(info)),
        };
        let events = whole.then(|| event(self.records, b""));
        let told = Told {
            request_context: RequestContext {
                request_id: &request_id.to_string(),
                function_arn,
                condition,
                approximate_invoke_count: self.invokes,
            },
            response_context: answered.map(|last| ResponseContext {
                status_code: 200,
                executed_version: &last.version,
                function_error: last.function_error.then_some("Unhandled"),
            }),
            version: "1.0",
            timestamp: timestamp(at),
            kinesis,
            dynamodb,
            payload: events.as_deref().and_then(|event| serde_json::from_slice(event).ok()),
        };
        serde_json::to_vec(&told).expect("it has no map with keys that aren't text")
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::*;

    const FUNCTION: &str = "arn:aws:lambda:eu-west-1:123456789012:function:f";

    fn told(stream: &str, condition: Condition, function_error: bool, whole: bool) -> String {
        let stream = StreamArn::parse(stream).unwrap();
        let records = [record(7, 1_764_088_500_123), record(9, 1_764_088_501_000)];
        let request_id = Uuid::nil().into();
        let last = Last { request_id, version: "$LATEST".into(), function_error };
        let given_up = GivenUp {
            shard: "shardId-000000000000",
            records: &records,
            condition,
            invokes: 2,
            last: Some(&last),
        };
        let told = given_up.record(FUNCTION, &stream, request_id, 1_764_088_502_007, whole);
        String::from_utf8(told).unwrap()
    }

    const KINESIS: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/s";

    // Spec: service-api.md §7.3, "On failure destination".
    #[test]
    fn records_read_as_awss() {
        let context = concat!(
            r#"{"requestContext":{"requestId":"00000000-0000-0000-0000-000000000000","#,
            r#""functionArn":"arn:aws:lambda:eu-west-1:123456789012:function:f","#,
        );
        let exhausted = r#""condition":"RetryAttemptsExhausted","approximateInvokeCount":2},"#;
        let answered = |error: &str| {
            format!(
                r#""responseContext":{{"statusCode":200,"executedVersion":"$LATEST","functionError":{error}}},"#
            )
        };
        let version = r#""version":"1.0","timestamp":"2025-11-25T16:35:02.007Z","#;
        let kinesis = concat!(
            r#""KinesisBatchInfo":{"shardId":"shardId-000000000000","startSequenceNumber":"7","#,
            r#""endSequenceNumber":"9","approximateArrivalOfFirstRecord":"2025-11-25T16:35:00.123Z","#,
            r#""approximateArrivalOfLastRecord":"2025-11-25T16:35:01.000Z","batchSize":2,"#,
            r#""streamArn":"arn:aws:kinesis:eu-west-1:123456789012:stream/s"}"#,
        );
        let retried = Condition::RetryAttemptsExhausted;
        assert_eq!(
            told(KINESIS, retried, true, false),
            format!("{context}{exhausted}{}{version}{kinesis}}}", answered("\"Unhandled\""))
        );
        // What the function has named, for S3.
        assert_eq!(
            told(KINESIS, retried, false, true),
            format!(
                r#"{context}{exhausted}{}{version}{kinesis},"payload":{{"Records":[7,9]}}}}"#,
                answered("null")
            )
        );
        let table = "arn:aws:dynamodb:eu-west-1:123456789012:table/t/stream/2025";
        let dynamodb = kinesis
            .replace("KinesisBatchInfo", "DDBStreamBatchInfo")
            .replace(".123Z", "Z")
            .replace(".000Z", "Z")
            .replace(KINESIS, table);
        let old = r#""condition":"RecordAgeExceeded","approximateInvokeCount":2},"#;
        assert_eq!(
            told(table, Condition::RecordAgeExceeded, true, false),
            format!("{context}{old}{version}{dynamodb}}}")
        );
    }
}
