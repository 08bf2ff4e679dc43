//! Messages as a function gets them (service-api.md §7.2, "Event").

use std::collections::BTreeMap;

use bytes::Bytes;
use coldframe_core::limits::REQUEST_PAYLOAD_BYTES_MAX;
use coldframe_core::source::QueueArn;
use serde::Serialize;
use serde_json::Value;

use super::filter::Pattern;
use super::queue::{Attribute, Message};

/// The event around its records.
pub(super) const HEAD: &[u8] = b"{\"Records\":[";
pub(super) const TAIL: &[u8] = b"]}";

/// One record of the event. AWS's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    message_id: &'a str,
    receipt_handle: &'a str,
    body: &'a str,
    attributes: &'a BTreeMap<String, String>,
    message_attributes: BTreeMap<&'a str, Shown<'a>>,
    md5_of_message_attributes: Option<&'a str>,
    md5_of_body: &'a str,
    event_source: &'static str,
    #[serde(rename = "eventSourceARN")]
    event_source_arn: &'a str,
    aws_region: &'a str,
}

/// A message attribute.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    string_value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_value: Option<&'a str>,
    string_list_values: [&'a str; 0],
    binary_list_values: [&'a str; 0],
    data_type: &'a str,
}

impl<'a> Shown<'a> {
    fn of(attribute: &'a Attribute) -> Self {
        Self {
            string_value: attribute.string_value.as_deref(),
            binary_value: attribute.binary_value.as_deref(),
            string_list_values: [],
            binary_list_values: [],
            data_type: &attribute.data_type,
        }
    }
}

impl<'a> Record<'a> {
    fn of(message: &'a Message, queue: &'a QueueArn) -> Self {
        let attributes = message.message_attributes.iter();
        Self {
            message_id: &message.message_id,
            receipt_handle: &message.receipt_handle,
            body: &message.body,
            attributes: &message.attributes,
            message_attributes: attributes
                .map(|(name, attribute)| (name.as_str(), Shown::of(attribute)))
                .collect(),
            md5_of_message_attributes: message.md5_of_message_attributes.as_deref(),
            md5_of_body: &message.md5_of_body,
            event_source: "aws:sqs",
            event_source_arn: &queue.text,
            aws_region: &queue.region,
        }
    }
}

/// What is left of a message once it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) id: String,
    pub(crate) handle: String,
    /// The tracing header of who sent it.
    pub(crate) trace: Option<String>,
}

/// What one invocation gets.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) items: Vec<Item>,
    /// Of the event, without its end.
    payload: Vec<u8>,
}

impl Batch {
    /// Adds a message, unless the payload would be too large for one invocation: then its handle.
    ///
    /// A message that is too large alone goes alone: refusing is the invocation's matter.
    pub(crate) fn add(&mut self, message: Message, queue: &QueueArn) -> Result<(), String> {
        let record = serde_json::to_vec(&Record::of(&message, queue)).unwrap_or_default();
        let before = if self.items.is_empty() { HEAD } else { b"," };
        let bytes = self.payload.len() + before.len() + record.len() + TAIL.len();
        if bytes > REQUEST_PAYLOAD_BYTES_MAX && !self.items.is_empty() {
            return Err(message.receipt_handle);
        }
        self.payload.extend_from_slice(before);
        self.payload.extend_from_slice(&record);
        let trace = message.trace().map(str::to_owned);
        let Message { message_id: id, receipt_handle: handle, .. } = message;
        self.items.push(Item { id, handle, trace });
        Ok(())
    }

    /// The event.
    pub(crate) fn take_payload(&mut self) -> Bytes {
        let mut payload = std::mem::take(&mut self.payload);
        payload.extend_from_slice(TAIL);
        payload.into()
    }
}

/// Whether the function is to have the message.
pub(crate) fn passes(filters: &[Pattern], message: &Message, queue: &QueueArn) -> bool {
    if filters.is_empty() {
        return true;
    }
    let metadata = serde_json::to_value(Record::of(message, queue)).unwrap_or(Value::Null);
    filters.iter().any(|pattern| pattern.matches(&metadata, &message.body))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::filter::DataField;
    use super::*;

    fn queue() -> QueueArn {
        QueueArn::parse("arn:aws:sqs:eu-west-1:123456789012:q").unwrap()
    }

    fn message(id: &str, body: &str) -> Message {
        let sent = json!({
            "MessageId": id,
            "ReceiptHandle": format!("handle of {id}"),
            "Body": body,
            "MD5OfBody": "b1946ac92492d2347c6235b4d2611184",
            "Attributes": { "ApproximateReceiveCount": "1", "SenderId": "me" },
        });
        serde_json::from_value(sent).unwrap()
    }

    // Spec: service-api.md §7.2, "Event".
    #[test]
    fn events_read_as_awss() {
        let mut titled = message("1", "hel\"lo");
        titled.message_attributes = serde_json::from_value(json!({
            "Title": { "StringValue": "The Whistler", "DataType": "String" },
            "Bytes": { "BinaryValue": "AAEC", "DataType": "Binary" },
        }))
        .unwrap();
        titled.md5_of_message_attributes = Some("d25a6aea97eb8f585bfa92d314504a92".into());
        let mut batch = Batch::default();
        batch.add(titled, &queue()).unwrap();
        batch.add(message("2", "{}"), &queue()).unwrap();
        let payload = batch.take_payload();
        let expected = concat!(
            r#"{"Records":[{"messageId":"1","receiptHandle":"handle of 1","body":"hel\"lo","#,
            r#""attributes":{"ApproximateReceiveCount":"1","SenderId":"me"},"#,
            r#""messageAttributes":{"Bytes":{"binaryValue":"AAEC","stringListValues":[],"#,
            r#""binaryListValues":[],"dataType":"Binary"},"Title":{"stringValue":"The Whistler","#,
            r#""stringListValues":[],"binaryListValues":[],"dataType":"String"}},"#,
            r#""md5OfMessageAttributes":"d25a6aea97eb8f585bfa92d314504a92","#,
            r#""md5OfBody":"b1946ac92492d2347c6235b4d2611184","eventSource":"aws:sqs","#,
            r#""eventSourceARN":"arn:aws:sqs:eu-west-1:123456789012:q","awsRegion":"eu-west-1"},"#,
            r#"{"messageId":"2","receiptHandle":"handle of 2","body":"{}","#,
            r#""attributes":{"ApproximateReceiveCount":"1","SenderId":"me"},"#,
            r#""messageAttributes":{},"md5OfMessageAttributes":null,"#,
            r#""md5OfBody":"b1946ac92492d2347c6235b4d2611184","eventSource":"aws:sqs","#,
            r#""eventSourceARN":"arn:aws:sqs:eu-west-1:123456789012:q","awsRegion":"eu-west-1"}]}"#,
        );
        assert_eq!(std::str::from_utf8(&payload).unwrap(), expected);
        let item =
            |id: &str| Item { id: id.into(), handle: format!("handle of {id}"), trace: None };
        let items = ["1", "2"].map(item);
        assert_eq!(batch.items, items);
    }

    #[test]
    fn no_event_is_larger_than_an_invocation_takes() {
        let large = "x".repeat(1 << 20);
        let mut batch = Batch::default();
        let taken = (0..10).take_while(|_| batch.add(message("1", &large), &queue()).is_ok());
        // Six would be the bodies alone.
        assert_eq!(taken.count(), 5);
        assert!(batch.add(message("2", "small"), &queue()).is_ok());
        assert!(batch.take_payload().len() <= REQUEST_PAYLOAD_BYTES_MAX);
        let mut alone = Batch::default();
        assert!(alone.add(message("1", &"x".repeat(7 << 20)), &queue()).is_ok());
    }

    #[test]
    fn a_message_passes_by_any_filter() {
        let filters = [r#"{"body":{"a":[1]}}"#, r#"{"attributes":{"SenderId":["you"]}}"#]
            .map(|text| Pattern::parse(text, DataField::of(None)).unwrap());
        let check = |filters: &[Pattern], body: &str, is: bool| {
            assert_eq!(passes(filters, &message("1", body), &queue()), is, "{body}");
        };
        check(&filters, r#"{"a":1}"#, true);
        check(&filters, r#"{"a":2}"#, false);
        check(&filters, "text", false);
        check(&[], "text", true);
    }
}
