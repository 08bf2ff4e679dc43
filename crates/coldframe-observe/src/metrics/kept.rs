//! Metrics on disk.
//!
//! ```text
//! DIRECTORY/NUMBER.open      what was measured since its beginning, append only
//!          /NUMBER.metrics   the same once it is full, summed up by minutes; never changed
//!          /FIRST-LAST.metrics   in place of those: small ones are joined
//! file      frame*           frame   = "CFM1", length u32, crc32 u32, payload; little endian
//! payload   earliest u32, latest u32 (minutes since 1970), names of metrics, group*
//! group     length u32, account, region, dimensions, entry*            a few series' data
//! entry     metric, minute, count, minimum, maximum, sum, steps        numbers as LEB128 if they can be
//! ```
//! A frame needs no other: one that is damaged is left out, and the next begins with the mark. The
//! same minute may be in many frames: its value is their sum. What is written has left this process
//! and survives `kill -9`; nothing is read before somebody asks.

mod clock;
mod codec;

#[cfg(test)]
pub(super) use self::codec::encode;

use std::cmp::Reverse;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use coldframe_core::observe::Metric;

use self::clock::Clock;
pub(crate) use self::clock::Moment;
use self::codec::{Frames, Visit};
use super::series::{
    Datum, Found, KEPT_MINUTES, Listed, Owner, Question, Series, Wanted, bit, oldest,
};
use crate::log::ms;

/// An open file that has grown to this is full, bytes.
const OPEN_BYTES: u64 = 1024 * 1024;

/// A sealed file that is smaller is joined with its neighbour, bytes: there are never many.
const SMALL_BYTES: u64 = 512 * 1024;

/// Of all files together, bytes: the oldest go first.
pub(crate) const KEPT_BYTES_MAX: u64 = 128 * 1024 * 1024;

const KEPT_FOR: Duration = Duration::from_secs(KEPT_MINUTES as u64 * 60);

/// A file that couldn't be sealed is longer the next time, which is so much later.
const SEAL_AGAIN_AFTER: Duration = Duration::from_secs(10 * 60);

/// Files are numbered below this. The next number is above all that are there: a file from
/// elsewhere must not take the last.
const NUMBERS: u32 = 1 << 31;

/// How often what was measured is written before it counts as refused.
const TRIES: u32 = 2;

/// Where metrics are kept.
#[derive(Debug)]
pub(crate) struct Kept {
    directory: PathBuf,
    bytes_max: u64,
    /// What is there is known: before, nothing is written.
    opened: bool,
    /// Full ones, ascending.
    sealed: Vec<Arc<Sealed>>,
    /// Of the open one: it may not be there yet.
    number: u32,
    length: u64,
    file: Option<File>,
    /// How often files were sealed, joined or dropped.
    turn: u64,
    clock: Clock,
    /// When the open file couldn't be sealed.
    unsealed: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Sealed {
    /// Of the open files whose data it has: the first and the last.
    numbers: (u32, u32),
    bytes: u64,
    written: SystemTime,
    /// The earliest and the latest minute, once it has been read.
    span: OnceLock<(u32, u32)>,
    /// That it is damaged has been told.
    told: AtomicBool,
}

impl Sealed {
    fn new(numbers: (u32, u32), bytes: u64, written: SystemTime) -> Self {
        Self { numbers, bytes, written, span: OnceLock::new(), told: AtomicBool::new(false) }
    }

    fn name(&self) -> String {
        match self.numbers {
            (first, last) if first == last => format!("{first:08}.metrics"),
            (first, last) => format!("{first:08}-{last:08}.metrics"),
        }
    }

    fn has(&self, number: u32) -> bool {
        (self.numbers.0..=self.numbers.1).contains(&number)
    }

    /// Whether it has something from the first minute on, before the second, as far as is known.
    fn may_have(&self, (from, until): (u32, u32)) -> bool {
        self.span.get().is_none_or(|(earliest, latest)| *latest >= from && *earliest < until)
    }

    /// Whether all that it has is from before that minute.
    fn is_before(&self, minute: u32) -> bool {
        self.bytes == 0
            || self.span.get().is_some_and(|(earliest, latest)| match earliest <= latest {
                true => *latest < minute,
                // Nothing in it can be read, by this version.
                false => super::minute(ms(self.written)) < minute,
            })
    }
}

/// A sealed file of which nobody knows what time it is about.
pub(crate) struct Unread(PathBuf, Arc<Sealed>);

impl Unread {
    /// Finds that out. Takes the disk's time.
    pub(crate) fn read(self) {
        let Self(path, sealed) = self;
        // Where it cannot be read now, it is tried again.
        if let Ok(bytes) = fs::read(path) {
            sealed.span.get_or_init(|| span_of(Frames::new(&bytes)));
        }
    }
}

/// `NUMBER` or `FIRST-LAST`, as they are written here.
fn numbers(name: &str) -> Option<(u32, u32)> {
    let number = |text: &str| {
        let number = text.parse().ok()?;
        (format!("{number:08}") == text).then_some(number)
    };
    let (first, last) = name.split_once('-').unwrap_or((name, name));
    let numbers: (u32, u32) = (number(first)?, number(last)?);
    (numbers.0 <= numbers.1 && numbers.1 < NUMBERS).then_some(numbers)
}

impl Kept {
    pub(crate) fn new(directory: PathBuf, bytes_max: u64) -> Self {
        let (sealed, number) = (Vec::new(), 1);
        let (file, clock) = (None, Clock::default());
        Self {
            directory,
            bytes_max,
            opened: false,
            sealed,
            number,
            length: 0,
            file,
            turn: 0,
            clock,
            unsealed: None,
        }
    }

    fn path(&self, number: u32, extension: &str) -> PathBuf {
        self.directory.join(format!("{number:08}.{extension}"))
    }

    /// Finds what is there; the end of the open file is cut off if it is torn.
    pub(crate) fn open(&mut self) -> io::Result<()> {
        self.opened = false;
        // Its hour begins.
        self.clock.believed(Moment::now());
        fs::create_dir_all(&self.directory)?;
        let (mut sealed, mut open) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some((name, extension)) = name.to_str().and_then(|name| name.split_once('.'))
            else {
                continue;
            };
            let Some(numbers) = numbers(name) else { continue };
            match extension {
                "metrics" => {
                    let metadata = entry.metadata()?;
                    let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    sealed.push(Arc::new(Sealed::new(numbers, metadata.len(), written)));
                }
                "open" if numbers.0 == numbers.1 => open.push(numbers.0),
                // It was being summed up.
                "new" => drop(fs::remove_file(entry.path())),
                _ => {}
            }
        }
        // Joined or summed up already: the rest of that was cut off.
        sealed.sort_unstable_by_key(|sealed| (sealed.numbers.0, Reverse(sealed.numbers.1)));
        self.sealed.clear();
        for sealed in sealed {
            match self.sealed.last() {
                Some(last) if last.has(sealed.numbers.1) => {
                    fs::remove_file(self.directory.join(sealed.name()))?;
                }
                _ => self.sealed.push(sealed),
            }
        }
        let is_sealed = |number: u32| self.sealed.iter().any(|sealed| sealed.has(number));
        for number in open.extract_if(.., |number| is_sealed(*number)) {
            fs::remove_file(self.path(number, "open"))?;
        }
        let newest = self.sealed.last().map_or(0, |sealed| sealed.numbers.1);
        self.number = open.iter().copied().max().unwrap_or_default().max(newest + 1);
        let path = self.path(self.number, "open");
        self.length = match fs::read(&path) {
            Ok(bytes) => {
                let mut frames = Frames::new(&bytes);
                while frames.next().is_some() {}
                frames.tell(&path);
                let whole = frames.whole as u64;
                if whole < bytes.len() as u64 {
                    OpenOptions::new().write(true).open(&path)?.set_len(whole)?;
                }
                whole
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        // Whatever brought them there: there is one open file.
        open.retain(|number| *number != self.number);
        for number in open {
            let path = self.path(number, "open");
            let summed = codec::encode(&sum(&path)?);
            let place = self.sealed.partition_point(|sealed| sealed.numbers.1 < number);
            self.join(place..place, Some((number, &summed)), SystemTime::now())?;
            fs::remove_file(path)?;
        }
        (self.opened, self.file, self.unsealed) = (true, None, None);
        self.turn += 1;
        Ok(())
    }

    /// Writes what was measured, and sums the open file up if it has become full.
    ///
    /// # Errors
    /// If the disk doesn't take it: then all is as it was.
    pub(crate) fn append(&mut self, series: &Series, now: Moment) -> io::Result<()> {
        let bytes = codec::encode(series);
        for _ in 0..TRIES {
            if !self.opened {
                self.open()?;
            }
            if self.number >= NUMBERS {
                return Err(io::Error::other("a file of metrics has the last number there is"));
            }
            if self.length >= self.bytes_max.saturating_add(OPEN_BYTES) {
                // It couldn't be sealed for long.
                self.seal_if_full(now);
                if self.unsealed.is_some() && self.path(self.number, "open").exists() {
                    let text = "the open file of metrics is too long, and cannot be summed up";
                    return Err(io::Error::new(io::ErrorKind::StorageFull, text));
                }
            }
            self.write(&bytes)?;
            self.seal_if_full(now);
            if self.is_in_place() {
                self.expire(now);
                return Ok(());
            }
            // What is there now is found out.
            self.opened = false;
            let directory = self.directory.display();
            tracing::warn!(%directory, "the files of metrics are gone: they begin anew");
        }
        Err(io::Error::new(io::ErrorKind::NotFound, "files are taken away as they are written"))
    }

    fn seal_if_full(&mut self, now: Moment) {
        let is_early = |at| now.steady.saturating_duration_since(at) < SEAL_AGAIN_AFTER;
        if self.length < OPEN_BYTES || self.unsealed.is_some_and(is_early) {
            return;
        }
        self.unsealed = match self.seal(now) {
            Ok(()) => None,
            Err(error) => {
                // It goes on as it is.
                tracing::warn!(%error, "metrics could not be summed up");
                Some(now.steady)
            }
        };
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(self.number, "open");
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                fs::create_dir_all(&self.directory)?;
                none.insert(OpenOptions::new().append(true).create(true).open(path)?)
            }
        };
        if let Err(error) = file.write_all(bytes) {
            // Where its end cannot be cut off, the next time finds out how long it is.
            self.opened = file.set_len(self.length).is_ok();
            return Err(error);
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Whether what was written is where it would be looked for: somebody may have removed or moved
    /// the file or its directory.
    fn is_in_place(&mut self) -> bool {
        // It has been sealed.
        let Some(file) = &self.file else { return true };
        let named = fs::metadata(self.path(self.number, "open"));
        let (Ok(ours), Ok(named)) = (file.metadata(), named) else { return false };
        // Somebody may have made it shorter.
        self.length = ours.len();
        (ours.dev(), ours.ino()) == (named.dev(), named.ino())
    }

    fn seal(&mut self, now: Moment) -> io::Result<()> {
        let open = self.path(self.number, "open");
        let mut series = sum(&open)?;
        if let Some(now) = self.clock.believed(now) {
            series.forget(oldest(ms(now)));
        }
        let now = now.wall;
        // With the small ones before it.
        let mut small_bytes = 0;
        let small = self.sealed.iter().rev().take_while(|sealed| {
            small_bytes += sealed.bytes;
            small_bytes < SMALL_BYTES
        });
        let first = self.sealed.len() - small.count();
        let (number, end, summed) = (self.number, self.sealed.len(), codec::encode(&series));
        if self.join(first..end, Some((number, &summed)), now).is_err() {
            // One of them cannot be read, perhaps.
            self.join(end..end, Some((number, &summed)), now)?;
        }
        self.file = None;
        self.number += 1;
        self.length = 0;
        // Where it stays, the next start sees that it has been summed up.
        let _ = fs::remove_file(open);
        // Small ones that are elsewhere were there at the start.
        if let Some(range) = self.small()
            && let Err(error) = self.join(range, None, now)
        {
            tracing::warn!(%error, "small files of metrics could not be joined");
        }
        Ok(())
    }

    /// The first neighbours that are small together.
    fn small(&self) -> Option<Range<usize>> {
        let is_small = |pair: &[Arc<Sealed>]| pair[0].bytes + pair[1].bytes < SMALL_BYTES;
        let first = self.sealed.windows(2).position(is_small)?;
        let mut bytes = 0;
        let small = self.sealed[first..].iter().take_while(|sealed| {
            bytes += sealed.bytes;
            bytes < SMALL_BYTES
        });
        Some(first..first + small.count())
    }

    /// Puts one file in the place of these, and of an open one that has been summed up: of that, its
    /// number and its frames.
    fn join(
        &mut self,
        range: Range<usize>,
        summed: Option<(u32, &[u8])>,
        now: SystemTime,
    ) -> io::Result<()> {
        let old = &self.sealed[range.clone()];
        let number = summed.map(|(number, _)| number);
        let first = old.first().map(|sealed| sealed.numbers.0).or(number);
        let last = number.or(old.last().map(|sealed| sealed.numbers.1));
        let Some(numbers) = first.zip(last) else { return Ok(()) };
        let mut bytes = Vec::new();
        for sealed in old {
            let path = self.directory.join(sealed.name());
            let old = fs::read(&path)?;
            let mut frames = Frames::new(&old);
            for frame in frames.by_ref() {
                codec::put_frame(frame, &mut bytes);
            }
            if !sealed.told.load(Ordering::Relaxed) {
                frames.tell(&path);
            }
        }
        bytes.extend_from_slice(summed.map(|(_, bytes)| bytes).unwrap_or_default());
        let sealed = Sealed::new(numbers, bytes.len() as u64, now);
        let _ = sealed.span.set(span_of(Frames::new(&bytes)));
        let path = self.directory.join(sealed.name());
        let new = path.with_extension("new");
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_data()
        });
        if let Err(error) = written.and_then(|()| fs::rename(&new, &path)) {
            let _ = fs::remove_file(&new);
            return Err(error);
        }
        // Where they stay, the next start sees that they have been joined.
        let old: Vec<_> = self.sealed.splice(range, [Arc::new(sealed)]).collect();
        for old in old {
            let _ = fs::remove_file(self.directory.join(old.name()));
        }
        self.turn += 1;
        Ok(())
    }

    /// Files that may be too old for all that is known without reading them.
    pub(crate) fn unread(&self, now: SystemTime) -> Vec<Unread> {
        let is_unread = |sealed: &&Arc<Sealed>| sealed.span.get().is_none();
        let is_young =
            |sealed: &Sealed| now.duration_since(sealed.written).is_ok_and(|age| age <= KEPT_FOR);
        let unread = self.sealed.iter().filter(|sealed| is_unread(sealed) && !is_young(sealed));
        unread.map(|sealed| Unread(self.directory.join(sealed.name()), sealed.clone())).collect()
    }

    /// Drops what is too old, and the oldest of what is too much.
    pub(crate) fn expire(&mut self, now: Moment) {
        let before = self.sealed.len();
        if let Some(now) = self.clock.believed(now) {
            let oldest = oldest(ms(now));
            for old in self.sealed.extract_if(.., |sealed| sealed.is_before(oldest)) {
                let _ = fs::remove_file(self.directory.join(old.name()));
            }
        }
        let mut bytes = self.bytes();
        let too_many = self.sealed.iter().take_while(|sealed| {
            let is_too_many = bytes > self.bytes_max;
            bytes -= sealed.bytes;
            is_too_many
        });
        let too_many = too_many.count();
        for old in self.sealed.drain(..too_many) {
            let _ = fs::remove_file(self.directory.join(old.name()));
        }
        self.turn += u64::from(self.sealed.len() < before);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.length + self.sealed.iter().map(|sealed| sealed.bytes).sum::<u64>()
    }

    /// Where what was measured from the first minute on, before the second, may be now.
    ///
    /// # Errors
    /// If nobody knows what is there.
    pub(crate) fn snapshot(&mut self, minutes: (u32, u32)) -> io::Result<Snapshot> {
        if !self.opened
            && let Err(error) = self.open()
            // Without a directory there is nothing.
            && fs::metadata(&self.directory).map_or_else(
                |error| {
                    !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
                },
                |found| found.is_dir(),
            )
        {
            return Err(error);
        }
        let sealed = self.sealed.iter().filter(|sealed| sealed.may_have(minutes));
        Ok(Snapshot {
            minutes,
            directory: self.directory.clone(),
            sealed: sealed.cloned().collect(),
            open: (self.length > 0).then(|| (self.path(self.number, "open"), self.length)),
            turn: self.turn,
        })
    }

    /// A file of the snapshot isn't there: if it wasn't this that took it away, what is there is
    /// found anew.
    pub(crate) fn missed(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        if self.turn == snapshot.turn {
            tracing::warn!(directory = %self.directory.display(), "a file of metrics is gone");
            self.open()?;
        }
        Ok(())
    }
}

/// The files that there were at one moment. They are opened one at a time, as they are read: each
/// may be gone by then.
pub(crate) struct Snapshot {
    minutes: (u32, u32),
    directory: PathBuf,
    sealed: Vec<Arc<Sealed>>,
    /// The open one, and how much of it.
    open: Option<(PathBuf, u64)>,
    turn: u64,
}

impl Snapshot {
    /// Adds the data that the question is about. Takes the disk's time.
    ///
    /// # Errors
    /// If a file cannot be read: then something is missing. If it isn't found, it has been sealed,
    /// joined or dropped since.
    pub(crate) fn find(&self, question: &Question, found: &mut Found) -> io::Result<()> {
        self.visit(&mut Asked { question, found, of_group: Vec::new() })
    }

    /// Adds every series that is wanted. Takes the disk's time.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub(crate) fn list(&self, wanted: &Wanted<'_>, listed: &mut Listed) -> io::Result<()> {
        self.visit(&mut List { wanted, listed, of_group: 0 })
    }

    /// The newest first: they are the ones that may be gone.
    fn visit(&self, visitor: &mut impl Visit) -> io::Result<()> {
        if let Some((path, length)) = &self.open {
            let mut bytes = Vec::new();
            File::open(path)?.take(*length).read_to_end(&mut bytes)?;
            self.show(&mut Frames::new(&bytes), visitor);
        }
        for sealed in self.sealed.iter().rev() {
            // Another question may have learnt it since.
            if !sealed.may_have(self.minutes) {
                continue;
            }
            let path = self.directory.join(sealed.name());
            let bytes = fs::read(&path)?;
            let mut frames = Frames::new(&bytes);
            self.show(&mut frames, visitor);
            if frames.lost() > 0 && !sealed.told.swap(true, Ordering::Relaxed) {
                frames.tell(&path);
            }
            sealed.span.get_or_init(|| span_of(Frames::new(&bytes)));
        }
        Ok(())
    }

    fn show(&self, frames: &mut Frames<'_>, visitor: &mut impl Visit) {
        let (from, until) = self.minutes;
        for frame in frames {
            if codec::span(frame).is_some_and(|(first, last)| last >= from && first < until) {
                codec::decode(frame, visitor);
            }
        }
    }
}

/// What is in an open file.
fn sum(path: &Path) -> io::Result<Series> {
    let bytes = fs::read(path)?;
    let mut series = Series::default();
    let mut frames = Frames::new(&bytes);
    for frame in frames.by_ref() {
        codec::decode(frame, &mut Everything(&mut series));
    }
    frames.tell(path);
    Ok(series)
}

/// The earliest and latest minute in any of the frames.
fn span_of(frames: Frames<'_>) -> (u32, u32) {
    frames.filter_map(codec::span).fold((u32::MAX, 0), |(earliest, latest), (first, last)| {
        (earliest.min(first), latest.max(last))
    })
}

struct Everything<'a>(&'a mut Series);

impl Visit for Everything<'_> {
    fn group(&mut self, _: &Owner) -> bool {
        true
    }

    fn datum(&mut self, owner: &Owner, metric: Metric, minute: u32, datum: &Datum) {
        self.0.merge(owner, metric, minute, datum);
    }
}

struct Asked<'a> {
    question: &'a Question,
    found: &'a mut Found,
    /// What is wanted of the group, by its number.
    of_group: Vec<(usize, Metric)>,
}

impl Visit for Asked<'_> {
    fn group(&mut self, owner: &Owner) -> bool {
        let wanted = self.question.wanted.iter().enumerate();
        let wanted = wanted.filter(|(_, (of, _))| of == owner);
        self.of_group = wanted.map(|(index, (_, metric))| (index, *metric)).collect();
        !self.of_group.is_empty()
    }

    fn datum(&mut self, _: &Owner, metric: Metric, minute: u32, datum: &Datum) {
        let (from, until) = self.question.minutes;
        if (from..until).contains(&minute) {
            for (index, _) in self.of_group.iter().filter(|(_, wanted)| *wanted == metric) {
                self.found.add(*index, minute, datum);
            }
        }
    }
}

struct List<'a> {
    wanted: &'a Wanted<'a>,
    listed: &'a mut Listed,
    /// Metrics of the group so far.
    of_group: u64,
}

impl Visit for List<'_> {
    fn group(&mut self, owner: &Owner) -> bool {
        self.of_group = 0;
        self.wanted.takes(owner)
    }

    fn datum(&mut self, owner: &Owner, metric: Metric, minute: u32, _: &Datum) {
        // Mostly it isn't the first.
        if minute >= self.wanted.since && self.of_group & bit(metric) == 0 {
            self.of_group |= bit(metric);
            match self.listed.get_mut(&owner.dimensions) {
                Some(metrics) => *metrics |= bit(metric),
                None => drop(self.listed.insert(owner.dimensions.clone(), bit(metric))),
            }
        }
    }
}
