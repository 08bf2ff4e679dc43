//! The subset of CloudWatch Logs that tools use (service-api.md §10.3): each operation takes the
//! JSON of a request and gives the JSON of an answer.

mod events;
mod groups;
mod streams;
mod tags;
mod validation;

use std::sync::Arc;

use coldframe_core::AccountId;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::Error;
use crate::log::{Group, Key};
use crate::{Observe, Shared};

pub(crate) use self::validation::Checks;

/// One request.
pub(crate) struct Call {
    shared: Arc<Shared>,
    account: AccountId,
    region: Arc<str>,
    body: Value,
}

impl Observe {
    /// Answers one operation of `Logs_20140328`. All that has been said before is in the answer.
    ///
    /// # Errors
    /// In AWS's words.
    pub async fn cloudwatch_logs(
        &self,
        account: &AccountId,
        region: &str,
        operation: &str,
        body: &[u8],
    ) -> Result<Value, Error> {
        let run = operation_of(operation).ok_or_else(|| {
            Error::new("UnknownOperationException", format!("{operation} is not implemented"))
        })?;
        let body = if body.is_empty() { b"{}" } else { body };
        let body: Value = serde_json::from_slice(body)
            .map_err(|error| Error::new("SerializationException", error.to_string()))?;
        self.settle().await;
        let (shared, account) = (self.shared.clone(), account.clone());
        let call = Call { shared, account, region: region.into(), body };
        let answered = tokio::task::spawn_blocking(move || run(&call)).await;
        answered.unwrap_or_else(|error| Err(Error::of_service("InternalFailure", &error)))
    }
}

type Operation = fn(&Call) -> Result<Value, Error>;

fn operation_of(name: &str) -> Option<Operation> {
    let operation: Operation = match name {
        "CreateLogGroup" => groups::create,
        "DeleteLogGroup" => groups::delete,
        "DescribeLogGroups" => groups::describe,
        "PutRetentionPolicy" => groups::put_retention,
        "DeleteRetentionPolicy" => groups::delete_retention,
        "CreateLogStream" => streams::create,
        "DeleteLogStream" => streams::delete,
        "DescribeLogStreams" => streams::describe,
        "PutLogEvents" => events::put,
        "GetLogEvents" => events::get,
        "FilterLogEvents" => events::filter,
        "TagResource" => tags::tag_resource,
        "UntagResource" => tags::untag_resource,
        "ListTagsForResource" => tags::list_for_resource,
        "TagLogGroup" => tags::tag_group,
        "UntagLogGroup" => tags::untag_group,
        "ListTagsLogGroup" => tags::list_of_group,
        _ => return None,
    };
    Some(operation)
}

impl Call {
    fn input<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_value(self.body.clone())
            .map_err(|error| Error::new("SerializationException", error.to_string()))
    }

    fn key(&self, name: &str) -> Key {
        Key { account: self.account.clone(), region: self.region.clone(), name: name.into() }
    }

    fn group(&self, name: &str) -> Result<Arc<Group>, Error> {
        self.shared.logs.group(&self.key(name)).ok_or_else(no_group)
    }

    /// `arn:aws:logs:REGION:ACCOUNT:log-group:NAME`
    fn arn(&self, name: &str) -> String {
        let partition = coldframe_core::FunctionArn {
            account: self.account.clone(),
            region: self.region.clone(),
            name: "".into(),
        };
        let (partition, region, account) = (partition.partition(), &self.region, &self.account);
        format!("arn:{partition}:logs:{region}:{account}:log-group:{name}")
    }

    /// The group that a request names in one of two ways.
    fn named<'a>(
        &self,
        name: &'a Option<String>,
        identifier: &'a Option<String>,
    ) -> Result<&'a str, Error> {
        match (name, identifier) {
            (Some(_), Some(_)) => Err(invalid(
                "LogGroup name and LogGroup identifier are mutually exclusive parameters.",
            )),
            (Some(name), None) => Ok(name),
            // That of another account or region isn't here.
            (None, Some(identifier))
                if identifier.starts_with("arn:") && !identifier.starts_with(&self.arn("")) =>
            {
                Err(no_group())
            }
            (None, Some(identifier)) => Ok(of_identifier(identifier)),
            (None, None) => Err(invalid("LogGroup name or LogGroup identifier must be specified.")),
        }
    }
}

/// The name in a group's ARN; a name is itself.
fn of_identifier(identifier: &str) -> &str {
    let name = match identifier.strip_prefix("arn:") {
        Some(_) => identifier.splitn(7, ':').nth(6).unwrap_or_default(),
        None => identifier,
    };
    name.strip_suffix(":*").unwrap_or(name)
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new("InvalidParameterException", message)
}

fn no_group() -> Error {
    Error::new("ResourceNotFoundException", "The specified log group does not exist.")
}

fn no_stream() -> Error {
    Error::new("ResourceNotFoundException", "The specified log stream does not exist.")
}

fn on_disk(error: std::io::Error) -> Error {
    Error::of_service("ServiceUnavailableException", &error)
}

fn no_token() -> Error {
    invalid("The specified nextToken is invalid.")
}

fn nothing() -> Value {
    json!({})
}

/// `limit` from what may be given.
fn limit(given: Option<i64>, default: usize) -> usize {
    given.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(default)
}

#[cfg(test)]
mod tests;
