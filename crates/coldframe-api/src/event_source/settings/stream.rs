//! What a mapping of a Kinesis stream or of a DynamoDB table's stream may be told (service-api.md
//! §7.1, §7.3).

use std::time::Duration;

use coldframe_core::Destination;
use coldframe_core::source::{Processed, Reading, Start, StreamArn, StreamKind};
use serde_json::{Value, json};

use super::{Settings, unsupported_start};
use crate::Error;

/// Records of one invocation, unless told.
pub(in crate::event_source) const BATCH_SIZE: usize = 100;

/// Least age that may be given, seconds. AWS: UserGuide of Lambda, 60.
const RECORD_AGE_MIN: i64 = 60;

/// Members that only streams have.
pub(super) const MEMBERS: [&str; 6] = [
    "BisectBatchOnFunctionError",
    "DestinationConfig",
    "MaximumRecordAgeInSeconds",
    "MaximumRetryAttempts",
    "ParallelizationFactor",
    "TumblingWindowInSeconds",
];

/// Where it begins is told once, when the mapping is made.
const START: [&str; 2] = ["StartingPosition", "StartingPositionTimestamp"];

pub(super) fn defaults() -> Vec<(&'static str, Value)> {
    vec![
        ("BatchSize", json!(BATCH_SIZE)),
        ("ParallelizationFactor", json!(1)),
        ("BisectBatchOnFunctionError", json!(false)),
        ("MaximumRetryAttempts", json!(-1)),
        ("MaximumRecordAgeInSeconds", json!(-1)),
        ("TumblingWindowInSeconds", json!(0)),
        ("DestinationConfig", json!({ "OnFailure": {} })),
        ("LastProcessingResult", json!(Processed::Nothing.as_str())),
    ]
}

/// Whether the request says where to begin, and the stream can begin there.
pub(super) fn check_start(stream: &StreamArn, given: &Value) -> Result<(), Error> {
    let absent = |member: &str| {
        Error::invalid(format!(
            "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null."
        ))
    };
    match given["StartingPosition"].as_str() {
        None => Err(absent("startingPosition")),
        Some("AT_TIMESTAMP") if stream.kind == StreamKind::DynamoDb => {
            Err(unsupported_start(&stream.text))
        }
        // By analogy.
        Some("AT_TIMESTAMP") if moment(&given["StartingPositionTimestamp"]).is_none() => {
            Err(absent("startingPositionTimestamp"))
        }
        Some(_) => Ok(()),
    }
}

/// Adds where the request begins to what is shown.
pub(in crate::event_source) fn begin(settings: &mut Settings, given: &Value) {
    for name in START {
        if !given[name].is_null() {
            settings.insert(name.to_owned(), given[name].clone());
        }
    }
}

pub(super) fn check(settings: &mut Settings) -> Result<(), Error> {
    let age = settings.get("MaximumRecordAgeInSeconds").and_then(Value::as_i64).unwrap_or(-1);
    if age != -1 && age < RECORD_AGE_MIN {
        // AWS's text isn't known.
        return Err(Error::invalid(format!(
            "MaximumRecordAgeInSeconds must be -1, or {RECORD_AGE_MIN} at least."
        )));
    }
    let config = settings.remove("DestinationConfig").unwrap_or_default();
    if config["OnSuccess"]["Destination"].as_str().is_some_and(|arn| !arn.is_empty()) {
        return Err(super::unsupported("DestinationConfig"));
    }
    let arn = config["OnFailure"]["Destination"].as_str().filter(|arn| !arn.is_empty());
    let on_failure = match arn {
        None => json!({}),
        Some(arn) if arn.starts_with("kafka://") => {
            return Err(Error::not_implemented("A destination in Apache Kafka"));
        }
        Some(arn) => {
            let found = Destination::parse(arn);
            let takes_records = matches!(
                found,
                Some(
                    Destination::Queue { .. }
                        | Destination::Topic { .. }
                        | Destination::Bucket { .. }
                )
            );
            if !takes_records {
                // AWS's text for functions (§4.2); for mappings none is recorded.
                return Err(Error::invalid(format!(
                    "The provided destination config DestinationConfig(onSuccess=null, onFailure=OnFailure(destination={arn})) is invalid."
                )));
            }
            json!({ "Destination": arn })
        }
    };
    settings.insert("DestinationConfig".to_owned(), json!({ "OnFailure": on_failure }));
    Ok(())
}

/// What the poller is told.
pub(in crate::event_source) fn reading(settings: &Settings) -> Reading {
    let setting = |name: &str| settings.get(name).unwrap_or(&Value::Null);
    // -1 is without end.
    let limit = |name: &str| setting(name).as_u64();
    let start = match setting("StartingPosition").as_str() {
        Some("LATEST") => Start::Latest,
        Some("AT_TIMESTAMP") => {
            moment(setting("StartingPositionTimestamp")).map_or(Start::TrimHorizon, Start::At)
        }
        _ => Start::TrimHorizon,
    };
    let destination = &setting("DestinationConfig")["OnFailure"]["Destination"];
    Reading {
        start,
        lanes: limit("ParallelizationFactor")
            .and_then(|lanes| usize::try_from(lanes).ok())
            .unwrap_or(1),
        retries_max: limit("MaximumRetryAttempts").and_then(|count| u32::try_from(count).ok()),
        age_max: limit("MaximumRecordAgeInSeconds").map(Duration::from_secs),
        bisects: setting("BisectBatchOnFunctionError").as_bool().unwrap_or_default(),
        on_failure: destination.as_str().map(str::to_owned),
        tumbling: limit("TumblingWindowInSeconds")
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs),
    }
}

/// Milliseconds since 1970, of seconds or a date.
fn moment(given: &Value) -> Option<i64> {
    if let Some(text) = given.as_str() {
        let moment: jiff::Timestamp = text.parse().ok()?;
        return Some(moment.as_millisecond());
    }
    // What is too large becomes the largest.
    given.as_f64().map(|seconds| (seconds * 1000.0) as i64)
}
