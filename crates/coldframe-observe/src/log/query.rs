//! Finding events by time.
//!
//! An event stands at a [`Position`]: its time, then where it was written. Blocks of the segments
//! are read in the order of their earliest (backward: latest) event, until no block that is left
//! can hold anything that belongs on the page.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::segment::{Block, Place, Record, Records};

/// Events of a page, bytes, each with [`EVENT_OVERHEAD_BYTES`]. AWS: 1 MB.
const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// What an event counts beside its text (CloudWatch Logs quotas).
pub(crate) const EVENT_OVERHEAD_BYTES: usize = 26;

/// Read for one page, bytes: one on which little matches may be short, and the next goes on.
const SCAN_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Where an event stands among all of its group: ms, segment, offset, in one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position(pub(crate) u128);

impl Position {
    fn new(at: u64, segment: u32, offset: u32) -> Self {
        Self(u128::from(at) << 64 | u128::from(segment) << 32 | u128::from(offset))
    }

    /// Before every event of that time.
    pub(crate) fn of_time(at: u64) -> Self {
        Self::new(at, 0, 0)
    }

    pub(crate) fn after(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// An event found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) position: Position,
    pub(crate) at: u64,
    pub(crate) ingested: u64,
    pub(crate) stream: Arc<str>,
    pub(crate) text: String,
}

/// Which way a page goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the position on.
    Forward,
    /// Before the position, the latest first.
    Backward,
}

/// What is looked for.
pub(crate) struct Query<'a> {
    /// Times from `from` on and before `until`, ms.
    pub(crate) from: u64,
    pub(crate) until: u64,
    /// Where the last page ended.
    pub(crate) position: Option<Position>,
    pub(crate) direction: Direction,
    pub(crate) limit: usize,
    pub(crate) matches: &'a dyn Fn(&str) -> bool,
}

#[derive(Debug)]
pub(crate) struct Page {
    /// In the query's direction.
    pub(crate) events: Vec<Found>,
    /// Where to go on; `None` when there is nothing any more.
    pub(crate) next: Option<Position>,
}

/// Where a group's events were at one moment.
pub(crate) struct Snapshot {
    pub(crate) oldest: u64,
    pub(crate) names: HashMap<u32, Arc<str>>,
    pub(crate) blocks: Vec<(u32, Place, Block)>,
}

impl Snapshot {
    /// Reads a page. Takes the disk's time.
    pub(crate) fn page(mut self, query: &Query<'_>) -> Page {
        let backward = query.direction == Direction::Backward;
        // Positions are walked upwards; backward, it is their complements that go up.
        let key = |position: Position| if backward { !position.0 } else { position.0 };
        let from = Position::of_time(query.from.max(self.oldest));
        let until = Position::of_time(query.until.min(u64::MAX >> 1));
        let (mut start, end) = match backward {
            false => (from.0, until.0),
            true => ((!until.0).saturating_add(1), (!from.0).saturating_add(1)),
        };
        if let Some(position) = query.position {
            // Backward, a position is the first that doesn't belong any more.
            start = start.max(key(position).saturating_add(u128::from(backward)));
        }
        let reach = |block: &Block| match backward {
            false => Position::of_time(block.earliest).0,
            true => !(Position::of_time(block.latest + 1).0 - 1),
        };
        self.blocks.retain(|(_, _, block)| {
            let range = (Position::of_time(block.earliest), Position::of_time(block.latest + 1));
            let (low, high) = match backward {
                false => (range.0.0, range.1.0),
                true => (!range.1.0 + 1, (!range.0.0).saturating_add(1)),
            };
            low < end && high > start
        });
        self.blocks.sort_by_key(|(_, _, block)| reach(block));
        let mut found: BTreeMap<u128, Found> = BTreeMap::new();
        let mut more = None;
        let mut scanned = 0;
        for (segment, place, block) in &self.blocks {
            let first = reach(block);
            // The page is full, and nothing from here on comes before its end.
            if more.is_some_and(|more| first > more) {
                break;
            }
            if scanned > SCAN_BYTES_MAX && first > start {
                found.split_off(&first);
                more = Some(first);
                break;
            }
            scanned += u64::from(block.length);
            let bytes = place.read(*block);
            for (offset, record) in Records::new(&bytes) {
                let Record::Event { stream, at, ingested, text } = record else { continue };
                let position = Position::new(at, *segment, block.offset + offset as u32);
                let key = key(position);
                if key < start || key >= end || more.is_some_and(|more| key >= more) {
                    continue;
                }
                let Some(stream) = self.names.get(&stream) else { continue };
                if (query.matches)(text) {
                    let (stream, text) = (stream.clone(), text.to_owned());
                    found.insert(key, Found { position, at, ingested, stream, text });
                }
            }
            if let Some(surplus) = surplus(&found, query.limit) {
                found.split_off(&surplus);
                more = Some(surplus);
            }
        }
        let next = more.map(|key| match backward {
            true => Position((!key).saturating_add(1)),
            false => Position(key),
        });
        Page { events: found.into_values().collect(), next }
    }
}

/// The first that is too much for a page.
fn surplus(found: &BTreeMap<u128, Found>, limit: usize) -> Option<u128> {
    let mut bytes = 0;
    for (count, (key, event)) in found.iter().enumerate() {
        bytes += event.text.len() + EVENT_OVERHEAD_BYTES;
        if count > 0 && (count >= limit || bytes > PAGE_BYTES_MAX) {
            return Some(*key);
        }
    }
    None
}
