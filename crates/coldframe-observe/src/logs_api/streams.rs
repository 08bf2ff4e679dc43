//! CreateLogStream, DeleteLogStream, DescribeLogStreams

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, Checks, invalid, limit, no_group, no_stream, nothing, on_disk};
use crate::error::Error;
use crate::log::now;

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
    let mut streams = group.streams();
    streams.retain(|(name, _)| name.starts_with(&prefix));
    if by_time {
        // Those of one time by their names: a page begins where the last one ended.
        streams
            .sort_by(|(a_name, a), (b_name, b)| (a.span.last, a_name).cmp(&(b.span.last, b_name)));
    }
    if input.descending == Some(true) {
        streams.reverse();
    }
    if let Some(token) = &input.next_token {
        // A stream that has gone meanwhile, or was never there.
        let at = streams.iter().position(|(name, _)| **name == **token);
        let at = at.ok_or_else(|| invalid("The specified nextToken is invalid."))?;
        streams.drain(..=at);
    }
    let limit = limit(input.limit, 50);
    let more = streams.len() > limit;
    streams.truncate(limit);
    let mut answer = json!({});
    if let Some((last, _)) = streams.last().filter(|_| more) {
        answer["nextToken"] = json!(&**last);
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

/// Nobody needs it any more, but old agents hand it back.
pub(super) fn sequence_token(events: u64) -> String {
    format!("{:056}", u128::from(events) + 1)
}
