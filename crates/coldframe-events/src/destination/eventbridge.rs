//! EventBridge, by its JSON protocol.

use hyper::Method;
use serde_json::{Value, json};

use super::Letter;
use crate::Options;
use crate::client::{Error, Service, Signed, send};

/// `PutEvents`
pub(super) async fn put(
    options: &Options,
    letter: &Letter<'_>,
    region: &str,
    bus: &str,
) -> Result<(), Error> {
    let how = if letter.success { "Success" } else { "Failure" };
    let mut entry = json!({
        "Source": "lambda",
        "DetailType": format!("Lambda Function Invocation Result - {how}"),
        "Resources": [letter.arn, letter.function_arn],
        "Detail": letter.body,
        "EventBusName": bus,
    });
    if let Some(trace) = letter.trace_header {
        entry["TraceHeader"] = json!(trace);
    }
    let request = Signed {
        service: Service::EventBridge,
        method: Method::POST,
        path: "/",
        region,
        headers: &[
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", "AWSEvents.PutEvents"),
        ],
        body: json!({ "Entries": [entry] }).to_string().into(),
    };
    let answer = send(options, request).await?;
    // Refused events are told in an answer that is a success.
    let answer: Value = serde_json::from_slice(&answer).map_err(|_| Error::Answer)?;
    match answer["FailedEntryCount"].as_u64() {
        Some(0) => Ok(()),
        _ => Err(Error::NotTaken(answer["Entries"].to_string())),
    }
}
