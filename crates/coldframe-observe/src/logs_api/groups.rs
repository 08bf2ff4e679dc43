//! CreateLogGroup, DeleteLogGroup, DescribeLogGroups, PutRetentionPolicy, DeleteRetentionPolicy

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Call, Checks, invalid, limit, no_group, no_token, nothing, of_identifier, on_disk, tags,
};
use crate::error::Error;

/// Days that logs may be kept.
const RETENTIONS: [u32; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Create {
    log_group_name: Option<String>,
    tags: Option<BTreeMap<String, String>>,
}

pub(super) fn create(call: &Call) -> Result<Value, Error> {
    let input: Create = call.input()?;
    let name = input.log_group_name;
    let checks = Checks::default().required("logGroupName", &name);
    checks.group("logGroupName", name.as_deref()).end()?;
    let name = name.unwrap_or_default();
    let tags = input.tags.unwrap_or_default();
    tags::check(&tags)?;
    let key = call.key(&name);
    let (group, made, written) = call.shared.logs.create(&key);
    if !made {
        let text = "The specified log group already exists";
        return Err(Error::new("ResourceAlreadyExistsException", text));
    }
    let tagged = written.and_then(|()| match tags.is_empty() {
        true => Ok(()),
        false => group.change(|settings| settings.tags = tags),
    });
    if let Err(error) = tagged {
        let _ = call.shared.logs.delete(&key);
        return Err(on_disk(error));
    }
    Ok(nothing())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    log_group_name: Option<String>,
    retention_in_days: Option<i64>,
}

impl Named {
    fn of(call: &Call) -> Result<(String, Option<i64>), Error> {
        let input: Self = call.input()?;
        let name = input.log_group_name;
        let checks = Checks::default().required("logGroupName", &name);
        checks.group("logGroupName", name.as_deref()).end()?;
        Ok((name.unwrap_or_default(), input.retention_in_days))
    }
}

pub(super) fn delete(call: &Call) -> Result<Value, Error> {
    let (name, _) = Named::of(call)?;
    match call.shared.logs.delete(&call.key(&name)).map_err(on_disk)? {
        true => Ok(nothing()),
        false => Err(no_group()),
    }
}

pub(super) fn put_retention(call: &Call) -> Result<Value, Error> {
    let (name, days) = Named::of(call)?;
    Checks::default().required("retentionInDays", &days).end()?;
    let days = days.unwrap_or_default();
    let Some(days) = RETENTIONS.into_iter().find(|known| i64::from(*known) == days) else {
        let known: Vec<_> = RETENTIONS.iter().map(u32::to_string).collect();
        return Err(invalid(format!(
            "1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy \
             constraint: Member must satisfy enum value set: [{}]",
            known.join(", ")
        )));
    };
    let group = call.group(&name)?;
    group.change(|settings| settings.retention_days = Some(days)).map_err(on_disk)?;
    call.shared.logs.expire();
    Ok(nothing())
}

pub(super) fn delete_retention(call: &Call) -> Result<Value, Error> {
    let (name, _) = Named::of(call)?;
    call.group(&name)?.change(|settings| settings.retention_days = None).map_err(on_disk)?;
    Ok(nothing())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Describe {
    log_group_name_prefix: Option<String>,
    log_group_name_pattern: Option<String>,
    log_group_class: Option<String>,
    log_group_identifiers: Option<Vec<String>>,
    limit: Option<i64>,
    next_token: Option<String>,
}

pub(super) fn describe(call: &Call) -> Result<Value, Error> {
    let input: Describe = call.input()?;
    let (prefix, pattern) = (input.log_group_name_prefix, input.log_group_name_pattern);
    let wanted = pattern.as_deref().filter(|pattern| !pattern.is_empty());
    Checks::default()
        .group("logGroupNamePrefix", prefix.as_deref())
        .group("logGroupNamePattern", wanted)
        .range("limit", input.limit, 1, 50)
        .end()?;
    if prefix.is_some() && pattern.is_some() {
        return Err(invalid(
            "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
        ));
    }
    let wanted = |name: &str| {
        let named = input.log_group_identifiers.as_ref();
        prefix.as_ref().is_none_or(|prefix| name.starts_with(prefix.as_str()))
            && pattern.as_ref().is_none_or(|pattern| name.contains(pattern.as_str()))
            && named.is_none_or(|all| all.iter().any(|one| of_identifier(one) == name))
            && input.log_group_class.as_deref().is_none_or(|class| class == "STANDARD")
    };
    // The last group of the page before.
    if Checks::default().group("nextToken", input.next_token.as_deref()).end().is_err() {
        return Err(no_token());
    }
    let limit = limit(input.limit, 50);
    let all = call.shared.logs.list(&call.account, &call.region, input.next_token.as_deref());
    let mut found: Vec<_> =
        all.into_iter().filter(|(key, _)| wanted(&key.name)).take(limit + 1).collect();
    let more = found.len() > limit;
    found.truncate(limit);
    let mut answer = json!({});
    if let Some((last, _)) = found.last().filter(|_| more) {
        answer["nextToken"] = json!(&*last.name);
    }
    let groups = found.into_iter().map(|(key, group)| {
        let (settings, arn) = (group.settings(), call.arn(&key.name));
        let mut shown = json!({
            "logGroupName": &*settings.name,
            "creationTime": settings.created,
            "metricFilterCount": 0,
            "arn": format!("{arn}:*"),
            "logGroupArn": arn,
            "logGroupClass": "STANDARD",
            "storedBytes": group.stored_bytes(),
        });
        if let Some(days) = settings.retention_days {
            shown["retentionInDays"] = json!(days);
        }
        shown
    });
    answer["logGroups"] = groups.collect();
    Ok(answer)
}
