use std::time::Duration;

use coldframe_core::BoxFuture;
use coldframe_core::source::{InvalidPattern, Mapping, SourceError};
use uuid::Uuid;

use super::*;

/// Knows one bad pattern.
struct Fake;

impl EventSources for Fake {
    fn visibility_timeout<'a>(
        &'a self,
        _: &'a QueueArn,
    ) -> BoxFuture<'a, Result<Duration, SourceError>> {
        Box::pin(async { Err(SourceError::NoEndpoint) })
    }

    fn check_pattern(&self, pattern: &str) -> Result<(), InvalidPattern> {
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
        let error = queue(&given).unwrap_err().to_string();
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
    check(
        json!({ "EventSourceArn": stream, "StartingPosition": "LATEST" }),
        "NotImplementedException",
        "An event source mapping of DynamoDB Streams is not supported by this server",
    );
    check(
        of("arn:aws:mq:eu-west-1:123456789012:broker:b:1"),
        "NotImplementedException",
        "An event source mapping of Amazon MQ is not supported by this server",
    );
    assert_eq!(queue(&of(QUEUE)).unwrap().name, "q");
}

#[test]
fn rules_of_queues() {
    let check = |name: &str, given: Value, text: Option<&str>| {
        let queue = QueueArn::parse(&format!("{QUEUE}{name}")).unwrap();
        let refused = merge(&mut defaults(), &given, &queue, &Fake).err();
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
    let queue = QueueArn::parse(QUEUE).unwrap();
    let mut settings = defaults();
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
