//! What destinations and dead letter queues are told (service-api.md §4.3, §4.4).

use bytes::Bytes;
use coldframe_core::lineage::RECURSIVE_LOOP;
use coldframe_store::queue::{DeadLetter, Millis};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::policy::Condition;

/// `ErrorMessage` of a dead letter, bytes (service-api.md §4.4: 1 KB).
const ERROR_MESSAGE_BYTES_MAX: usize = 1024;

/// An invocation that is over.
pub(crate) struct Ended<'a> {
    pub(crate) at: Millis,
    pub(crate) request_id: String,
    /// Qualified.
    pub(crate) function_arn: &'a str,
    pub(crate) condition: Condition,
    pub(crate) attempts: u32,
    pub(crate) request_payload: &'a [u8],
    /// The last answer of the function, if it gave one.
    pub(crate) response: Option<Response<'a>>,
}

#[derive(Clone, Copy)]
pub(crate) struct Response<'a> {
    pub(crate) version: &'a str,
    pub(crate) function_error: bool,
    pub(crate) payload: &'a [u8],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    version: &'static str,
    timestamp: String,
    request_context: RequestContext<'a>,
    request_payload: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_context: Option<ResponseContext<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_payload: Option<Box<RawValue>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RequestContext<'a> {
    pub(crate) request_id: &'a str,
    pub(crate) function_arn: &'a str,
    pub(crate) condition: &'static str,
    pub(crate) approximate_invoke_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseContext<'a> {
    status_code: u16,
    executed_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_error: Option<&'static str>,
}

impl Ended<'_> {
    /// The record, JSON text.
    pub(crate) fn record(&self) -> Bytes {
        let response = self.response.as_ref();
        let record = Record {
            version: "1.0",
            timestamp: timestamp(self.at),
            request_context: RequestContext {
                request_id: &self.request_id,
                function_arn: self.function_arn,
                condition: self.condition.as_str(),
                approximate_invoke_count: self.attempts,
            },
            request_payload: raw(self.request_payload),
            response_context: response.map(|response| ResponseContext {
                status_code: 200,
                executed_version: response.version,
                function_error: response.function_error.then_some("Unhandled"),
            }),
            response_payload: response.map(|response| raw(response.payload)),
        };
        serde_json::to_vec(&record).expect("it has no map with keys that aren't text").into()
    }

    /// The attributes of its dead letter.
    pub(crate) fn dead_letter(&self) -> DeadLetter {
        if self.condition == Condition::RecursiveInvocation {
            return DeadLetter { error_code: 400, error_message: RECURSIVE_LOOP.to_owned() };
        }
        let Some(response) = &self.response else {
            // The last the platform could say of it was that it didn't run.
            return DeadLetter { error_code: 429, error_message: "Rate Exceeded.".to_owned() };
        };
        let said: Option<serde_json::Value> = serde_json::from_slice(response.payload).ok();
        let said = said.as_ref().and_then(|said| said["errorMessage"].as_str());
        let mut error_message = said.unwrap_or_default().to_owned();
        error_message.truncate(error_message.floor_char_boundary(ERROR_MESSAGE_BYTES_MAX));
        DeadLetter { error_code: 200, error_message }
    }
}

/// The bytes as they are, if they are JSON; else as a string of JSON: a runtime may answer anything.
fn raw(bytes: &[u8]) -> Box<RawValue> {
    serde_json::from_slice(bytes).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(bytes);
        serde_json::value::to_raw_value(&text).expect("a string is JSON")
    })
}

/// `2025-11-24T23:11:08.123Z`
pub(crate) fn timestamp(at: Millis) -> String {
    strftime(at, "%Y-%m-%dT%H:%M:%S%.3fZ")
}

/// A moment, UTC.
pub(crate) fn strftime(at: Millis, format: &str) -> String {
    jiff::Timestamp::from_millisecond(at).unwrap_or_default().strftime(format).to_string()
}

#[cfg(test)]
mod tests;
