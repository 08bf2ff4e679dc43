//! What a mapping may be told: defaults, rules, and the sources there are (service-api.md §7.1).

pub(super) mod queue;
pub(super) mod stream;

use std::collections::BTreeMap;

use coldframe_core::source::{EventSources, QueueArn, StreamArn, StreamKind};
use serde_json::{Value, json};

use crate::Error;

/// Filters of one mapping (service-api.md §0.3).
const FILTERS_MAX: usize = 5;

pub(super) type Settings = BTreeMap<String, Value>;

/// Where the events of a mapping come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SourceArn {
    Queue(QueueArn),
    Stream(StreamArn),
}

impl SourceArn {
    /// `None` if the ARN is none of a source that this server polls.
    pub(super) fn parse(arn: &str) -> Option<Self> {
        let stream = || StreamArn::parse(arn).map(Self::Stream);
        QueueArn::parse(arn).map(Self::Queue).or_else(stream)
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Queue(queue) => &queue.text,
            Self::Stream(stream) => &stream.text,
        }
    }

    /// What is echoed though it wasn't given.
    pub(super) fn defaults(&self) -> Settings {
        let of_its_kind = match self {
            Self::Queue(_) => queue::defaults(),
            Self::Stream(_) => stream::defaults(),
        };
        let mut defaults = Settings::from([
            ("MaximumBatchingWindowInSeconds".to_owned(), json!(0)),
            ("FunctionResponseTypes".to_owned(), json!([])),
        ]);
        defaults.extend(of_its_kind.into_iter().map(|(name, value)| (name.to_owned(), value)));
        defaults
    }
}

/// The source that a request names, and where it is to be read from.
///
/// # Errors
/// If it names none: another source, which this server doesn't know, or nothing.
pub(super) fn source(given: &Value) -> Result<SourceArn, Error> {
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
    match SourceArn::parse(arn) {
        Some(SourceArn::Queue(_)) if is_given("StartingPosition") => {
            return Err(unsupported_start(arn));
        }
        Some(SourceArn::Stream(stream)) => {
            stream::check_start(&stream, given)?;
            return Ok(SourceArn::Stream(stream));
        }
        Some(queue) => return Ok(queue),
        None => {}
    }
    match arn.split(':').nth(2).unwrap_or_default() {
        // Consumers have records pushed to them.
        "kinesis" if arn.contains("/consumer/") => unsupported("a consumer of a Kinesis stream"),
        "kafka" => unsupported("Amazon MSK"),
        "mq" => unsupported("Amazon MQ"),
        "rds" => unsupported("Amazon DocumentDB"),
        _ => Err(unknown()),
    }
}

fn unsupported_start(arn: &str) -> Error {
    Error::invalid(format!("Unsupported starting position for arn type: {arn}"))
}

/// Members that every source may have.
const MEMBERS: [&str; 7] = [
    "BatchSize",
    "MaximumBatchingWindowInSeconds",
    "FunctionResponseTypes",
    "FilterCriteria",
    // Without effect.
    "KMSKeyArn",
    "LoggingConfig",
    "MetricsConfig",
];

/// Adds what a request gives to what there is.
///
/// # Errors
/// If the source can't have it so.
pub(super) fn merge(
    settings: &mut Settings,
    given: &Value,
    source: &SourceArn,
    sources: &dyn EventSources,
) -> Result<(), Error> {
    let (own, others) = match source {
        SourceArn::Queue(_) => (&queue::MEMBERS[..], &stream::MEMBERS[..]),
        SourceArn::Stream(_) => (&stream::MEMBERS[..], &queue::MEMBERS[..]),
    };
    // By analogy: only the text for destinations is recorded.
    let is_set = |value: &Value| match value {
        Value::Null => false,
        Value::Object(members) => !members.is_empty(),
        _ => true,
    };
    if let Some(name) = others.iter().find(|name| is_set(&given[**name])) {
        return Err(unsupported(name));
    }
    for name in MEMBERS.iter().chain(own) {
        match &given[*name] {
            Value::Null => {}
            // Taken away.
            Value::Object(none) if none.is_empty() => drop(settings.remove(*name)),
            value => drop(settings.insert((*name).to_owned(), value.clone())),
        }
    }
    let kind = match source {
        SourceArn::Queue(queue) => {
            queue::check(settings, queue)?;
            None
        }
        SourceArn::Stream(stream) => {
            stream::check(settings)?;
            Some(stream.kind)
        }
    };
    check_filters(settings.get("FilterCriteria").unwrap_or(&Value::Null), kind, sources)
}

fn number(settings: &Settings, name: &str) -> u64 {
    settings.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn check_filters(
    criteria: &Value,
    kind: Option<StreamKind>,
    sources: &dyn EventSources,
) -> Result<(), Error> {
    let filters = criteria["Filters"].as_array().map_or(&[][..], Vec::as_slice);
    if filters.len() > FILTERS_MAX {
        return Err(Error::invalid(format!(
            "A mapping has at most {FILTERS_MAX} filters: {} are given.",
            filters.len()
        )));
    }
    let check = |filter: &Value| sources.check_pattern(kind, &pattern(filter));
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
