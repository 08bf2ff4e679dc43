//! What a mapping may be told: defaults, rules, and the sources there are (service-api.md §7.1).

use std::collections::BTreeMap;

use coldframe_core::source::{EventSources, QueueArn};
use serde_json::{Value, json};

use crate::Error;

/// Messages of one invocation, unless told.
pub(super) const BATCH_SIZE: usize = 10;

/// Messages of one invocation that need no window.
const BATCH_SIZE_AT_ONCE: u64 = 10;

/// Filters of one mapping (service-api.md §0.3).
const FILTERS_MAX: usize = 5;

type Settings = BTreeMap<String, Value>;

/// What is echoed though it wasn't given.
pub(super) fn defaults() -> Settings {
    let defaults = [
        ("BatchSize", json!(BATCH_SIZE)),
        ("MaximumBatchingWindowInSeconds", json!(0)),
        ("FunctionResponseTypes", json!([])),
    ];
    defaults.map(|(name, value)| (name.to_owned(), value)).into()
}

/// The queue that a request names.
///
/// # Errors
/// If it names none: another source, which this server doesn't know, or nothing.
pub(super) fn queue(given: &Value) -> Result<QueueArn, Error> {
    let is_given = |name: &str| !given[name].is_null();
    let unsupported =
        |source: &str| Err(Error::not_implemented(&format!("An event source mapping of {source}")));
    if is_given("SelfManagedEventSource") {
        if !is_given("SourceAccessConfigurations") {
            return Err(Error::invalid(
                "Required 'sourceAccessConfigurations' parameter is missing.",
            ));
        }
        return unsupported("self-managed Apache Kafka");
    }
    let unknown = || Error::invalid("Unrecognized event source.");
    let arn = given["EventSourceArn"].as_str().ok_or_else(unknown)?;
    if let Some(queue) = QueueArn::parse(arn) {
        if is_given("StartingPosition") {
            return Err(Error::invalid(format!(
                "Unsupported starting position for arn type: {arn}"
            )));
        }
        return Ok(queue);
    }
    let service = arn.split(':').nth(2).unwrap_or_default();
    let source = match service {
        "kinesis" => "Kinesis",
        "dynamodb" => "DynamoDB Streams",
        "kafka" => "Amazon MSK",
        "mq" => "Amazon MQ",
        "rds" => "Amazon DocumentDB",
        _ => return Err(unknown()),
    };
    if matches!(service, "kinesis" | "dynamodb") {
        if !is_given("StartingPosition") {
            return Err(Error::invalid(
                "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must not be null.",
            ));
        }
        if service == "dynamodb" && given["StartingPosition"] == "AT_TIMESTAMP" {
            return Err(Error::invalid(format!(
                "Unsupported starting position for arn type: {arn}"
            )));
        }
    }
    unsupported(source)
}

/// Adds what a request gives to what there is.
///
/// # Errors
/// If a queue can't have it so.
pub(super) fn merge(
    settings: &mut Settings,
    given: &Value,
    queue: &QueueArn,
    sources: &dyn EventSources,
) -> Result<(), Error> {
    let destinations = &given["DestinationConfig"];
    if destinations.as_object().is_some_and(|sides| !sides.is_empty()) {
        return Err(unsupported("DestinationConfig"));
    }
    // By analogy: only the text for destinations is recorded.
    let of_streams = [
        "BisectBatchOnFunctionError",
        "MaximumRecordAgeInSeconds",
        "MaximumRetryAttempts",
        "ParallelizationFactor",
        "TumblingWindowInSeconds",
    ];
    if let Some(name) = of_streams.into_iter().find(|name| !given[*name].is_null()) {
        return Err(unsupported(name));
    }
    let members = [
        "BatchSize",
        "MaximumBatchingWindowInSeconds",
        "FunctionResponseTypes",
        "FilterCriteria",
        "ScalingConfig",
        // Without effect.
        "KMSKeyArn",
        "LoggingConfig",
        "MetricsConfig",
        "ProvisionedPollerConfig",
    ];
    for name in members {
        match &given[name] {
            Value::Null => {}
            // Taken away.
            Value::Object(none) if none.is_empty() => drop(settings.remove(name)),
            value => drop(settings.insert(name.to_owned(), value.clone())),
        }
    }
    let number = |name: &str| settings.get(name).and_then(Value::as_u64).unwrap_or_default();
    let (batch_size, window) = (number("BatchSize"), number("MaximumBatchingWindowInSeconds"));
    if queue.is_fifo() {
        // Both texts are remembered, not recorded.
        if window > 0 {
            return Err(Error::invalid("Batching window is not supported for FIFO queues."));
        }
        if batch_size > BATCH_SIZE_AT_ONCE {
            return Err(Error::invalid(
                "Batch size for FIFO queues must be less than or equal to 10.",
            ));
        }
    }
    if batch_size > BATCH_SIZE_AT_ONCE && window == 0 {
        return Err(Error::invalid(
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10",
        ));
    }
    if settings.contains_key("ScalingConfig") && settings.contains_key("ProvisionedPollerConfig") {
        return Err(Error::invalid(
            "ScalingConfig and ProvisionedPollerConfig can not be used together.",
        ));
    }
    check_filters(settings.get("FilterCriteria").unwrap_or(&Value::Null), sources)
}

fn check_filters(criteria: &Value, sources: &dyn EventSources) -> Result<(), Error> {
    let filters = criteria["Filters"].as_array().map_or(&[][..], Vec::as_slice);
    if filters.len() > FILTERS_MAX {
        return Err(Error::invalid(format!(
            "A mapping has at most {FILTERS_MAX} filters: {} are given.",
            filters.len()
        )));
    }
    let check = |filter: &Value| sources.check_pattern(&pattern(filter));
    filters.iter().try_for_each(check).map_err(|error| Error::invalid(error.to_string()))
}

/// The pattern of a filter; one without lets all pass.
pub(super) fn pattern(filter: &Value) -> String {
    filter["Pattern"].as_str().unwrap_or("{}").to_owned()
}

fn unsupported(parameter: &str) -> Error {
    Error::invalid(format!(
        "Unsupported {parameter} parameter for given event source mapping type."
    ))
}

#[cfg(test)]
mod tests;
