//! Tumbling windows (service-api.md §7.3): a function adds records up, from call to call of a window.
//!
//! ```text
//! first record of a window ─► open ─► call with its records and the state ─► the state it answers
//! a record of a later one, the time, the shard's end ─► last call, without records ─► closed
//! ```
//! The state is in memory. The checkpoint moves when a window has closed: after a crash it is added
//! up again from its beginning, from no state.

use coldframe_store::queue::Millis;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::record::strftime;

/// Of a state, bytes. AWS: 1 MB. One that is larger ends its window early.
pub(super) const STATE_BYTES_MAX: usize = 1 << 20;

/// A window that is open.
#[derive(Debug)]
pub(super) struct Window {
    start: Millis,
    pub(super) end: Millis,
    /// A JSON object.
    state: Box<RawValue>,
    /// Its state has become too large.
    pub(super) is_early: bool,
    /// Up to where the shard is done once it has closed.
    pub(super) held: Option<String>,
}

/// What the event has beside its records.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Beside<'a> {
    window: Bounds,
    state: &'a RawValue,
    shard_id: &'a str,
    #[serde(rename = "eventSourceARN")]
    event_source_arn: &'a str,
    is_final_invoke_for_window: bool,
    is_window_terminated_early: bool,
}

#[derive(Serialize)]
struct Bounds {
    start: String,
    end: String,
}

#[derive(Deserialize)]
struct Answered {
    state: Option<Box<RawValue>>,
}

impl Window {
    /// That of a record that arrived then. Windows begin at multiples of their length.
    pub(super) fn of(arrived: Millis, length: Millis) -> Self {
        let length = length.max(1);
        let start = arrived.div_euclid(length).saturating_mul(length);
        let state = serde_json::from_str("{}").expect("it is JSON");
        let end = start.saturating_add(length);
        Self { start, end, state, is_early: false, held: None }
    }

    /// Whether a record that arrived then goes into it. Times go back now and then: what comes late
    /// is of the window that is open.
    pub(super) fn takes(&self, arrived: Millis) -> bool {
        !self.is_early && arrived < self.end
    }

    /// Takes over what the function has answered; what is no state is none.
    pub(super) fn answered(&mut self, payload: &[u8]) {
        let answered: Option<Answered> = serde_json::from_slice(payload).ok();
        let state = answered.and_then(|answered| answered.state);
        match state.filter(|state| state.get().starts_with('{')) {
            Some(state) if state.get().len() > STATE_BYTES_MAX => self.is_early = true,
            Some(state) => self.state = state,
            None => self.state = serde_json::from_str("{}").expect("it is JSON"),
        }
    }

    /// The members of the event behind its records, with a comma in front.
    pub(super) fn beside(&self, shard: &str, stream: &str, is_final: bool) -> Vec<u8> {
        let text = |at| strftime(at, "%Y-%m-%dT%H:%M:%SZ");
        let beside = Beside {
            window: Bounds { start: text(self.start), end: text(self.end) },
            state: &self.state,
            shard_id: shard,
            event_source_arn: stream,
            is_final_invoke_for_window: is_final,
            is_window_terminated_early: is_final && self.is_early,
        };
        let mut text = serde_json::to_vec(&beside).expect("it has no map");
        if let Some(brace) = text.first_mut() {
            *brace = b',';
        }
        text.pop();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Millis = 1_596_128_423_500;

    fn text(window: &Window, is_final: bool) -> String {
        String::from_utf8(window.beside("shardId-000000000006", "arn", is_final)).unwrap()
    }

    // Spec: service-api.md §7.3, "Tumbling windows"; aws-lambda-go's event.
    #[test]
    fn it_reads_as_awss() {
        let mut window = Window::of(AT, 300_000);
        window.answered(br#"{"state":{"1":"282"},"batchItemFailures":[]}"#);
        let expected = concat!(
            r#","window":{"start":"2020-07-30T17:00:00Z","end":"2020-07-30T17:05:00Z"},"#,
            r#""state":{"1":"282"},"shardId":"shardId-000000000006","eventSourceARN":"arn","#,
            r#""isFinalInvokeForWindow":false,"isWindowTerminatedEarly":false"#,
        );
        assert_eq!(text(&window, false), expected);
        let last = expected.replace(r#"Window":false"#, r#"Window":true"#);
        assert_eq!(text(&window, true), last);
    }

    #[test]
    fn what_comes_late_is_taken_and_what_comes_after_is_not() {
        let window = Window::of(AT, 300_000);
        assert!(window.takes(AT) && window.takes(AT - 500_000));
        assert!(window.takes(window.end - 1) && !window.takes(window.end));
        let whole = Window::of(Millis::MAX, 900_000);
        assert_eq!(whole.end, Millis::MAX);
    }

    #[test]
    fn a_state_that_is_too_large_ends_its_window() {
        let mut window = Window::of(AT, 300_000);
        window.answered(br#"{"state":{"kept":1}}"#);
        let large = format!(r#"{{"state":{{"a":"{}"}}}}"#, "x".repeat(STATE_BYTES_MAX));
        window.answered(large.as_bytes());
        assert!(window.is_early && !window.takes(AT));
        assert!(text(&window, true).contains(r#""state":{"kept":1}"#));
        assert!(text(&window, true).ends_with(r#""isWindowTerminatedEarly":true"#));
        for none in [&b"null"[..], b"no json", b"", br#"{"state":null}"#, br#"{"state":"text"}"#] {
            let mut window = Window::of(AT, 300_000);
            window.answered(br#"{"state":{"kept":1}}"#);
            window.answered(none);
            assert!(text(&window, false).contains(r#""state":{},"#));
        }
    }
}
