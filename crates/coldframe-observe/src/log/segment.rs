//! One file of a log group: records behind one another, each with its length and checksum, and
//! beside it in memory what is needed to find events by time.
//!
//! ```text
//! NUMBER.log   record*            record = length u32, crc32 u32, payload; little endian
//! NUMBER.idx   the index as JSON  once the segment is full; made again from the records if it lacks
//! payload      0, stream u32, at u64, ingested u64, text          an event; times are ms since 1970
//!              1, stream u32, created u64, name                   a stream that begins here
//! ```
//! A stream is declared in every segment that holds something of it, so any segment may go.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A segment that has grown to this is full, bytes.
pub(crate) const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;

/// How finely a segment is indexed, bytes.
const BLOCK_BYTES: u32 = 64 * 1024;

/// A record's length and checksum, bytes.
const HEAD_BYTES: usize = 8;

/// Of a record, bytes: the largest event AWS takes and what stands around it.
const RECORD_BYTES_MAX: usize = 1024 * 1024 + 4096;

/// A run of records.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct Block {
    pub(crate) offset: u32,
    pub(crate) length: u32,
    /// The earliest and latest event, ms. Earliest > latest: there is none.
    pub(crate) earliest: u64,
    pub(crate) latest: u64,
}

/// What is here of a stream.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct Part {
    pub(crate) name: Arc<str>,
    pub(crate) created: u64,
    pub(crate) span: Span,
}

/// Events of a stream, summed up.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq)]
pub(crate) struct Span {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    /// Meaningful if there are events, ms.
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) ingested: u64,
}

impl Span {
    pub(crate) fn add(&mut self, other: Self) {
        if other.events == 0 {
            return;
        }
        self.first = if self.events == 0 { other.first } else { self.first.min(other.first) };
        self.last = self.last.max(other.last);
        self.ingested = self.ingested.max(other.ingested);
        self.events += other.events;
        self.bytes += other.bytes;
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub(crate) struct Index {
    pub(crate) length: u64,
    pub(crate) blocks: Vec<Block>,
    pub(crate) parts: BTreeMap<u32, Part>,
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Record<'a> {
    Event { stream: u32, at: u64, ingested: u64, text: &'a str },
    Stream { stream: u32, created: u64, name: &'a str },
}

impl Record<'_> {
    /// Appends the record's bytes.
    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        let head = to.len();
        to.extend_from_slice(&[0; HEAD_BYTES]);
        match self {
            Self::Event { stream, at, ingested, text } => {
                to.push(0);
                to.extend_from_slice(&stream.to_le_bytes());
                to.extend_from_slice(&at.to_le_bytes());
                to.extend_from_slice(&ingested.to_le_bytes());
                to.extend_from_slice(text.as_bytes());
            }
            Self::Stream { stream, created, name } => {
                to.push(1);
                to.extend_from_slice(&stream.to_le_bytes());
                to.extend_from_slice(&created.to_le_bytes());
                to.extend_from_slice(name.as_bytes());
            }
        }
        let payload = &to[head + HEAD_BYTES..];
        let (length, sum) = (payload.len() as u32, crc32fast::hash(payload));
        to[head..head + 4].copy_from_slice(&length.to_le_bytes());
        to[head + 4..head + HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
    }
}

/// The records of some bytes with their offsets, up to the first that is not whole. One that is
/// damaged is left out.
pub(crate) struct Records<'a> {
    bytes: &'a [u8],
    pub(crate) offset: usize,
}

impl<'a> Records<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = (usize, Record<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        // Where it is damaged inside, the next one is still found by its length.
        loop {
            let rest = self.bytes.get(self.offset..)?;
            let length = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?) as usize;
            let sum = u32::from_le_bytes(rest.get(4..HEAD_BYTES)?.try_into().ok()?);
            if length > RECORD_BYTES_MAX {
                return None;
            }
            let payload = rest.get(HEAD_BYTES..HEAD_BYTES + length)?;
            let offset = self.offset;
            self.offset += HEAD_BYTES + length;
            if crc32fast::hash(payload) == sum
                && let Some(record) = Record::read(payload)
            {
                return Some((offset, record));
            }
        }
    }
}

impl<'a> Record<'a> {
    fn read(payload: &'a [u8]) -> Option<Self> {
        let long = |at: usize| Some(u64::from_le_bytes(payload.get(at..at + 8)?.try_into().ok()?));
        let stream = u32::from_le_bytes(payload.get(1..5)?.try_into().ok()?);
        let text = |at: usize| std::str::from_utf8(payload.get(at..)?).ok();
        Some(match payload[0] {
            0 => Self::Event { stream, at: long(5)?, ingested: long(13)?, text: text(21)? },
            1 => Self::Stream { stream, created: long(5)?, name: text(13)? },
            _ => return None,
        })
    }
}

impl Index {
    /// Counts one more record, which begins at the end of what is known.
    fn add(&mut self, record: &Record<'_>, length: usize) {
        let length = length as u32;
        let begins = self.length as u32;
        self.length += u64::from(length);
        match self.blocks.last_mut() {
            Some(block) if block.length < BLOCK_BYTES => block.length += length,
            _ => {
                let block = Block { offset: begins, length, earliest: u64::MAX, latest: 0 };
                self.blocks.push(block);
            }
        }
        match record {
            Record::Event { stream, at, ingested, text } => {
                if let Some(block) = self.blocks.last_mut() {
                    block.earliest = block.earliest.min(*at);
                    block.latest = block.latest.max(*at);
                }
                if let Some(part) = self.parts.get_mut(stream) {
                    part.span.add(Span {
                        events: 1,
                        bytes: text.len() as u64,
                        first: *at,
                        last: *at,
                        ingested: *ingested,
                    });
                }
            }
            Record::Stream { stream, created, name } => {
                self.parts.entry(*stream).or_insert_with(|| Part {
                    name: (*name).into(),
                    created: *created,
                    span: Span::default(),
                });
            }
        }
    }

    /// Of the records in `bytes`; what is behind the last whole one isn't counted.
    fn of(bytes: &[u8]) -> Self {
        let mut index = Self::default();
        let mut records = Records::new(bytes);
        while let Some((_, record)) = records.next() {
            // With what is damaged before it.
            index.add(&record, records.offset - index.length as usize);
        }
        index
    }

    pub(crate) fn latest(&self) -> u64 {
        self.blocks.iter().map(|block| block.latest).max().unwrap_or_default()
    }
}

/// Where a segment's records are.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    File(Arc<Path>),
    /// The disk took no more.
    Memory(Arc<Vec<u8>>),
}

impl Place {
    /// The bytes of a block; nothing if the file has gone.
    pub(crate) fn read(&self, block: Block) -> Vec<u8> {
        let mut bytes = vec![0; block.length as usize];
        match self {
            Self::File(path) => {
                let read = File::open(path)
                    .and_then(|file| file.read_exact_at(&mut bytes, block.offset.into()));
                if read.is_err() {
                    bytes.clear();
                }
                bytes
            }
            Self::Memory(all) => {
                let range = block.offset as usize..(block.offset + block.length) as usize;
                all.get(range).map(<[u8]>::to_vec).unwrap_or_default()
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) number: u32,
    pub(crate) place: Place,
    pub(crate) index: Index,
    /// Open as long as it is written to.
    file: Option<File>,
}

impl Segment {
    fn path(directory: &Path, number: u32, extension: &str) -> PathBuf {
        directory.join(format!("{number:08}.{extension}"))
    }

    /// The segment of this number, begun.
    pub(crate) fn create(directory: &Path, number: u32) -> io::Result<Self> {
        let path = Self::path(directory, number, "log");
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        // What lies there is of a segment that was dropped and could not be removed.
        file.set_len(0)?;
        let place = Place::File(path.into());
        Ok(Self { number, place, index: Index::default(), file: Some(file) })
    }

    /// A segment in memory, for as long as the disk takes nothing.
    pub(crate) fn in_memory(number: u32) -> Self {
        Self { number, place: Place::Memory(Arc::default()), index: Index::default(), file: None }
    }

    /// The segments of a directory, ascending. Repairs the end of the newest if it is torn.
    pub(crate) fn load_all(directory: &Path) -> io::Result<Vec<Self>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".log"));
            numbers.extend(number.and_then(|number| number.parse::<u32>().ok()));
        }
        numbers.sort_unstable();
        let newest = numbers.last().copied();
        let all = numbers.into_iter();
        all.map(|number| Self::load(directory, number, Some(number) == newest)).collect()
    }

    fn load(directory: &Path, number: u32, is_newest: bool) -> io::Result<Self> {
        let path = Self::path(directory, number, "log");
        let length = fs::metadata(&path)?.len();
        let index = fs::read(Self::path(directory, number, "idx")).ok();
        let index = index.and_then(|bytes| serde_json::from_slice::<Index>(&bytes).ok());
        let index = match index.filter(|index| index.length == length) {
            Some(index) => index,
            None => {
                let index = Index::of(&fs::read(&path)?);
                if index.length < length && is_newest {
                    tracing::warn!(
                        path = %path.display(), kept = index.length, torn = length - index.length,
                        "the end of a log was torn"
                    );
                    OpenOptions::new().write(true).open(&path)?.set_len(index.length)?;
                }
                index
            }
        };
        Ok(Self { number, place: Place::File(path.into()), index, file: None })
    }

    pub(crate) fn is_full(&self) -> bool {
        self.index.length >= SEGMENT_BYTES
    }

    pub(crate) fn is_in_memory(&self) -> bool {
        matches!(self.place, Place::Memory(_))
    }

    /// Appends records; they are found from now on.
    ///
    /// # Errors
    /// If the disk doesn't take them: then the segment is as it was.
    pub(crate) fn append(&mut self, records: &[u8]) -> io::Result<()> {
        match &mut self.place {
            Place::Memory(all) => Arc::make_mut(all).extend_from_slice(records),
            Place::File(path) => {
                let file = match &mut self.file {
                    Some(file) => file,
                    none => none.insert(OpenOptions::new().append(true).open(path)?),
                };
                if let Err(error) = file.write_all(records) {
                    let _ = file.set_len(self.index.length);
                    return Err(error);
                }
            }
        }
        let mut written = Records::new(records);
        while let Some((offset, record)) = written.next() {
            self.index.add(&record, written.offset - offset);
        }
        Ok(())
    }

    /// Ends the writing: the index goes to the disk as well.
    pub(crate) fn seal(&mut self) -> io::Result<()> {
        let Place::File(path) = &self.place else { return Ok(()) };
        if let Some(file) = self.file.take() {
            file.sync_data()?;
        }
        let index = serde_json::to_vec(&self.index).map_err(io::Error::other)?;
        fs::write(path.with_extension("idx"), index)
    }

    /// What was in memory goes to the disk.
    pub(crate) fn persist(&mut self, directory: &Path) -> io::Result<()> {
        let Place::Memory(all) = &self.place else { return Ok(()) };
        let mut written = Self::create(directory, self.number)?;
        if let Err(error) = written.append(all) {
            written.remove();
            return Err(error);
        }
        *self = written;
        Ok(())
    }

    /// Takes the files away.
    pub(crate) fn remove(&self) {
        if let Place::File(path) = &self.place {
            let _ = fs::remove_file(path);
            let _ = fs::remove_file(path.with_extension("idx"));
        }
    }
}

#[cfg(test)]
mod tests;
