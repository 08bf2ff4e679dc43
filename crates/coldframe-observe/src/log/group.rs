//! A log group: its settings in `group.json`, its events in segments beside it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::query::Snapshot;
use super::segment::{Record, Segment, Span};
use super::{Line, MS_PER_DAY};

/// Of a group in memory when the disk takes nothing, bytes: a segment, and all of them.
const MEMORY_SEGMENT_BYTES: u64 = 256 * 1024;
const MEMORY_SEGMENTS_MAX: usize = 4;

/// How long a disk that failed is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What is kept of a group beside its events.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Settings {
    /// Of this file's form.
    version: u32,
    pub(crate) name: Arc<str>,
    /// ms since 1970.
    pub(crate) created: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retention_days: Option<u32>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tags: BTreeMap<String, String>,
    /// Deleted streams that segments may still hold something of.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    deleted_streams: BTreeSet<u32>,
}

/// A stream as it stands.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) id: u32,
    /// ms since 1970.
    pub(crate) created: u64,
    pub(crate) span: Span,
}

/// An event to be appended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct New<'a> {
    pub(crate) at: u64,
    pub(crate) text: &'a str,
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) directory: PathBuf,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    settings: Settings,
    /// What lies in segments is read when it is first needed.
    events: Option<Events>,
    deleted: bool,
    followers: Option<broadcast::Sender<Line>>,
}

#[derive(Debug, Default)]
struct Events {
    segments: Vec<Segment>,
    streams: BTreeMap<Arc<str>, Stream>,
    next_stream: u32,
    /// When the disk last refused.
    refused: Option<Instant>,
}

/// The group has been deleted.
#[derive(Debug)]
pub(crate) struct Gone;

impl Group {
    /// A group that begins now.
    ///
    /// # Errors
    /// If it can't be written; it is there all the same, in memory.
    pub(crate) fn create(directory: PathBuf, name: Arc<str>, now: u64) -> (Self, io::Result<()>) {
        let settings = Settings {
            version: 1,
            name,
            created: now,
            retention_days: None,
            tags: BTreeMap::new(),
            deleted_streams: BTreeSet::new(),
        };
        let written = fs::create_dir_all(&directory).and_then(|()| settings.write(&directory));
        (Self::new(directory, settings), written)
    }

    /// The group of a directory; `None` if there is none that this version can read.
    pub(crate) fn open(directory: PathBuf) -> Option<Self> {
        let bytes = fs::read(directory.join("group.json")).ok()?;
        let settings: Settings = serde_json::from_slice(&bytes).ok()?;
        (settings.version == 1).then(|| Self::new(directory, settings))
    }

    fn new(directory: PathBuf, settings: Settings) -> Self {
        let state = State { settings, events: None, deleted: false, followers: None };
        Self { directory, state: RwLock::new(state) }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// With the events read.
    fn loaded(&self) -> RwLockReadGuard<'_, State> {
        let state = self.read();
        if state.events.is_some() {
            return state;
        }
        drop(state);
        self.write().load(&self.directory);
        self.read()
    }

    pub(crate) fn settings(&self) -> Settings {
        self.read().settings.clone()
    }

    /// Changes the settings, on the disk first.
    ///
    /// # Errors
    /// If they can't be written: nothing has changed then.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Settings)) -> io::Result<()> {
        let mut state = self.write();
        let mut settings = state.settings.clone();
        change(&mut settings);
        settings.write(&self.directory)?;
        state.settings = settings;
        Ok(())
    }

    /// Size of what is on the disk or in its place, bytes.
    pub(crate) fn stored_bytes(&self) -> u64 {
        let state = self.loaded();
        state.events().segments.iter().map(|segment| segment.index.length).sum()
    }

    /// Every stream that is there, by name.
    pub(crate) fn streams(&self) -> Vec<(Arc<str>, Stream)> {
        let state = self.loaded();
        let streams = state.events().streams.iter();
        streams.map(|(name, stream)| (name.clone(), stream.clone())).collect()
    }

    pub(crate) fn has_stream(&self, name: &str) -> bool {
        self.loaded().events().streams.contains_key(name)
    }

    /// Begins a stream; `false` if there is one of that name.
    ///
    /// # Errors
    /// If the group has been deleted.
    pub(crate) fn create_stream(&self, name: &str, now: u64) -> Result<bool, Gone> {
        let mut state = self.write();
        state.load(&self.directory);
        if state.deleted {
            return Err(Gone);
        }
        if state.events().streams.contains_key(name) {
            return Ok(false);
        }
        state.put(&self.directory, name, now, &[]);
        Ok(true)
    }

    /// Forgets a stream; `false` if there is none of that name.
    pub(crate) fn delete_stream(&self, name: &str) -> io::Result<bool> {
        let mut state = self.write();
        state.load(&self.directory);
        let Some(id) = state.events().streams.get(name).map(|stream| stream.id) else {
            return Ok(false);
        };
        let mut settings = state.settings.clone();
        settings.deleted_streams.insert(id);
        settings.write(&self.directory)?;
        state.settings = settings;
        state.events_mut().streams.remove(name);
        Ok(true)
    }

    /// Appends to a stream, which begins if it isn't there. Gives the bytes that it took.
    ///
    /// # Errors
    /// If the group has been deleted.
    pub(crate) fn append(&self, stream: &str, now: u64, events: &[New<'_>]) -> Result<u64, Gone> {
        let mut state = self.write();
        if state.deleted {
            return Err(Gone);
        }
        state.load(&self.directory);
        let taken = state.put(&self.directory, stream, now, events);
        if let Some(followers) = &state.followers {
            let stream: Arc<str> = stream.into();
            for event in events {
                // Nobody may have stayed.
                let (at, text) = (event.at, event.text.into());
                let _ = followers.send(Line { at, stream: stream.clone(), text });
            }
        }
        Ok(taken)
    }

    /// Sends every later line to these followers as well; what is there by now.
    pub(crate) fn follow(
        &self,
        followers: broadcast::Sender<Line>,
        wanted: impl Fn(&str) -> bool,
    ) -> Snapshot {
        let mut state = self.write();
        state.load(&self.directory);
        state.followers = Some(followers);
        state.snapshot(super::now(), wanted)
    }

    /// What is there of the streams that `wanted` takes by their names, not older than retention.
    pub(crate) fn snapshot(&self, now: u64, wanted: impl Fn(&str) -> bool) -> Snapshot {
        self.loaded().snapshot(now, wanted)
    }

    /// Deletes the group; who holds it sees that it has gone.
    pub(crate) fn delete(&self) -> io::Result<()> {
        let mut state = self.write();
        // One step, and the group has gone; what is slow comes after.
        let mut removed = self.directory.clone().into_os_string();
        removed.push(format!(".{}.deleted", uuid::Uuid::new_v4().simple()));
        match fs::rename(&self.directory, &removed) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        state.deleted = true;
        state.events = Some(Events::default());
        state.followers = None;
        let _ = fs::remove_dir_all(removed);
        Ok(())
    }

    /// Drops segments that hold nothing but what is older than the retention. Gives their bytes.
    pub(crate) fn expire(&self, now: u64) -> u64 {
        let oldest = self.read().settings.oldest(now);
        if oldest == 0 {
            return 0;
        }
        let mut state = self.write();
        state.load(&self.directory);
        state.drop_segments(|segment| segment.index.length > 0 && segment.index.latest() < oldest)
    }

    /// Drops the segment of this number. Gives its bytes.
    pub(crate) fn drop_segment(&self, number: u32) -> u64 {
        let mut state = self.write();
        state.load(&self.directory);
        state.drop_segments(|segment| segment.number == number)
    }
}

impl Settings {
    /// Events before this are not shown any more, ms.
    fn oldest(&self, now: u64) -> u64 {
        self.retention_days.map_or(0, |days| now.saturating_sub(u64::from(days) * MS_PER_DAY))
    }

    fn write(&self, directory: &Path) -> io::Result<()> {
        let (path, new) = (directory.join("group.json"), directory.join("group.json.new"));
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(self).map_err(io::Error::other)?)?;
        file.sync_data()?;
        fs::rename(new, path)?;
        File::open(directory)?.sync_all()
    }
}

impl State {
    fn events(&self) -> &Events {
        self.events.as_ref().expect("every caller has loaded the events")
    }

    fn events_mut(&mut self) -> &mut Events {
        self.events.as_mut().expect("every caller has loaded the events")
    }

    fn snapshot(&self, now: u64, wanted: impl Fn(&str) -> bool) -> Snapshot {
        let oldest = self.settings.oldest(now);
        let events = self.events();
        let names: HashMap<u32, Arc<str>> = events
            .streams
            .iter()
            .filter(|(name, _)| wanted(name))
            .map(|(name, stream)| (stream.id, name.clone()))
            .collect();
        let mut snapshot = Snapshot { oldest, names, blocks: Vec::new() };
        for segment in &events.segments {
            if segment.index.parts.keys().any(|id| snapshot.names.contains_key(id)) {
                // A block that only declares streams has no time.
                let blocks = segment.index.blocks.iter();
                let blocks = blocks.filter(|block| block.earliest <= block.latest);
                let blocks = blocks.filter(|block| block.latest >= oldest);
                snapshot
                    .blocks
                    .extend(blocks.map(|block| (segment.number, segment.place.clone(), *block)));
            }
        }
        snapshot
    }

    fn load(&mut self, directory: &Path) {
        if self.events.is_some() {
            return;
        }
        let segments = Segment::load_all(directory).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::error!(path = %directory.display(), %error, "a log cannot be read");
            }
            Vec::new()
        });
        let mut events = Events { segments, ..Events::default() };
        events.count(&self.settings.deleted_streams);
        // Ids of deleted streams are not given again while they are remembered.
        let known = events.segments.iter().flat_map(|segment| segment.index.parts.keys());
        let known = known.chain(&self.settings.deleted_streams);
        events.next_stream = known.max().map_or(0, |id| id + 1);
        self.events = Some(events);
    }

    /// Writes events of a stream, and that it begins if it does. Gives the bytes.
    fn put(&mut self, directory: &Path, name: &str, now: u64, new: &[New<'_>]) -> u64 {
        let events = self.events_mut();
        let stream = match events.streams.get(name) {
            Some(stream) => stream.clone(),
            None => {
                let id = events.next_stream;
                events.next_stream += 1;
                let stream = Stream { id, created: now, span: Span::default() };
                events.streams.insert(name.into(), stream.clone());
                stream
            }
        };
        let mut taken = 0;
        let mut rest = new;
        loop {
            let segment = events.open(directory);
            let mut records = Vec::new();
            if !segment.index.parts.contains_key(&stream.id) {
                let (stream, created) = (stream.id, stream.created);
                Record::Stream { stream, created, name }.write(&mut records);
            }
            let room = segment.room();
            let mut span = Span::default();
            while let Some((event, more)) = rest.split_first() {
                if !records.is_empty() && records.len() as u64 >= room {
                    break;
                }
                let (at, text) = (event.at, event.text);
                Record::Event { stream: stream.id, at, ingested: now, text }.write(&mut records);
                let bytes = text.len() as u64;
                span.add(Span { events: 1, bytes, first: at, last: at, ingested: now });
                rest = more;
            }
            taken += records.len() as u64;
            if let Err(error) = segment.append(&records) {
                events.refuse(directory, &error);
                let segment = events.open(directory);
                if !records.is_empty() {
                    // Memory takes everything.
                    let mut whole = Vec::new();
                    let (stream, created) = (stream.id, stream.created);
                    Record::Stream { stream, created, name }.write(&mut whole);
                    whole.extend_from_slice(&records);
                    let _ = segment.append(&whole);
                }
            }
            if let Some(stream) = events.streams.get_mut(name) {
                stream.span.add(span);
            }
            if rest.is_empty() {
                break;
            }
        }
        taken
    }

    fn drop_segments(&mut self, drop: impl Fn(&Segment) -> bool) -> u64 {
        let deleted = self.settings.deleted_streams.clone();
        let events = self.events_mut();
        let mut dropped = 0;
        events.segments.retain(|segment| {
            let goes = drop(segment);
            if goes {
                segment.remove();
                dropped += segment.index.length;
            }
            !goes
        });
        if dropped > 0 {
            events.count(&deleted);
        }
        dropped
    }
}

impl Events {
    /// Sums the streams up.
    fn count(&mut self, deleted: &BTreeSet<u32>) {
        self.streams.clear();
        for segment in &self.segments {
            for (id, part) in &segment.index.parts {
                if deleted.contains(id) {
                    continue;
                }
                let stream = self.streams.entry(part.name.clone()).or_insert_with(|| Stream {
                    id: *id,
                    created: part.created,
                    span: Span::default(),
                });
                stream.span.add(part.span);
            }
        }
    }

    /// The segment that is written to.
    fn open(&mut self, directory: &Path) -> &mut Segment {
        if self.refused.is_some_and(|refused| refused.elapsed() >= RETRY_AFTER) {
            self.recover(directory);
        }
        let number = self.segments.last().map_or(1, |last| last.number + 1);
        let (exists, full) = match self.segments.last_mut() {
            None => (false, true),
            Some(last) => {
                let full = last.room() == 0;
                if full && let Err(error) = last.seal() {
                    // It can be made again.
                    tracing::debug!(%error, "the index of a log could not be written");
                }
                (true, full || last.is_in_memory() != self.refused.is_some())
            }
        };
        if !exists || full {
            let created = match self.refused {
                Some(_) => Ok(Segment::in_memory(number)),
                None => Segment::create(directory, number),
            };
            let segment = created.unwrap_or_else(|error| {
                self.refuse(directory, &error);
                Segment::in_memory(number)
            });
            self.segments.push(segment);
            self.forget();
        }
        self.segments.last_mut().expect("one has just been made")
    }

    /// The disk takes nothing: logs go on in memory.
    fn refuse(&mut self, directory: &Path, error: &io::Error) {
        if self.refused.replace(Instant::now()).is_none() {
            tracing::error!(
                path = %directory.display(), %error,
                "a log cannot be written: its newest lines are kept in memory until it can"
            );
        }
    }

    /// Looks whether the disk takes what is in memory by now.
    fn recover(&mut self, directory: &Path) {
        for segment in self.segments.iter_mut().filter(|segment| segment.is_in_memory()) {
            if segment.persist(directory).is_err() {
                self.refused = Some(Instant::now());
                return;
            }
        }
        self.refused = None;
        tracing::warn!(path = %directory.display(), "the log is written to the disk again");
    }

    /// Of what is in memory, only the newest is kept.
    fn forget(&mut self) {
        let mut in_memory = self.segments.iter().filter(|segment| segment.is_in_memory()).count();
        self.segments.retain(|segment| {
            let goes = segment.is_in_memory() && in_memory > MEMORY_SEGMENTS_MAX;
            in_memory -= usize::from(goes);
            !goes
        });
    }
}

impl Segment {
    /// Bytes it may still take.
    fn room(&self) -> u64 {
        match self.is_in_memory() {
            true => MEMORY_SEGMENT_BYTES.saturating_sub(self.index.length),
            false if self.is_full() => 0,
            false => super::segment::SEGMENT_BYTES - self.index.length,
        }
    }
}

#[cfg(test)]
mod tests;
