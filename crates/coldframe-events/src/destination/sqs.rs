//! SQS, by its JSON protocol.

use coldframe_core::asynchronous::NoSuchDestination;
use hyper::Method;
use serde_json::{Map, Value, json};

use super::Letter;
use crate::Options;
use crate::client::{Error, Service, Signed, send as send_signed};

/// `SendMessage`
pub(super) async fn send(
    options: &Options,
    letter: &Letter<'_>,
    region: &str,
    account: &str,
    name: &str,
) -> Result<(), Error> {
    let endpoint = options.endpoints.of(Service::Sqs)?;
    let mut body = json!({
        "QueueUrl": format!("{}/{account}/{name}", endpoint),
        "MessageBody": letter.body,
    });
    let attribute = |kind: &str, value: &str| json!({ "DataType": kind, "StringValue": value });
    let attributes: Map<String, Value> = letter
        .attributes()
        .into_iter()
        .map(|(name, kind, value)| (name.to_owned(), attribute(kind, &value)))
        .collect();
    if !attributes.is_empty() {
        body["MessageAttributes"] = attributes.into();
    }
    if let Some(trace) = letter.trace_header {
        body["MessageSystemAttributes"] = json!({ "AWSTraceHeader": attribute("String", trace) });
    }
    call(options, region, "AmazonSQS.SendMessage", &body).await
}

/// `GetQueueUrl`
pub(super) async fn check(
    options: &Options,
    region: &str,
    account: &str,
    name: &str,
) -> Result<(), NoSuchDestination> {
    let body = json!({ "QueueName": name, "QueueOwnerAWSAccountId": account });
    match call(options, region, "AmazonSQS.GetQueueUrl", &body).await {
        Err(Error::Status { body, .. })
            if body.contains("QueueDoesNotExist") || body.contains("NonExistentQueue") =>
        {
            Err(NoSuchDestination)
        }
        // What can't be asked now may be there when it is needed.
        _ => Ok(()),
    }
}

async fn call(options: &Options, region: &str, target: &str, body: &Value) -> Result<(), Error> {
    let request = Signed {
        service: Service::Sqs,
        method: Method::POST,
        path: "/",
        region,
        headers: &[("content-type", "application/x-amz-json-1.0"), ("x-amz-target", target)],
        body: body.to_string().into(),
    };
    send_signed(options, request).await.map(drop)
}
