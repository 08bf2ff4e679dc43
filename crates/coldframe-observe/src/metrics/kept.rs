//! Metrics on disk.
//!
//! ```text
//! DIRECTORY/NUMBER.open      what was measured since its beginning, append only
//!          /NUMBER.metrics   the same once it is full, summed up by minutes; never changed
//! file      frame*           frame   = "CFM1", length u32, crc32 u32, payload; little endian
//! payload   earliest u32, latest u32 (minutes since 1970), names of metrics, group*
//! group     length u32, account, region, dimensions, entry*            a few series' data
//! entry     metric, minute, count, minimum, maximum, sum, steps        numbers as LEB128 if they can be
//! ```
//! A frame needs no other: one that is damaged is left out, and the next begins with the mark. The
//! same minute may be in many frames: its value is their sum. What is written has left this process
//! and survives `kill -9`; nothing is read before somebody asks.

mod codec;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use coldframe_core::observe::Metric;

use self::codec::{Frames, Visit};
use super::series::{Datum, Found, KEPT_MINUTES, Listed, Owner, Question, Series, Wanted, bit};

/// An open file that has grown to this is full, bytes.
const OPEN_BYTES: u64 = 1024 * 1024;

/// Of all files together, bytes: the oldest go first.
pub(crate) const KEPT_BYTES_MAX: u64 = 128 * 1024 * 1024;

const KEPT_FOR: Duration = Duration::from_secs(KEPT_MINUTES as u64 * 60);

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
}

#[derive(Debug)]
struct Sealed {
    number: u32,
    bytes: u64,
    written: SystemTime,
    /// That it is damaged has been told.
    told: AtomicBool,
}

impl Kept {
    pub(crate) fn new(directory: PathBuf, bytes_max: u64) -> Self {
        let (sealed, number) = (Vec::new(), 1);
        Self { directory, bytes_max, opened: false, sealed, number, length: 0, file: None }
    }

    fn path(&self, number: u32, extension: &str) -> PathBuf {
        self.directory.join(format!("{number:08}.{extension}"))
    }

    /// Finds what is there; the end of the open file is cut off if it is torn.
    pub(crate) fn open(&mut self) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let (mut sealed, mut open) = (BTreeMap::new(), Vec::new());
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some((number, extension)) = name.to_str().and_then(|name| name.split_once('.'))
            else {
                continue;
            };
            let Ok(number) = number.parse::<u32>() else { continue };
            match extension {
                "metrics" => {
                    let metadata = entry.metadata()?;
                    let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    let (bytes, told) = (metadata.len(), AtomicBool::new(false));
                    sealed.insert(number, Arc::new(Sealed { number, bytes, written, told }));
                }
                "open" => open.push(number),
                // It was being summed up.
                "new" => drop(fs::remove_file(entry.path())),
                _ => {}
            }
        }
        // Summed up already: the rest of that was cut off.
        for number in open.extract_if(.., |number| sealed.contains_key(number)) {
            fs::remove_file(self.path(number, "open"))?;
        }
        let newest = sealed.last_key_value().map_or(0, |(number, _)| *number);
        self.sealed = sealed.into_values().collect();
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
        self.opened = true;
        Ok(())
    }

    /// Writes what was measured, and sums the open file up if it has become full.
    ///
    /// # Errors
    /// If the disk doesn't take it: then all is as it was.
    pub(crate) fn append(&mut self, series: &Series, now: SystemTime) -> io::Result<()> {
        if !self.opened {
            self.open()?;
        }
        let bytes = codec::encode(series);
        let path = self.path(self.number, "open");
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                fs::create_dir_all(&self.directory)?;
                none.insert(OpenOptions::new().append(true).create(true).open(path)?)
            }
        };
        if let Err(error) = file.write_all(&bytes) {
            let _ = file.set_len(self.length);
            return Err(error);
        }
        self.length += bytes.len() as u64;
        if self.length >= OPEN_BYTES
            && let Err(error) = self.seal(now)
        {
            // It goes on as it is: it is longer, and tried again.
            tracing::warn!(%error, "metrics could not be summed up");
        }
        self.expire(now);
        Ok(())
    }

    fn seal(&mut self, now: SystemTime) -> io::Result<()> {
        let (open, sealed) = (self.path(self.number, "open"), self.path(self.number, "metrics"));
        let bytes = fs::read(&open)?;
        let mut series = Series::default();
        let mut frames = Frames::new(&bytes);
        for frame in frames.by_ref() {
            codec::decode(frame, &mut Everything(&mut series));
        }
        frames.tell(&open);
        series.forget(super::series::oldest(crate::log::ms(now)));
        let bytes = codec::encode(&series);
        let new = self.path(self.number, "new");
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_data()
        });
        if let Err(error) = written.and_then(|()| fs::rename(&new, &sealed)) {
            let _ = fs::remove_file(&new);
            return Err(error);
        }
        let (number, told) = (self.number, AtomicBool::new(false));
        let (bytes, written) = (bytes.len() as u64, now);
        self.sealed.push(Arc::new(Sealed { number, bytes, written, told }));
        self.file = None;
        self.number += 1;
        self.length = 0;
        // Where it stays, the next start sees that it has been summed up.
        let _ = fs::remove_file(open);
        Ok(())
    }

    /// Drops what is too old, and the oldest of what is too much.
    pub(crate) fn expire(&mut self, now: SystemTime) {
        let mut bytes = self.bytes();
        let mut gone = 0;
        for sealed in &self.sealed {
            let is_old = now.duration_since(sealed.written).is_ok_and(|age| age > KEPT_FOR);
            if !is_old && bytes <= self.bytes_max {
                break;
            }
            let _ = fs::remove_file(self.path(sealed.number, "metrics"));
            bytes -= sealed.bytes;
            gone += 1;
        }
        self.sealed.drain(..gone);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.length + self.sealed.iter().map(|sealed| sealed.bytes).sum::<u64>()
    }

    /// What is there now. What is opened here can be read whatever happens to its name.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let open = |path: PathBuf| File::open(&path).ok().map(|file| (path, file));
        let sealed = self.sealed.iter().filter_map(|sealed| {
            Some((open(self.path(sealed.number, "metrics"))?, Some(sealed.clone())))
        });
        let newest = open(self.path(self.number, "open")).map(|open| (open, None));
        Snapshot { files: sealed.chain(newest).collect(), length: self.length }
    }
}

type Opened = (PathBuf, File);

/// Files as they were at one moment.
pub(crate) struct Snapshot {
    files: Vec<(Opened, Option<Arc<Sealed>>)>,
    /// Of the open one.
    length: u64,
}

impl Snapshot {
    /// Adds the data that the question is about. Takes the disk's time.
    pub(crate) fn find(&self, question: &Question, found: &mut Found) {
        self.visit(question.minutes, &mut Asked { question, found, of_group: Vec::new() });
    }

    /// Adds every series that is wanted. Takes the disk's time.
    pub(crate) fn list(&self, wanted: &Wanted<'_>, listed: &mut Listed) {
        self.visit((wanted.since, u32::MAX), &mut List { wanted, listed, of_group: 0 });
    }

    fn visit(&self, (from, until): (u32, u32), visitor: &mut impl Visit) {
        use std::io::Read;
        for ((path, file), sealed) in &self.files {
            let mut bytes = Vec::new();
            let length = if sealed.is_some() { u64::MAX } else { self.length };
            if let Err(error) = file.take(length).read_to_end(&mut bytes) {
                tracing::warn!(path = %path.display(), %error, "metrics cannot be read");
            }
            let mut frames = Frames::new(&bytes);
            for frame in frames.by_ref() {
                if codec::span(frame).is_some_and(|(first, last)| last >= from && first < until) {
                    codec::decode(frame, visitor);
                }
            }
            if let Some(sealed) = sealed
                && frames.lost() > 0
                && !sealed.told.swap(true, Ordering::Relaxed)
            {
                frames.tell(path);
            }
        }
    }
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
