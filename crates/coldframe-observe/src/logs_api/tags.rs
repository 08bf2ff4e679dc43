//! TagResource, UntagResource, ListTagsForResource, and the older TagLogGroup, UntagLogGroup,
//! ListTagsLogGroup

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, Checks, invalid, nothing, of_identifier, on_disk};
use crate::error::Error;

/// Tags of a group.
const TAGS_MAX: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    resource_arn: Option<String>,
    log_group_name: Option<String>,
    tags: Option<Value>,
    tag_keys: Option<Vec<String>>,
}

pub(super) fn check(tags: &BTreeMap<String, String>) -> Result<(), Error> {
    let mut checks = Checks::default().at_most("tags", tags.len(), TAGS_MAX);
    for (key, value) in tags {
        checks = checks.range("tags.key", Some(key.chars().count() as i64), 1, 128);
        checks = checks.range("tags.value", Some(value.chars().count() as i64), 0, 256);
    }
    checks.end()
}

impl Input {
    fn of(call: &Call, by_arn: bool) -> Result<(String, Self), Error> {
        let mut input: Self = call.input()?;
        if by_arn {
            Checks::default().required("resourceArn", &input.resource_arn).end()?;
            let arn = input.resource_arn.take().unwrap_or_default();
            if !arn.starts_with(&call.arn("")) {
                return Err(Error::new(
                    "ResourceNotFoundException",
                    "The specified resource does not exist.",
                ));
            }
            return Ok((of_identifier(&arn).to_owned(), input));
        }
        let name = input.log_group_name.take();
        let checks = Checks::default().required("logGroupName", &name);
        checks.group("logGroupName", name.as_deref()).end()?;
        Ok((name.unwrap_or_default(), input))
    }
}

fn tag(call: &Call, by_arn: bool) -> Result<Value, Error> {
    let (name, input) = Input::of(call, by_arn)?;
    Checks::default().required("tags", &input.tags).end()?;
    let tags: BTreeMap<String, String> = serde_json::from_value(input.tags.unwrap_or_default())
        .map_err(|error| Error::new("SerializationException", error.to_string()))?;
    check(&tags)?;
    let group = call.group(&name)?;
    let mut all = group.settings().tags;
    all.extend(tags);
    if all.len() > TAGS_MAX {
        return Err(match by_arn {
            true => Error::new(
                "TooManyTagsException",
                format!("A resource can have at most {TAGS_MAX} tags."),
            ),
            false => invalid(format!("A log group can have at most {TAGS_MAX} tags.")),
        });
    }
    group.change(|settings| settings.tags = all).map_err(on_disk)?;
    Ok(nothing())
}

fn untag(call: &Call, by_arn: bool) -> Result<Value, Error> {
    let (name, input) = Input::of(call, by_arn)?;
    let keys = match by_arn {
        true => input.tag_keys,
        false => input.tags.and_then(|keys| serde_json::from_value(keys).ok()),
    };
    Checks::default().required(if by_arn { "tagKeys" } else { "tags" }, &keys).end()?;
    let keys = keys.unwrap_or_default();
    let group = call.group(&name)?;
    group.change(|settings| settings.tags.retain(|key, _| !keys.contains(key))).map_err(on_disk)?;
    Ok(nothing())
}

fn list(call: &Call, by_arn: bool) -> Result<Value, Error> {
    let (name, _) = Input::of(call, by_arn)?;
    Ok(json!({ "tags": call.group(&name)?.settings().tags }))
}

pub(super) fn tag_resource(call: &Call) -> Result<Value, Error> {
    tag(call, true)
}

pub(super) fn untag_resource(call: &Call) -> Result<Value, Error> {
    untag(call, true)
}

pub(super) fn list_for_resource(call: &Call) -> Result<Value, Error> {
    list(call, true)
}

pub(super) fn tag_group(call: &Call) -> Result<Value, Error> {
    tag(call, false)
}

pub(super) fn untag_group(call: &Call) -> Result<Value, Error> {
    untag(call, false)
}

pub(super) fn list_of_group(call: &Call) -> Result<Value, Error> {
    list(call, false)
}
