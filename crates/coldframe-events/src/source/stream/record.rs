//! Records as a function gets them (service-api.md §7.3, "Events"): what both kinds of streams share.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use coldframe_core::limits::REQUEST_PAYLOAD_BYTES_MAX;
use coldframe_core::source::StreamArn;
use coldframe_store::queue::Millis;
use serde_json::Value;

use super::super::batch::{HEAD, TAIL};
use super::super::filter::Pattern;

/// Longest sequence number that is believed, bytes. Kinesis's are of 56 digits.
const SEQUENCE_NUMBER_BYTES_MAX: usize = 256;

/// One record, read.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) sequence_number: String,
    /// Of the partition key or the item's keys: what has the same stays in order.
    pub(super) key: u64,
    pub(super) arrived: Millis,
    /// Some filter lets it pass.
    pub(super) passes: bool,
    /// JSON text, as in the event.
    pub(super) json: Vec<u8>,
    /// In its shard's ledger.
    pub(super) number: u64,
}

/// What a record is made of beside itself.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) stream: &'a StreamArn,
    pub(super) shard: &'a str,
    /// The function's role.
    pub(super) role: &'a str,
    pub(super) filters: &'a [Pattern],
}

impl Around<'_> {
    /// Whether a record passes: what it is around its data, and its data as text.
    pub(super) fn passes(&self, metadata: impl FnOnce() -> Value, data: &str) -> bool {
        if self.filters.is_empty() {
            return true;
        }
        let metadata = metadata();
        self.filters.iter().any(|pattern| pattern.matches(&metadata, data))
    }
}

/// Whether a sequence number can be one: it is kept, and sent back.
pub(super) fn is_sequence_number(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= SEQUENCE_NUMBER_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a shard's id can be one: it becomes part of paths, and is kept.
pub(super) fn is_shard_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.len() <= 128 && text.bytes().all(plain)
}

/// The same for the same key, also in the next service.
pub(super) fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// The event of a batch; `beside`: members behind its records.
pub(super) fn event(records: &[Record], beside: &[u8]) -> Bytes {
    let bytes: usize = records.iter().map(|record| record.json.len() + 1).sum();
    let mut event = Vec::with_capacity(HEAD.len() + bytes + beside.len() + TAIL.len());
    event.extend_from_slice(HEAD);
    for (index, record) in records.iter().enumerate() {
        if index > 0 {
            event.push(b',');
        }
        event.extend_from_slice(&record.json);
    }
    let (list_end, end) = TAIL.split_at(1);
    event.extend_from_slice(list_end);
    event.extend_from_slice(beside);
    event.extend_from_slice(end);
    event.into()
}

/// How many of these one invocation takes: as many as are asked for, and as its payload has room
/// for, of which so much is `taken`. One that is too large alone goes alone.
pub(super) fn fitting<'a>(
    records: impl IntoIterator<Item = &'a Record>,
    batch_size: usize,
    taken: usize,
) -> usize {
    let mut bytes = HEAD.len() + TAIL.len() + taken;
    let fits = |record: &&Record| {
        bytes += record.json.len() + 1;
        bytes <= REQUEST_PAYLOAD_BYTES_MAX + 1
    };
    records.into_iter().take(batch_size).take_while(fits).count().max(1)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn record(number: u64, arrived: Millis) -> Record {
        Record {
            sequence_number: number.to_string(),
            key: 0,
            arrived,
            passes: true,
            json: number.to_string().into_bytes(),
            number,
        }
    }

    #[test]
    fn no_event_is_larger_than_an_invocation_takes() {
        let large = |_| Record { json: vec![b'1'; 1 << 20], ..record(1, 0) };
        let records: Vec<Record> = (0..7).map(large).collect();
        assert_eq!(fitting(&records, 100, 0), 5);
        assert_eq!(fitting(&records, 3, 0), 3);
        assert_eq!(fitting(&records, 100, 1 << 20), 4);
        let whole = REQUEST_PAYLOAD_BYTES_MAX - HEAD.len() - TAIL.len();
        let alone = [Record { json: vec![b'1'; whole], ..record(1, 0) }, record(2, 0)];
        assert_eq!(fitting(&alone, 100, 0), 1);
        assert_eq!(event(&alone[..1], b"").len(), REQUEST_PAYLOAD_BYTES_MAX);
        let beyond = [Record { json: vec![b'1'; 7 << 20], ..record(1, 0) }];
        assert_eq!(fitting(&beyond, 100, 0), 1);
    }

    #[test]
    fn events_are_json() {
        assert_eq!(&event(&[record(1, 0), record(2, 0)], b"")[..], b"{\"Records\":[1,2]}");
        assert_eq!(&event(&[], b",\"a\":1")[..], b"{\"Records\":[],\"a\":1}");
    }

    #[test]
    fn what_is_kept_and_sent_back_is_plain() {
        assert!(is_sequence_number("49590338271490256608559692538361571095921575989136588898"));
        assert!(!is_sequence_number("") && !is_sequence_number(&"1".repeat(257)));
        assert!(!is_sequence_number("1\n"));
        assert!(is_shard_id("shardId-00000001541626099285-f35f62ef"));
        assert!(!is_shard_id("a/../b") && !is_shard_id(""));
    }
}
