//! Log groups on disk.
//!
//! ```text
//! DIRECTORY/ACCOUNT/REGION/@GROUP/group.json      name, retention, tags
//!                                /00000001.log    events, append only   (segment.rs)
//!                                /00000001.idx    where which times are
//! ```
//! What is written has left this process: it survives `kill -9`. It is not forced to the disk
//! before a segment is full, so that a log costs no invocation anything.

mod group;
pub(crate) mod pattern;
mod query;
mod segment;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::SystemTime;

use coldframe_core::AccountId;
use tokio::sync::broadcast;

pub(crate) use self::group::{Group, New, Stream};
use self::query::Snapshot;

pub(crate) use self::query::{Direction, EVENT_OVERHEAD_BYTES, Found, Position, Query};

/// Lines a follower may be behind before it misses some.
const FOLLOWED_LINES_MAX: usize = 1024;

pub(crate) const MS_PER_DAY: u64 = 24 * 60 * 60 * 1000;

/// One line, as it came.
#[derive(Clone, Debug)]
pub struct Line {
    /// ms since 1970.
    pub at: u64,
    pub stream: Arc<str>,
    pub text: Arc<str>,
}

pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// ms since 1970.
pub(crate) fn ms(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn now() -> u64 {
    ms(SystemTime::now())
}

/// Where a group lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) account: AccountId,
    pub(crate) region: Arc<str>,
    pub(crate) name: Arc<str>,
}

/// All log groups.
#[derive(Debug)]
pub(crate) struct Logs {
    directory: PathBuf,
    groups: RwLock<BTreeMap<Key, Arc<Group>>>,
    /// Those that follow a group, whether it is there or not.
    followers: Mutex<HashMap<Key, broadcast::Sender<Line>>>,
    /// Of all groups together, bytes.
    stored: AtomicU64,
    stored_max: u64,
}

impl Logs {
    pub(crate) fn new(directory: PathBuf, stored_max: u64) -> Self {
        Self {
            directory,
            groups: RwLock::default(),
            followers: Mutex::default(),
            stored: AtomicU64::new(0),
            stored_max,
        }
    }

    /// Finds the groups that are there. Their events are read when they are first needed.
    pub(crate) fn open(&self) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let (mut groups, mut stored) = (BTreeMap::new(), 0);
        for (account, directory) in directories(&self.directory) {
            let Some(account) = AccountId::parse(&account) else { continue };
            for (region, directory) in directories(&directory) {
                let region: Arc<str> = region.into();
                for (_, directory) in directories(&directory) {
                    if directory.extension().is_some_and(|extension| extension == "deleted") {
                        // A deletion was cut off.
                        let _ = fs::remove_dir_all(&directory);
                        continue;
                    }
                    stored += segments(&directory).map(|segment| segment.bytes).sum::<u64>();
                    let Some(group) = Group::open(directory) else { continue };
                    let name = group.settings().name;
                    let (account, region) = (account.clone(), region.clone());
                    groups.insert(Key { account, region, name }, Arc::new(group));
                }
            }
        }
        *self.groups.write().unwrap_or_else(PoisonError::into_inner) = groups;
        self.stored.store(stored, Ordering::Relaxed);
        Ok(())
    }

    fn groups(&self) -> RwLockReadGuard<'_, BTreeMap<Key, Arc<Group>>> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn group(&self, key: &Key) -> Option<Arc<Group>> {
        self.groups().get(key).cloned()
    }

    /// The groups of an account and region, by name; those behind `after`, if it is given.
    pub(crate) fn list(
        &self,
        account: &AccountId,
        region: &Arc<str>,
        after: Option<&str>,
    ) -> Vec<(Key, Arc<Group>)> {
        let key = |name: &str| Key {
            account: account.clone(),
            region: region.clone(),
            name: name.into(),
        };
        let start = match after {
            Some(after) => Bound::Excluded(key(after)),
            None => Bound::Included(key("")),
        };
        let groups = self.groups();
        groups
            .range((start, Bound::Unbounded))
            .take_while(|(key, _)| key.account == *account && key.region == *region)
            .map(|(key, group)| (key.clone(), group.clone()))
            .collect()
    }

    /// The group of that name, made if it isn't there; and whether it was made.
    ///
    /// # Errors
    /// If it was made and can't be written; it is there all the same, in memory.
    pub(crate) fn create(&self, key: &Key) -> (Arc<Group>, bool, io::Result<()>) {
        if let Some(group) = self.group(key) {
            return (group, false, Ok(()));
        }
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = groups.get(key) {
            return (group.clone(), false, Ok(()));
        }
        let (group, written) = Group::create(self.place(key), key.name.clone(), now());
        let group = Arc::new(group);
        if let Some(followers) = lock(&self.followers).get(key) {
            group.follow(followers.clone(), |_| false);
        }
        groups.insert(key.clone(), group.clone());
        (group, true, written)
    }

    /// What is there of the streams that `wanted` takes, and every later line of the group.
    pub(crate) fn follow(
        &self,
        key: &Key,
        wanted: impl Fn(&str) -> bool,
    ) -> (Option<Snapshot>, broadcast::Receiver<Line>) {
        let groups = self.groups();
        let mut followers = lock(&self.followers);
        let sender = followers.entry(key.clone());
        let sender = sender.or_insert_with(|| broadcast::channel(FOLLOWED_LINES_MAX).0);
        let receiver = sender.subscribe();
        (groups.get(key).map(|group| group.follow(sender.clone(), wanted)), receiver)
    }

    /// Deletes a group; `false` if there is none.
    pub(crate) fn delete(&self, key: &Key) -> io::Result<bool> {
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        let Some(group) = groups.get(key) else { return Ok(false) };
        let bytes = segments(&group.directory).map(|segment| segment.bytes).sum();
        group.delete()?;
        self.freed(bytes);
        groups.remove(key);
        Ok(true)
    }

    /// A directory for a group: its name as far as a file's name can hold it.
    fn place(&self, key: &Key) -> PathBuf {
        let region = self.directory.join(key.account.as_str()).join(&*key.region);
        // Neither `+` nor `@` nor `~` is in a group's name.
        let mut name = format!("@{}", key.name.replace('/', "+"));
        if name.len() > 200 || name.ends_with(".deleted") {
            let mut hasher = DefaultHasher::new();
            key.name.hash(&mut hasher);
            name.truncate(180);
            name.push_str(&format!("~{:016x}", hasher.finish()));
        }
        let mut place = region.join(&name);
        let mut number = 1;
        // Two long names may begin alike; one that cannot be read is left alone.
        while place.exists() {
            number += 1;
            place = region.join(format!("{name}~{number}"));
        }
        place
    }

    /// Appends to a group, which is made if it isn't there.
    pub(crate) fn append(&self, key: &Key, stream: &str, events: &[New<'_>]) {
        loop {
            let (group, _, written) = self.create(key);
            if let Err(error) = written {
                tracing::error!(group = %key.name, %error, "a log group cannot be written");
            }
            if let Ok(taken) = group.append(stream, now(), events) {
                return self.stored(taken);
            }
            // Deleted in this moment: it begins anew.
        }
    }

    /// Counts what has been appended, and makes room if it is too much.
    pub(crate) fn stored(&self, bytes: u64) {
        if self.stored.fetch_add(bytes, Ordering::Relaxed) + bytes > self.stored_max {
            self.make_room();
        }
    }

    fn freed(&self, bytes: u64) {
        let sub = |stored: u64| Some(stored.saturating_sub(bytes));
        let _ = self.stored.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sub);
    }

    pub(crate) fn stored_bytes(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    /// Drops the segments that were written to least recently, until a tenth is free.
    fn make_room(&self) {
        let mut all = Vec::new();
        for group in self.groups().values() {
            all.extend(segments(&group.directory).map(|segment| (segment, group.clone())));
        }
        let mut stored: u64 = all.iter().map(|(segment, _)| segment.bytes).sum();
        all.sort_by_key(|(segment, _)| segment.written);
        // The newest stays, however small the bound is.
        all.pop();
        for (segment, group) in all {
            if stored <= self.stored_max / 10 * 9 {
                break;
            }
            stored = stored.saturating_sub(group.drop_segment(segment.number));
        }
        self.stored.store(stored, Ordering::Relaxed);
    }

    /// Drops what is older than its group's retention.
    pub(crate) fn expire(&self) {
        let groups: Vec<_> = self.groups().values().cloned().collect();
        let now = now();
        for group in groups {
            self.freed(group.expire(now));
        }
    }
}

/// A segment as the file system tells of it.
struct Listed {
    number: u32,
    bytes: u64,
    written: SystemTime,
}

fn segments(directory: &Path) -> impl Iterator<Item = Listed> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let number = entry.file_name().to_str()?.strip_suffix(".log")?.parse().ok()?;
        let metadata = entry.metadata().ok()?;
        let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        Some(Listed { number, bytes: metadata.len(), written })
    })
}

fn directories(directory: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let name = entry.file_name().into_string().ok()?;
        is_directory.then(|| (name, entry.path()))
    })
}

#[cfg(test)]
mod tests;
