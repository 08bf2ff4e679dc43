//! The poller of a stream (service-api.md §7.3): of Kinesis, or of a DynamoDB table.
//!
//! ```text
//! list of shards ─► those whose parents are done ─► one reader each
//! shard ─► read, at its pace ─► filters ─► lanes, by key ─► batch, by size and window ─► work
//!            ▲                                                                            │
//!            └───────────── as there is room ◄──────── checkpoint, on the disk ◄──────────┘
//! ```
//! Records stay in the stream; what is kept here is how far each shard is done. A batch that fails
//! holds up its lane. After a crash each shard goes on from its checkpoint: what was done behind it
//! runs again, nothing is lost.

mod checkpoint;
mod dynamodb;
mod failure;
mod kinesis;
mod ledger;
mod lineage;
mod reader;
mod record;
mod remote;
mod tumbling;
mod work;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use coldframe_core::error::chain;
use coldframe_core::source::{Positions, Reading, SourceError, StreamArn};
use coldframe_store::queue::Millis;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};

use self::checkpoint::Checkpoints;
use self::lineage::{Shard, enter, readable};
use self::reader::Ended;
use self::remote::Remote;
use super::polled::Polled;
use super::trouble::Failures;
use super::{Phase, ends, runs};
use crate::client::Error;
use crate::{Options, lock, now};

/// Between looks for shards: a shard's end, and what follows it, is heard of by who reads it.
const LOOK: Duration = Duration::from_secs(60);

/// After a shard's end, until its children are listed; doubled until then.
const LOOK_SOON: Duration = Duration::from_secs(1);

/// Until more is known.
const RETENTION: Duration = Duration::from_secs(24 * 3600);

/// What the readers and lanes of a mapping share.
pub(super) struct About {
    polled: Polled,
    stream: StreamArn,
    reading: Reading,
    checkpoints: Checkpoints,
    /// How long the stream keeps records.
    retention: Mutex<Duration>,
    /// When polling began: `LATEST` is what comes after.
    begun: Millis,
}

impl About {
    fn remote(&self) -> Remote<'_> {
        Remote { options: &self.polled.shared.options, stream: &self.stream }
    }

    fn retention(&self) -> Duration {
        *lock(&self.retention)
    }

    /// Length of a window.
    fn tumbling(&self) -> Option<Millis> {
        Millis::try_from(self.reading.tumbling?.as_millis()).ok()
    }

    /// The shards that the stream has.
    async fn look(&self) -> Result<Vec<Shard>, Error> {
        let remote = self.remote();
        let retention = remote.retention().await?;
        *lock(&self.retention) = retention;
        remote.shards().await
    }

    /// Those of them that may be read now. Not to be cut off: its write would go on, and overwrite
    /// what is kept later.
    async fn enter(&self, shards: &[Shard]) -> Vec<String> {
        let (start, begun) = (self.reading.start, self.begun);
        let enter = |positions: &mut Positions| {
            enter(shards, positions, start, begun);
            readable(shards, positions).into_iter().map(|shard| shard.id.clone()).collect()
        };
        self.checkpoints.change(enter).await
    }
}

/// Whether the stream is there.
pub(super) async fn check(options: &Options, stream: &StreamArn) -> Result<(), SourceError> {
    Remote { options, stream }.check().await
}

/// The task of one mapping: it sees to it that each shard that may be read is.
pub(super) struct StreamPoller {
    about: Arc<About>,
    phase: watch::Receiver<Phase>,
    readers: JoinSet<Ended>,
    /// Which shard each reads.
    read: HashMap<Id, String>,
    failures: Failures,
    /// Readers in a row whose shards were not there.
    gone: Failures,
    /// Looks since a shard has ended whose children weren't seen.
    awaited: Option<u32>,
}

impl StreamPoller {
    pub(super) fn new(
        polled: Polled,
        stream: StreamArn,
        reading: Reading,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let progress = polled.world.progress.clone();
        let writing = polled.shared.sources.writing.clone();
        let checkpoints = Checkpoints::load(progress, polled.mapping.id, writing);
        let retention = Mutex::new(RETENTION);
        let about = About { polled, stream, reading, checkpoints, retention, begun: now() };
        Self {
            about: Arc::new(about),
            phase,
            readers: JoinSet::new(),
            read: HashMap::new(),
            failures: Failures::default(),
            gone: Failures::default(),
            awaited: None,
        }
    }

    /// Until it is told to stop; what runs then, ends first.
    pub(super) async fn run(mut self) {
        while runs(&self.phase) {
            let mut ending = self.phase.clone();
            let looked = tokio::select! {
                looked = self.about.look() => looked,
                () = ends(&mut ending) => break,
            };
            let wait = match looked {
                Ok(shards) => {
                    let shards = self.about.enter(&shards).await;
                    self.read_all(shards)
                }
                Err(error) => self.fail(&error),
            };
            tokio::select! {
                Some(ended) = self.readers.join_next_with_id() => {
                    let mut all = vec![self.end(ended)];
                    // Many end together, when their stream goes.
                    while let Some(ended) = self.readers.try_join_next_with_id() {
                        all.push(self.end(ended));
                    }
                    self.note(&all).await;
                }
                () = tokio::time::sleep(wait) => {}
                () = ends(&mut ending) => {}
            }
        }
        while self.readers.join_next().await.is_some() {}
    }

    /// Reads those that aren't read yet; until when to look again.
    fn read_all(&mut self, shards: Vec<String>) -> Duration {
        if self.failures.over() {
            let (id, stream) = (&self.about.polled.mapping.id, &self.about.stream.text);
            tracing::info!(mapping = %id, stream, "polled again");
        }
        let mut read: HashSet<String> = self.read.values().cloned().collect();
        // A list may name one twice, above all if it has changed between its pages.
        for shard in shards.into_iter().filter(|shard| read.insert(shard.clone())) {
            self.awaited = None;
            let (about, phase) = (self.about.clone(), self.phase.clone());
            let reader = self.readers.spawn(reader::read(about, shard.clone(), phase));
            self.read.insert(reader.id(), shard);
        }
        let Some(looks) = &mut self.awaited else { return LOOK };
        *looks = looks.saturating_add(1);
        LOOK.min(LOOK_SOON * 2_u32.pow((*looks - 1).min(6)))
    }

    fn end(&mut self, ended: Result<(Id, Ended), JoinError>) -> Ended {
        let (id, ended) = match ended {
            Ok((id, ended)) => (id, ended),
            // It panicked: from its checkpoint another goes on.
            Err(error) => (error.id(), Ended::Failed),
        };
        self.read.remove(&id);
        ended
    }

    /// Readers have ended: others may begin.
    async fn note(&mut self, all: &[Ended]) {
        if all.contains(&Ended::Done) {
            self.awaited = Some(0);
            self.gone.over();
        } else if all.iter().any(|ended| matches!(ended, Ended::Gone | Ended::Failed)) {
            // Their shards are listed perhaps, and can't be read: not at once again.
            let (_, wait) = self.gone.another(self.about.polled.shared.options.time_scale);
            let mut ending = self.phase.clone();
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = ends(&mut ending) => {}
            }
        }
    }

    fn fail(&mut self, error: &Error) -> Duration {
        let (first, wait) = self.failures.another(self.about.polled.shared.options.time_scale);
        if first {
            let (id, stream) = (&self.about.polled.mapping.id, &self.about.stream.text);
            let error = chain(error);
            tracing::warn!(mapping = %id, stream, error, "a stream cannot be polled");
        }
        wait
    }
}

#[cfg(test)]
mod tests;
