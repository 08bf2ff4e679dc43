//! The bytes of metrics on disk.

use std::path::Path;
use std::sync::Arc;

use coldframe_core::AccountId;
use coldframe_core::observe::Metric;

use crate::metrics::series::{Datum, Dimensions, Owner, Series};

/// Begins a frame, and says in which form it is.
const MARK: [u8; 4] = *b"CFM1";

/// Mark, length and checksum, bytes.
const HEAD_BYTES: usize = 12;

/// A frame that has grown to this is full, bytes.
const FRAME_BYTES: usize = 64 * 1024;

/// Of an entry's first byte: its numbers are whole, all values are the same.
const WHOLE: u8 = 1;
const SAME: u8 = 2;

/// Wants to see data.
pub(super) trait Visit {
    /// Whether it wants those that follow.
    fn group(&mut self, owner: &Owner) -> bool;
    fn datum(&mut self, owner: &Owner, metric: Metric, minute: u32, datum: &Datum);
}

/// The payloads of the frames in some bytes. What is damaged is left out.
pub(super) struct Frames<'a> {
    bytes: &'a [u8],
    offset: usize,
    /// Where the last whole frame ends.
    pub(super) whole: usize,
    /// Bytes in front of whole frames that were none.
    damaged: usize,
}

impl<'a> Frames<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0, whole: 0, damaged: 0 }
    }

    /// Bytes that are no frame.
    pub(super) fn lost(&self) -> usize {
        self.damaged + self.bytes.len() - self.whole
    }

    /// Says what was lost, if anything was.
    pub(super) fn tell(&self, path: &Path) {
        let (path, torn) = (path.display(), self.bytes.len() - self.whole);
        if self.damaged > 0 {
            let damaged = self.damaged;
            tracing::warn!(%path, damaged, "metrics are damaged: these bytes are left out");
        }
        if torn > 0 {
            tracing::warn!(%path, torn, kept = self.whole, "the end of metrics was torn");
        }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let rest = self.bytes.get(self.offset..)?;
            let begins = rest.windows(MARK.len()).position(|window| window == MARK)?;
            let head = &rest[begins..];
            let word = |at: usize| {
                let bytes = head.get(at..at + 4)?.try_into().ok()?;
                Some(u32::from_le_bytes(bytes))
            };
            let frame = word(4).zip(word(8)).and_then(|(length, sum)| {
                let end = HEAD_BYTES.checked_add(length as usize)?;
                let payload = head.get(HEAD_BYTES..end)?;
                (crc32fast::hash(payload) == sum).then_some(payload)
            });
            self.offset += begins;
            let Some(payload) = frame else {
                // Perhaps it only looks like the beginning of one.
                self.offset += 1;
                continue;
            };
            self.damaged += self.offset - self.whole;
            self.offset += HEAD_BYTES + payload.len();
            self.whole = self.offset;
            return Some(payload);
        }
    }
}

/// All series as frames.
pub(in crate::metrics) fn encode(series: &Series) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut frame = Frame::default();
    for (owner, minutes) in &series.all {
        frame.begin(owner);
        for ((metric, minute), datum) in minutes {
            frame.put(*metric, *minute, datum);
            if frame.groups.len() >= FRAME_BYTES {
                frame.end_group();
                std::mem::take(&mut frame).write(&mut bytes);
                frame.begin(owner);
            }
        }
        frame.end_group();
    }
    frame.write(&mut bytes);
    bytes
}

/// A frame in the making.
struct Frame {
    earliest: u32,
    latest: u32,
    metrics: Vec<Metric>,
    groups: Vec<u8>,
    /// Where the group that is being written begins, and its entries.
    group: (usize, usize),
}

impl Default for Frame {
    fn default() -> Self {
        Self { earliest: u32::MAX, latest: 0, metrics: vec![], groups: vec![], group: (0, 0) }
    }
}

impl Frame {
    fn begin(&mut self, owner: &Owner) {
        let begins = self.groups.len();
        self.groups.extend_from_slice(&[0; 4]);
        let dimensions = owner.dimensions.pairs();
        put_text(&mut self.groups, owner.account.as_str());
        put_text(&mut self.groups, &owner.region);
        put_number(&mut self.groups, dimensions.len() as u64);
        for (_, value) in dimensions {
            put_text(&mut self.groups, value);
        }
        self.group = (begins, self.groups.len());
    }

    fn end_group(&mut self) {
        let (begins, entries) = self.group;
        if self.groups.len() == entries {
            self.groups.truncate(begins);
            return;
        }
        let length = (self.groups.len() - begins - 4) as u32;
        self.groups[begins..begins + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn put(&mut self, metric: Metric, minute: u32, datum: &Datum) {
        let known = self.metrics.iter().position(|known| *known == metric);
        let number = known.unwrap_or_else(|| {
            self.metrics.push(metric);
            self.metrics.len() - 1
        });
        self.earliest = self.earliest.min(minute);
        self.latest = self.latest.max(minute);
        let to = &mut self.groups;
        let Datum { count, sum, minimum, maximum, steps } = datum;
        let is_same = minimum == maximum && *sum == minimum * *count as f64;
        let numbers = [*minimum, *maximum, *sum];
        let numbers = if is_same { &numbers[..1] } else { &numbers };
        // As integers, they are exact.
        let is_whole = |number: &f64| (0.0..9e15).contains(number) && number.fract() == 0.0;
        let whole = numbers.iter().all(is_whole);
        put_number(to, number as u64);
        put_number(to, u64::from(minute));
        to.push(if whole { WHOLE } else { 0 } | if is_same { SAME } else { 0 });
        put_number(to, *count);
        for number in numbers {
            if whole {
                put_number(to, *number as u64);
            } else {
                to.extend_from_slice(&number.to_le_bytes());
            }
        }
        put_number(to, steps.len() as u64);
        let mut before = 0;
        for (step, count) in steps {
            let up = i64::from(*step) - before;
            before = i64::from(*step);
            // Small ones of either sign are short.
            put_number(to, ((up << 1) ^ (up >> 63)) as u64);
            put_number(to, *count);
        }
    }

    fn write(self, to: &mut Vec<u8>) {
        if self.metrics.is_empty() {
            return;
        }
        let mut payload = Vec::with_capacity(self.groups.len() + 512);
        payload.extend_from_slice(&self.earliest.to_le_bytes());
        payload.extend_from_slice(&self.latest.to_le_bytes());
        put_number(&mut payload, self.metrics.len() as u64);
        for metric in &self.metrics {
            put_text(&mut payload, metric.name());
        }
        payload.extend_from_slice(&self.groups);
        put_frame(&payload, to);
    }
}

/// A frame with this payload.
pub(super) fn put_frame(payload: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(&MARK);
    to.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    to.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    to.extend_from_slice(payload);
}

/// The earliest and latest minute of a frame.
pub(super) fn span(frame: &[u8]) -> Option<(u32, u32)> {
    let mut frame = Reader(frame);
    Some((frame.word()?, frame.word()?))
}

/// Shows what is in a frame.
pub(super) fn decode(frame: &[u8], visitor: &mut impl Visit) {
    // The checksum is right: what cannot be read is of another version, and left out.
    let _ = decode_all(frame, visitor);
}

fn decode_all(frame: &[u8], visitor: &mut impl Visit) -> Option<()> {
    let mut frame = Reader(frame);
    let _ = (frame.word()?, frame.word()?);
    let mut metrics = Vec::new();
    for _ in 0..frame.number()? {
        // One that a later version has is left out.
        metrics.push(Metric::parse(frame.text()?));
    }
    while !frame.0.is_empty() {
        let length = frame.word()? as usize;
        let mut group = Reader(frame.take(length)?);
        let account = AccountId::parse(group.text()?);
        let region: Arc<str> = group.text()?.into();
        let number = group.number()?;
        let mut text = || group.text().map(Arc::<str>::from);
        let dimensions = match number {
            0 => Dimensions::Account,
            1 => Dimensions::Function(text()?),
            2 => Dimensions::Resource(text()?, text()?),
            3 => Dimensions::Executed(text()?, text()?, text()?),
            _ => continue,
        };
        let Some(account) = account else { continue };
        let owner = Owner { account, region, dimensions };
        if !visitor.group(&owner) {
            continue;
        }
        while !group.0.is_empty() {
            let metric = metrics.get(usize::try_from(group.number()?).ok()?)?;
            let minute = u32::try_from(group.number()?).ok()?;
            let datum = group.datum()?;
            if let Some(metric) = metric {
                visitor.datum(&owner, *metric, minute, &datum);
            }
        }
    }
    Some(())
}

fn put_number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn put_text(to: &mut Vec<u8>, text: &str) {
    put_number(to, text.len() as u64);
    to.extend_from_slice(text.as_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn word(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn datum(&mut self) -> Option<Datum> {
        let flags = self.take(1)?[0];
        let count = self.number()?;
        let mut value = || match flags & WHOLE {
            0 => Some(f64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            _ => Some(self.number()? as f64),
        };
        let minimum = value()?;
        let (maximum, sum) = match flags & SAME {
            0 => (value()?, value()?),
            _ => (minimum, minimum * count as f64),
        };
        let mut steps = Vec::new();
        let mut before = 0_i64;
        for _ in 0..self.number()? {
            let up = self.number()?;
            before = before.checked_add((up >> 1) as i64 ^ -((up & 1) as i64))?;
            steps.push((i32::try_from(before).ok()?, self.number()?));
        }
        Some(Datum { count, sum, minimum, maximum, steps })
    }
}
