//! A queue of SQS, by its JSON protocol.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use coldframe_client::Limits;
use coldframe_core::source::{QueueArn, SourceError};
use hyper::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::trouble::told;
use crate::Options;
use crate::client::{Error, Service, Signed, send_within};

/// Messages of one request. AWS: SQS quotas, 10.
pub(crate) const MESSAGES_MAX: usize = 10;

/// Of an answer: ten messages of 1 MiB, all of which JSON must escape.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// From the moment that an answer is due.
const PATIENCE: Duration = Duration::from_secs(30);

/// A message as SQS sends it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Message {
    pub(crate) message_id: String,
    pub(crate) receipt_handle: String,
    pub(crate) body: String,
    #[serde(rename = "MD5OfBody", default)]
    pub(crate) md5_of_body: String,
    #[serde(default)]
    pub(crate) attributes: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) message_attributes: BTreeMap<String, Attribute>,
    #[serde(rename = "MD5OfMessageAttributes")]
    pub(crate) md5_of_message_attributes: Option<String>,
}

impl Message {
    /// The tracing header of who sent it.
    pub(crate) fn trace(&self) -> Option<&str> {
        self.attributes.get("AWSTraceHeader").map(String::as_str)
    }
}

/// `MessageAttributeValue`; the lists are reserved by SQS and never there.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Attribute {
    pub(crate) string_value: Option<String>,
    /// Base64.
    pub(crate) binary_value: Option<String>,
    pub(crate) data_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Received {
    messages: Option<Vec<Message>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entries {
    failed: Option<Vec<Failed>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failed {
    id: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    sender_fault: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attributes {
    visibility_timeout: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GotAttributes {
    attributes: Attributes,
}

/// Where it is, and how it is spoken to.
pub(crate) struct Queue<'a> {
    pub(crate) options: &'a Options,
    pub(crate) arn: &'a QueueArn,
}

impl Queue<'_> {
    /// `ReceiveMessage`: at most so many, as soon as there are any. `wait` counts in whole seconds.
    pub(crate) async fn receive(
        &self,
        count: usize,
        wait: Duration,
    ) -> Result<Vec<Message>, Error> {
        let more = json!({
            "MaxNumberOfMessages": count.clamp(1, MESSAGES_MAX),
            "WaitTimeSeconds": wait.as_secs(),
            // Its newer name isn't known to every service that speaks SQS.
            "AttributeNames": ["All"],
            "MessageAttributeNames": ["All"],
        });
        let received: Received = self.call("ReceiveMessage", more, wait).await?;
        Ok(received.messages.unwrap_or_default())
    }

    /// `DeleteMessageBatch`, of at most [`MESSAGES_MAX`]. The handles of those that are still there
    /// and could be deleted by another try.
    pub(crate) async fn delete(&self, handles: &[String]) -> Result<Vec<String>, Error> {
        let entries: Vec<Value> = handles
            .iter()
            .enumerate()
            .map(|(id, handle)| json!({ "Id": id.to_string(), "ReceiptHandle": handle }))
            .collect();
        let more = json!({ "Entries": entries });
        let deleted: Entries = self.call("DeleteMessageBatch", more, Duration::ZERO).await?;
        let failed = deleted.failed.unwrap_or_default();
        let again = failed.iter().filter(|failed| {
            if failed.sender_fault {
                // It was received again by another, or is gone.
                tracing::warn!(queue = %self.arn.text, code = failed.code, "a message is not deleted");
            }
            !failed.sender_fault
        });
        let handle = |failed: &Failed| handles.get(failed.id.parse::<usize>().ok()?).cloned();
        Ok(again.filter_map(handle).collect())
    }

    /// `ChangeMessageVisibilityBatch`: others may have them at once. Of at most [`MESSAGES_MAX`].
    pub(crate) async fn give_back(&self, handles: &[String]) -> Result<(), Error> {
        let entries: Vec<Value> = handles
            .iter()
            .enumerate()
            .map(|(id, handle)| {
                json!({ "Id": id.to_string(), "ReceiptHandle": handle, "VisibilityTimeout": 0 })
            })
            .collect();
        let more = json!({ "Entries": entries });
        let _: Entries = self.call("ChangeMessageVisibilityBatch", more, Duration::ZERO).await?;
        Ok(())
    }

    /// `GetQueueAttributes`
    pub(crate) async fn visibility_timeout(&self) -> Result<Duration, SourceError> {
        let more = json!({ "AttributeNames": ["VisibilityTimeout"] });
        let got: Result<GotAttributes, _> =
            self.call("GetQueueAttributes", more, Duration::ZERO).await;
        let told = |error| told(&error, &ABSENT);
        let seconds = got.map_err(told)?.attributes.visibility_timeout;
        Ok(Duration::from_secs(seconds.parse().map_err(|_| told(Error::Answer))?))
    }

    async fn call<T: DeserializeOwned>(
        &self,
        action: &str,
        mut body: Value,
        wait: Duration,
    ) -> Result<T, Error> {
        let QueueArn { region, account, name, .. } = self.arn;
        let endpoint = self.options.endpoints.of(Service::Sqs)?;
        body["QueueUrl"] = json!(format!("{endpoint}/{account}/{name}"));
        let target = format!("AmazonSQS.{action}");
        let request = Signed {
            service: Service::Sqs,
            method: Method::POST,
            path: "/",
            region,
            headers: &[
                ("content-type", "application/x-amz-json-1.0"),
                ("x-amz-target", target.as_str()),
            ],
            body: body.to_string().into(),
        };
        let limits = Limits { time: wait + PATIENCE, answer_bytes: ANSWER_BYTES_MAX };
        let answer: Bytes = send_within(self.options, request, limits).await?;
        // Where nothing is to be said, some say nothing.
        let answer = if answer.is_empty() { Bytes::from_static(b"{}") } else { answer };
        serde_json::from_slice(&answer).map_err(|_| Error::Answer)
    }
}

/// What SQS says of a queue that isn't there.
const ABSENT: [&str; 2] = ["QueueDoesNotExist", "NonExistentQueue"];
