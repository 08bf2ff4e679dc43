//! PutLogEvents, GetLogEvents, FilterLogEvents

use serde::Deserialize;
use serde_json::{Value, json};

use super::streams::sequence_token;
use super::{Call, Checks, invalid, limit, no_group, no_stream, no_token};
use crate::error::Error;
use crate::log::pattern::Pattern;
use crate::log::{Direction, EVENT_OVERHEAD_BYTES, Found, MS_PER_DAY, New, Position, Query, now};

/// Of one PutLogEvents, bytes (CloudWatch Logs quotas).
const BATCH_BYTES_MAX: usize = 1_048_576;

/// Events of one PutLogEvents, and of one page.
const EVENTS_MAX: usize = 10_000;

const MS_PER_HOUR: u64 = 60 * 60 * 1000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Put {
    log_group_name: Option<String>,
    log_stream_name: Option<String>,
    log_events: Option<Vec<Event>>,
}

#[derive(Deserialize)]
struct Event {
    timestamp: u64,
    message: String,
}

pub(super) fn put(call: &Call) -> Result<Value, Error> {
    let input: Put = call.input()?;
    let (name, stream) = (input.log_group_name, input.log_stream_name);
    let events = input.log_events;
    Checks::default()
        .required("logGroupName", &name)
        .group("logGroupName", name.as_deref())
        .required("logStreamName", &stream)
        .stream("logStreamName", stream.as_deref())
        .required("logEvents", &events)
        .range("logEvents", events.as_ref().map(|events| events.len() as i64), 1, 10_000)
        .end()?;
    let (name, stream) = (name.unwrap_or_default(), stream.unwrap_or_default());
    let events = events.unwrap_or_default();
    let bytes: usize = events.iter().map(|event| event.message.len() + EVENT_OVERHEAD_BYTES).sum();
    if bytes > BATCH_BYTES_MAX {
        return Err(invalid(format!(
            "Upload too large: {bytes} bytes exceeds limit of {BATCH_BYTES_MAX}"
        )));
    }
    if events.iter().any(|event| event.message.is_empty()) {
        return Err(invalid("Log event message must not be empty."));
    }
    if !events.is_sorted_by_key(|event| event.timestamp) {
        return Err(invalid(
            "Log events in a single PutLogEvents request must be in chronological order.",
        ));
    }
    let group = call.group(&name)?;
    if !group.has_stream(&stream) {
        return Err(no_stream());
    }
    let now = now();
    let retention = group.settings().retention_days.map(|days| u64::from(days) * MS_PER_DAY);
    let old = events.partition_point(|event| event.timestamp.saturating_add(14 * MS_PER_DAY) < now);
    let expired = retention.map_or(0, |kept| {
        events.partition_point(|event| event.timestamp.saturating_add(kept) < now)
    });
    let new = events.partition_point(|event| event.timestamp <= now + 2 * MS_PER_HOUR);
    let good = events.get(old.max(expired)..new).unwrap_or_default();
    if let (Some(first), Some(last)) = (good.first(), good.last())
        && last.timestamp - first.timestamp > MS_PER_DAY
    {
        return Err(invalid(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        ));
    }
    let good: Vec<_> =
        good.iter().map(|event| New { at: event.timestamp, text: &event.message }).collect();
    if !good.is_empty() {
        let taken = group.append(&stream, now, &good).map_err(|_| no_group())?;
        call.shared.logs.stored(taken);
    }
    let mut rejected = json!({});
    if new < events.len() {
        rejected["tooNewLogEventStartIndex"] = json!(new);
    }
    if expired > old {
        rejected["expiredLogEventEndIndex"] = json!(expired);
    } else if old > 0 {
        rejected["tooOldLogEventEndIndex"] = json!(old);
    }
    let mut answer = json!({ "nextSequenceToken": sequence_token(now) });
    if rejected.as_object().is_some_and(|rejected| !rejected.is_empty()) {
        answer["rejectedLogEventsInfo"] = rejected;
    }
    Ok(answer)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Get {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_stream_name: Option<String>,
    start_time: Option<i64>,
    end_time: Option<i64>,
    next_token: Option<String>,
    limit: Option<i64>,
    start_from_head: Option<bool>,
}

pub(super) fn get(call: &Call) -> Result<Value, Error> {
    let input: Get = call.input()?;
    Checks::default()
        .group("logGroupName", input.log_group_name.as_deref())
        .required("logStreamName", &input.log_stream_name)
        .stream("logStreamName", input.log_stream_name.as_deref())
        .range("startTime", input.start_time, 0, i64::MAX)
        .range("endTime", input.end_time, 0, i64::MAX)
        .range("limit", input.limit, 1, EVENTS_MAX as i64)
        .end()?;
    let group = call.group(call.named(&input.log_group_name, &input.log_group_identifier)?)?;
    let stream = input.log_stream_name.unwrap_or_default();
    if !group.has_stream(&stream) {
        return Err(no_stream());
    }
    let (from, until) = (time(input.start_time, 0), time(input.end_time, u64::MAX));
    let token = input.next_token.as_deref().map(Token::parse).transpose()?;
    let direction = match (token, input.start_from_head) {
        (Some(token), _) => token.direction,
        (None, Some(true)) => Direction::Forward,
        (None, _) => Direction::Backward,
    };
    let position = token.map(|token| token.position);
    let limit = limit(input.limit, EVENTS_MAX);
    let query = Query { from, until, position, direction, limit, matches: &|_| true };
    let mut events = group.snapshot(now(), |name| name == stream).page(&query).events;
    if direction == Direction::Backward {
        events.reverse();
    }
    // Without events, both go on from where this page was looked for.
    let start = position.unwrap_or(Position::of_time(from));
    let (forward, backward) = match (events.first(), events.last()) {
        (Some(first), Some(last)) => (last.position.after(), first.position),
        _ => (start, start),
    };
    let token = |direction, position| Token { direction, position }.to_string();
    let shown = events.iter().map(|event| {
        json!({
            "timestamp": event.at,
            "message": event.text,
            "ingestionTime": event.ingested,
        })
    });
    Ok(json!({
        "events": shown.collect::<Value>(),
        "nextForwardToken": token(Direction::Forward, forward),
        "nextBackwardToken": token(Direction::Backward, backward),
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_stream_names: Option<Vec<String>>,
    log_stream_name_prefix: Option<String>,
    start_time: Option<i64>,
    end_time: Option<i64>,
    filter_pattern: Option<String>,
    next_token: Option<String>,
    limit: Option<i64>,
    start_from_head: Option<bool>,
}

pub(super) fn filter(call: &Call) -> Result<Value, Error> {
    let input: Filter = call.input()?;
    let (names, prefix) = (input.log_stream_names, input.log_stream_name_prefix);
    let mut checks = Checks::default()
        .group("logGroupName", input.log_group_name.as_deref())
        .stream("logStreamNamePrefix", prefix.as_deref())
        .range("logStreamNames", names.as_ref().map(|names| names.len() as i64), 1, 100)
        .range("startTime", input.start_time, 0, i64::MAX)
        .range("endTime", input.end_time, 0, i64::MAX)
        .range("limit", input.limit, 1, EVENTS_MAX as i64);
    for name in names.iter().flatten() {
        checks = checks.stream("logStreamNames", Some(name));
    }
    let pattern = input.filter_pattern.unwrap_or_default();
    checks.at_most("filterPattern", pattern.chars().count(), 1024).end()?;
    if names.is_some() && prefix.is_some() {
        return Err(invalid(
            "logStreamNames and logStreamNamePrefix are mutually exclusive parameters.",
        ));
    }
    let pattern = Pattern::parse(&pattern).map_err(|invalid| self::invalid(invalid.0))?;
    let group = call.group(call.named(&input.log_group_name, &input.log_group_identifier)?)?;
    if names.iter().flatten().any(|name| !group.has_stream(name)) {
        return Err(no_stream());
    }
    let token = input.next_token.as_deref().map(Token::parse).transpose()?;
    let direction = match (token, input.start_from_head) {
        (Some(token), _) => token.direction,
        (None, Some(false)) => Direction::Backward,
        (None, _) => Direction::Forward,
    };
    let query = Query {
        from: time(input.start_time, 0),
        // The last millisecond belongs to it, here and not in GetLogEvents.
        until: time(input.end_time, u64::MAX - 1).saturating_add(1),
        position: token.map(|token| token.position),
        direction,
        limit: limit(input.limit, EVENTS_MAX),
        matches: &|message| pattern.matches(message),
    };
    let wanted = |name: &str| {
        names.as_ref().is_none_or(|names| names.iter().any(|wanted| wanted == name))
            && prefix.as_ref().is_none_or(|prefix| name.starts_with(prefix.as_str()))
    };
    let page = group.snapshot(now(), wanted).page(&query);
    let mut answer = json!({
        "events": page.events.iter().map(filtered).collect::<Value>(),
        "searchedLogStreams": [],
    });
    if let Some(position) = page.next {
        answer["nextToken"] = json!(Token { direction, position }.to_string());
    }
    Ok(answer)
}

fn filtered(event: &Found) -> Value {
    json!({
        "logStreamName": &*event.stream,
        "timestamp": event.at,
        "message": event.text,
        "ingestionTime": event.ingested,
        // 56 digits, as AWS has them: readers tell events apart by it.
        "eventId": format!("{:056}", event.position.0),
    })
}

fn time(given: Option<i64>, default: u64) -> u64 {
    given.and_then(|time| u64::try_from(time).ok()).unwrap_or(default)
}

/// Where a reader goes on: `f/` or `b/`, and a position.
#[derive(Clone, Copy)]
struct Token {
    direction: Direction,
    position: Position,
}

impl Token {
    fn parse(text: &str) -> Result<Self, Error> {
        let parse = || {
            let (direction, position) = text.strip_suffix("/s")?.split_once('/')?;
            let direction = match direction {
                "f" => Direction::Forward,
                "b" => Direction::Backward,
                _ => return None,
            };
            let plain = position.len() == 56 && position.bytes().all(|b| b.is_ascii_digit());
            let position = Position(position.parse().ok().filter(|_| plain)?);
            Some(Self { direction, position })
        };
        parse().ok_or_else(no_token)
    }
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let direction = if self.direction == Direction::Forward { 'f' } else { 'b' };
        write!(f, "{direction}/{:056}/s", self.position.0)
    }
}
