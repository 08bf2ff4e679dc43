//! CreateLogStream, DeleteLogStream, DescribeLogStreams

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, Checks, invalid, limit, no_group, no_stream, no_token, nothing, on_disk};
use crate::error::Error;
use crate::log::{Stream, now};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    log_group_name: Option<String>,
    log_stream_name: Option<String>,
}

impl Named {
    fn of(call: &Call) -> Result<(String, String), Error> {
        let Self { log_group_name: group, log_stream_name: stream } = call.input()?;
        Checks::default()
            .required("logGroupName", &group)
            .group("logGroupName", group.as_deref())
            .required("logStreamName", &stream)
            .stream("logStreamName", stream.as_deref())
            .end()?;
        Ok((group.unwrap_or_default(), stream.unwrap_or_default()))
    }
}

pub(super) fn create(call: &Call) -> Result<Value, Error> {
    let (group, stream) = Named::of(call)?;
    let made = call.group(&group)?.create_stream(&stream, now()).map_err(|_| no_group())?;
    if !made {
        let text = "The specified log stream already exists";
        return Err(Error::new("ResourceAlreadyExistsException", text));
    }
    Ok(nothing())
}

pub(super) fn delete(call: &Call) -> Result<Value, Error> {
    let (group, stream) = Named::of(call)?;
    match call.group(&group)?.delete_stream(&stream).map_err(on_disk)? {
        true => Ok(nothing()),
        false => Err(no_stream()),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Describe {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_stream_name_prefix: Option<String>,
    order_by: Option<String>,
    descending: Option<bool>,
    limit: Option<i64>,
    next_token: Option<String>,
}

pub(super) fn describe(call: &Call) -> Result<Value, Error> {
    let input: Describe = call.input()?;
    let prefix = input.log_stream_name_prefix.unwrap_or_default();
    Checks::default()
        .group("logGroupName", input.log_group_name.as_deref())
        .stream("logStreamNamePrefix", Some(&*prefix).filter(|prefix| !prefix.is_empty()))
        .one_of("orderBy", input.order_by.as_deref(), &["LogStreamName", "LastEventTime"])
        .range("limit", input.limit, 1, 50)
        .end()?;
    let name = call.named(&input.log_group_name, &input.log_group_identifier)?;
    let by_time = input.order_by.as_deref() == Some("LastEventTime");
    if by_time && !prefix.is_empty() {
        return Err(invalid("Cannot order by LastEventTime with a logStreamNamePrefix."));
    }
    let group = call.group(name)?;
    let arn = call.arn(name);
    // Those of one time by their names.
    let key = |(name, stream): &(Arc<str>, Stream)| {
        (if by_time { stream.span.last } else { 0 }, name.clone())
    };
    let descending = input.descending == Some(true);
    // A page begins behind the last one's end, wherever that stream is by now.
    let end = input.next_token.as_deref().map(Token::parse).transpose()?;
    let mut streams = group.streams();
    streams.retain(|one| {
        let is_behind = |Token(end): &Token| {
            if descending { key(one) < *end } else { key(one) > *end }
        };
        one.0.starts_with(&prefix) && end.as_ref().is_none_or(is_behind)
    });
    streams.sort_by_cached_key(key);
    if descending {
        streams.reverse();
    }
    let limit = limit(input.limit, 50);
    let more = streams.len() > limit;
    streams.truncate(limit);
    let mut answer = json!({});
    if let Some(last) = streams.last().filter(|_| more) {
        answer["nextToken"] = json!(Token(key(last)).to_string());
    }
    let streams = streams.into_iter().map(|(name, stream)| {
        let mut shown = json!({
            "logStreamName": &*name,
            "creationTime": stream.created,
            "arn": format!("{arn}:log-stream:{name}"),
            // AWS has counted nothing here since 2019.
            "storedBytes": 0,
            "uploadSequenceToken": sequence_token(stream.span.events),
        });
        if stream.span.events > 0 {
            shown["firstEventTimestamp"] = json!(stream.span.first);
            shown["lastEventTimestamp"] = json!(stream.span.last);
            shown["lastIngestionTime"] = json!(stream.span.ingested);
        }
        shown
    });
    answer["logStreams"] = streams.collect();
    Ok(answer)
}

/// Where a page ended: `TIME:NAME`; no name has a colon.
struct Token((u64, Arc<str>));

impl Token {
    fn parse(text: &str) -> Result<Self, Error> {
        let (time, name) = text.split_once(':').ok_or_else(no_token)?;
        let time = time.parse().map_err(|_| no_token())?;
        Checks::default().stream("nextToken", Some(name)).end().map_err(|_| no_token())?;
        Ok(Self((time, name.into())))
    }
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self((time, name)) = self;
        write!(f, "{time}:{name}")
    }
}

/// Nobody needs it any more, but old agents hand it back.
pub(super) fn sequence_token(events: u64) -> String {
    format!("{:056}", u128::from(events) + 1)
}
