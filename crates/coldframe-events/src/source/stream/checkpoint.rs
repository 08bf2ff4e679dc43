//! Where the shards of a mapping stand, in memory and on the disk.
//!
//! Many shards move at the same time: what has moved while a write is under way goes into the next
//! one together, so that there are never more writes than the disk does one after the other.

use std::sync::{Arc, Mutex};

use coldframe_core::error::chain;
use coldframe_core::source::{Position, Positions, Processed, Progress};
use uuid::Uuid;

use crate::lock;

pub(super) struct Checkpoints {
    progress: Arc<dyn Progress>,
    mapping: Uuid,
    now: Mutex<Now>,
    /// Held by who writes.
    kept: tokio::sync::Mutex<Kept>,
    /// Held by who writes, of all mappings.
    writing: Arc<tokio::sync::Mutex<()>>,
}

struct Now {
    positions: Positions,
    processed: Processed,
    /// Counts changes.
    version: u64,
}

#[derive(Default)]
struct Kept {
    version: u64,
    is_failing: bool,
}

impl Checkpoints {
    /// As they were kept.
    pub(super) fn load(
        progress: Arc<dyn Progress>,
        mapping: Uuid,
        writing: Arc<tokio::sync::Mutex<()>>,
    ) -> Self {
        let positions = progress.positions(mapping);
        let now = Now { positions, processed: Processed::Nothing, version: 0 };
        Self { progress, mapping, now: Mutex::new(now), kept: Default::default(), writing }
    }

    pub(super) fn position(&self, shard: &str) -> Position {
        lock(&self.now).positions.get(shard).cloned().unwrap_or(Position::Begin)
    }

    /// Changes positions, and keeps them if that made a difference.
    pub(super) async fn change<T>(&self, change: impl FnOnce(&mut Positions) -> T) -> T {
        let changed = {
            let mut now = lock(&self.now);
            let before = now.positions.clone();
            let changed = change(&mut now.positions);
            if now.positions != before {
                now.version += 1;
            }
            changed
        };
        self.keep().await;
        changed
    }

    /// All of the shard is done up to here.
    pub(super) async fn done(&self, shard: &str, position: Position) {
        self.note(shard, position);
        self.keep().await;
    }

    /// As [`Checkpoints::done`], but it isn't on the disk yet.
    pub(super) fn note(&self, shard: &str, position: Position) {
        let mut now = lock(&self.now);
        now.positions.insert(shard.to_owned(), position);
        now.version += 1;
    }

    /// How a batch has gone. Kept with what is done; a failure, which does nothing, at once.
    pub(super) async fn processed(&self, processed: Processed) {
        {
            let mut now = lock(&self.now);
            if now.processed == processed {
                return;
            }
            now.processed = processed;
            now.version += 1;
        }
        if processed == Processed::Failed {
            self.keep().await;
        }
    }

    /// Resolves when all that has changed is on the disk, or the disk has failed: then the next
    /// change is kept with it, and a crash before lets some come again.
    pub(super) async fn keep(&self) {
        let wanted = lock(&self.now).version;
        let mut kept = self.kept.lock().await;
        if kept.version >= wanted {
            return;
        }
        let _alone = self.writing.lock().await;
        let (progress, mapping) = (self.progress.clone(), self.mapping);
        let (positions, processed, version) = {
            let now = lock(&self.now);
            (now.positions.clone(), now.processed, now.version)
        };
        let write = move || progress.keep(mapping, positions, processed);
        // The event loop ends: so does what this is for.
        let Ok(written) = tokio::task::spawn_blocking(write).await else { return };
        match written {
            Ok(()) => *kept = Kept { version, is_failing: false },
            Err(error) => {
                if !kept.is_failing {
                    tracing::error!(mapping = %mapping, error = chain(&error), "a checkpoint is not kept");
                }
                kept.is_failing = true;
            }
        }
    }
}
