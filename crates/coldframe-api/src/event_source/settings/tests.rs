use std::time::Duration;

use coldframe_core::BoxFuture;
use coldframe_core::source::{InvalidPattern, Mapping, Reading, SourceError, Start};
use uuid::Uuid;

use super::*;

/// Knows one bad pattern.
struct Fake;

impl EventSources for Fake {
    fn visibility_timeout<'a>(
        &'a self,
        _: &'a QueueArn,
    ) -> BoxFuture<'a, Result<Duration, SourceError>> {
        Box::pin(async { Err(SourceError::Absent) })
    }

    fn check_stream<'a>(&'a self, _: &'a StreamArn) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async { Err(SourceError::Absent) })
    }

    fn check_pattern(&self, _: Option<StreamKind>, pattern: &str) -> Result<(), InvalidPattern> {
        if pattern == "bad" { Err(InvalidPattern) } else { Ok(()) }
    }

    fn start_polling(&self, _: Mapping) {}

    fn stop_polling(&self, _: Uuid) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

const QUEUE: &str = "arn:aws:sqs:eu-west-1:123456789012:q";

// Spec: service-api.md §7.1, "Errors".
#[test]
fn sources_that_are_none_of_ours_say_so() {
    let check = |given: Value, code: &str, text: &str| {
        let error = source(&given).unwrap_err().to_string();
        assert_eq!(error, format!("{code}: {text}"), "{given}");
    };
    let invalid = "InvalidParameterValueException";
    check(json!({}), invalid, "Unrecognized event source.");
    let of = |arn: &str| json!({ "EventSourceArn": arn });
    check(of("arn:aws:sns:eu-west-1:123456789012:t"), invalid, "Unrecognized event source.");
    let required = "Required 'sourceAccessConfigurations' parameter is missing.";
    check(json!({ "SelfManagedEventSource": {} }), invalid, required);
    let stream = "arn:aws:dynamodb:eu-west-1:123456789012:table/t/stream/2026";
    let missing = "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must not be null.";
    check(of(stream), invalid, missing);
    check(
        json!({ "EventSourceArn": stream, "StartingPosition": "AT_TIMESTAMP" }),
        invalid,
        &format!("Unsupported starting position for arn type: {stream}"),
    );
    let kinesis = "arn:aws:kinesis:eu-west-1:123456789012:stream/s";
    check(
        json!({ "EventSourceArn": kinesis, "StartingPosition": "AT_TIMESTAMP" }),
        invalid,
        &missing.replace("startingPosition", "startingPositionTimestamp"),
    );
    check(
        of(&format!("{kinesis}/consumer/c:1700000000")),
        "NotImplementedException",
        "An event source mapping of a consumer of a Kinesis stream is not supported by this server",
    );
    check(
        of("arn:aws:kinesis:eu-west-1:123456789012:stream/"),
        invalid,
        "Unrecognized event source.",
    );
    check(
        of("arn:aws:mq:eu-west-1:123456789012:broker:b:1"),
        "NotImplementedException",
        "An event source mapping of Amazon MQ is not supported by this server",
    );
    assert_eq!(source(&of(QUEUE)).unwrap().text(), QUEUE);
    for arn in [stream, kinesis] {
        let given = json!({ "EventSourceArn": arn, "StartingPosition": "LATEST" });
        assert!(matches!(source(&given), Ok(SourceArn::Stream(_))), "{arn}");
    }
}

#[test]
fn rules_of_queues() {
    let check = |name: &str, given: Value, text: Option<&str>| {
        let queue = SourceArn::parse(&format!("{QUEUE}{name}")).unwrap();
        let refused = merge(&mut queue.defaults(), &given, &queue, &Fake).err();
        let text = text.map(|text| format!("InvalidParameterValueException: {text}"));
        assert_eq!(refused.map(|error| error.to_string()), text, "{given}");
    };
    check("", json!({}), None);
    check(
        "",
        json!({ "BatchSize": 11 }),
        Some(
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10",
        ),
    );
    check("", json!({ "BatchSize": 10_000, "MaximumBatchingWindowInSeconds": 1 }), None);
    check(
        ".fifo",
        json!({ "MaximumBatchingWindowInSeconds": 1 }),
        Some("Batching window is not supported for FIFO queues."),
    );
    check(
        ".fifo",
        json!({ "BatchSize": 11 }),
        Some("Batch size for FIFO queues must be less than or equal to 10."),
    );
    check(
        "",
        json!({ "DestinationConfig": { "OnFailure": { "Destination": "x" } } }),
        Some("Unsupported DestinationConfig parameter for given event source mapping type."),
    );
    let filters = |patterns: &[&str]| {
        let filters: Vec<Value> = patterns.iter().map(|text| json!({ "Pattern": text })).collect();
        json!({ "FilterCriteria": { "Filters": filters } })
    };
    check("", filters(&["{}", "bad"]), Some("Invalid filter pattern definition."));
    check("", filters(&["{}"; 5]), None);
    check("", filters(&["{}"; 6]), Some("A mapping has at most 5 filters: 6 are given."));
}

#[test]
fn what_is_given_is_added_and_what_is_empty_taken_away() {
    let queue = SourceArn::parse(QUEUE).unwrap();
    let mut settings = queue.defaults();
    let mut merge = |given: Value| {
        merge(&mut settings, &given, &queue, &Fake).unwrap();
        json!(settings)
    };
    let first = merge(json!({
        "BatchSize": 3, "ScalingConfig": { "MaximumConcurrency": 2 },
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
    }));
    assert_eq!(
        first,
        json!({
            "BatchSize": 3, "MaximumBatchingWindowInSeconds": 0,
            "ScalingConfig": { "MaximumConcurrency": 2 },
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
        })
    );
    assert_eq!(merge(json!({})), first);
    let second = merge(json!({ "ScalingConfig": {}, "FunctionResponseTypes": [] }));
    let expected = json!({
        "BatchSize": 3, "MaximumBatchingWindowInSeconds": 0, "FunctionResponseTypes": [],
    });
    assert_eq!(second, expected);
}

const STREAM: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/s";

// Spec: service-api.md §7.1, "Defaults echoed".
#[test]
fn what_streams_echo_and_how_they_are_read() {
    let stream = SourceArn::parse(STREAM).unwrap();
    let mut settings = stream.defaults();
    merge(&mut settings, &json!({}), &stream, &Fake).unwrap();
    let expected = json!({
        "BatchSize": 100, "MaximumBatchingWindowInSeconds": 0, "FunctionResponseTypes": [],
        "ParallelizationFactor": 1, "BisectBatchOnFunctionError": false,
        "MaximumRetryAttempts": -1, "MaximumRecordAgeInSeconds": -1, "TumblingWindowInSeconds": 0,
        "DestinationConfig": { "OnFailure": {} },
        "LastProcessingResult": "No records processed",
    });
    assert_eq!(json!(settings), expected);
    let endless = Reading {
        start: Start::TrimHorizon,
        lanes: 1,
        retries_max: None,
        age_max: None,
        bisects: false,
        on_failure: None,
        tumbling: None,
    };
    stream::begin(&mut settings, &json!({ "StartingPosition": "TRIM_HORIZON" }));
    assert_eq!(stream::reading(&settings), endless);
    let destination = json!({ "OnFailure": { "Destination": QUEUE } });
    let given = json!({
        "BatchSize": 10_000, "ParallelizationFactor": 10, "BisectBatchOnFunctionError": true,
        "MaximumRetryAttempts": 0, "MaximumRecordAgeInSeconds": 60,
        "TumblingWindowInSeconds": 900, "DestinationConfig": destination,
    });
    merge(&mut settings, &given, &stream, &Fake).unwrap();
    let at = json!({
        "StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": 1_700_000_000.5
    });
    stream::begin(&mut settings, &at);
    assert_eq!(settings["DestinationConfig"], destination);
    let limited = Reading {
        start: Start::At(1_700_000_000_500),
        lanes: 10,
        retries_max: Some(0),
        age_max: Some(Duration::from_secs(60)),
        bisects: true,
        on_failure: Some(QUEUE.to_owned()),
        tumbling: Some(Duration::from_secs(900)),
    };
    assert_eq!(stream::reading(&settings), limited);
    let date = json!({ "StartingPositionTimestamp": "2023-11-14T22:13:20.5Z" });
    stream::begin(&mut settings, &date);
    assert_eq!(stream::reading(&settings), limited);
    for none in [json!({}), json!({ "OnFailure": {} })] {
        merge(&mut settings, &json!({ "DestinationConfig": none }), &stream, &Fake).unwrap();
        assert_eq!(settings["DestinationConfig"], json!({ "OnFailure": {} }));
    }
}

#[test]
fn rules_of_streams() {
    let check = |given: Value, text: &str| {
        let stream = SourceArn::parse(STREAM).unwrap();
        let refused = merge(&mut stream.defaults(), &given, &stream, &Fake).unwrap_err();
        assert_eq!(refused.to_string(), text, "{given}");
    };
    check(
        json!({ "ScalingConfig": { "MaximumConcurrency": 2 } }),
        "InvalidParameterValueException: Unsupported ScalingConfig parameter for given event source mapping type.",
    );
    check(
        json!({ "MaximumRecordAgeInSeconds": 59 }),
        "InvalidParameterValueException: MaximumRecordAgeInSeconds must be -1, or 60 at least.",
    );
    let function = "arn:aws:lambda:eu-west-1:123456789012:function:f";
    check(
        json!({ "DestinationConfig": { "OnFailure": { "Destination": function } } }),
        &format!(
            "InvalidParameterValueException: The provided destination config DestinationConfig(onSuccess=null, onFailure=OnFailure(destination={function})) is invalid."
        ),
    );
    check(
        json!({ "DestinationConfig": { "OnSuccess": { "Destination": QUEUE } } }),
        "InvalidParameterValueException: Unsupported DestinationConfig parameter for given event source mapping type.",
    );
    let kafka = json!({ "OnFailure": { "Destination": "kafka://topic" } });
    check(
        json!({ "DestinationConfig": kafka }),
        "NotImplementedException: A destination in Apache Kafka is not supported by this server",
    );
}
