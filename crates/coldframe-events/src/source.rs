//! Event source mappings (service-api.md §7): queues and streams are polled, functions get what lies
//! there. Of queues here, of streams in [`stream`].
//!
//! ```text
//! queue ─► receive, long ─► filters ─► batch, by size and window ─► Invoker ─┬─► delete what is done
//!            ▲                                                              └─► the rest: visible again
//!            └──────── as pace and MaximumConcurrency allow ◄───────────────────── in its own time
//! ```
//! Nothing of a message is kept here: until it is deleted it is the queue's, and comes again after
//! its visibility timeout. So neither a crash nor a failure loses one.
//!
//! A mapping that is polled is one task; without mappings there is none.

mod batch;
mod filter;
mod pace;
mod polled;
mod poller;
mod queue;
mod response;
mod stream;
mod trouble;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use coldframe_core::BoxFuture;
use coldframe_core::source::{
    EventSources, InvalidPattern, Mapping, QueueArn, Source, SourceError, StreamArn, StreamKind,
};
use tokio::sync::watch;
use uuid::Uuid;

use self::filter::{DataField, Pattern};
use self::polled::Polled;
use self::poller::Poller;
use self::queue::Queue;
use self::stream::StreamPoller;
use crate::{Events, World, lock};

/// How far a poller has come with its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Run,
    /// No further poll begins; the one that waits ends in its own time.
    Stop,
    /// The service ends: nothing is waited for but what runs.
    Drain,
}

/// What is polled now.
#[derive(Default)]
pub(crate) struct Sources {
    /// The receiver is the poller's: closed, it has ended.
    pollers: Mutex<HashMap<Uuid, Arc<watch::Sender<Phase>>>>,
    world: OnceLock<Arc<World>>,
    /// Held by who writes a checkpoint: the store takes one at a time, and threads are others' too.
    writing: Arc<tokio::sync::Mutex<()>>,
}

impl Sources {
    /// Mappings may be started from now on.
    pub(crate) fn open(&self, world: Arc<World>) {
        // A second time there are the same functions.
        let _ = self.world.set(world);
    }

    /// No batch begins any more.
    pub(crate) fn drain(&self) {
        for phase in lock(&self.pollers).values() {
            enter(phase, Phase::Drain);
        }
    }

    /// Resolves when no batch runs.
    pub(crate) async fn drained(&self) {
        let pollers: Vec<_> = lock(&self.pollers).drain().collect();
        for (_, phase) in pollers {
            enter(&phase, Phase::Drain);
            phase.closed().await;
        }
    }
}

fn enter(phase: &watch::Sender<Phase>, next: Phase) {
    phase.send_if_modified(|phase| {
        let further = next > *phase;
        *phase = next.max(*phase);
        further
    });
}

/// Whether polls may begin.
fn runs(phase: &watch::Receiver<Phase>) -> bool {
    // Whoever could tell it to stop is gone: another has taken its place.
    phase.has_changed().is_ok() && *phase.borrow() == Phase::Run
}

/// Resolves when none may any more.
async fn ends(phase: &mut watch::Receiver<Phase>) {
    // Gone is as good as told.
    let _ = phase.wait_for(|phase| *phase != Phase::Run).await;
}

impl EventSources for Events {
    fn visibility_timeout<'a>(
        &'a self,
        queue: &'a QueueArn,
    ) -> BoxFuture<'a, Result<Duration, SourceError>> {
        let queue = Queue { options: &self.shared.options, arn: queue };
        Box::pin(async move { queue.visibility_timeout().await })
    }

    fn check_stream<'a>(&'a self, stream: &'a StreamArn) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(stream::check(&self.shared.options, stream))
    }

    fn check_pattern(
        &self,
        source: Option<StreamKind>,
        pattern: &str,
    ) -> Result<(), InvalidPattern> {
        Pattern::parse(pattern, DataField::of(source)).map(drop)
    }

    fn start_polling(&self, mapping: Mapping) {
        let sources = &self.shared.sources;
        let Some(world) = sources.world.get() else {
            tracing::error!(mapping = %mapping.id, "polled before there are functions");
            return;
        };
        // Checked when the mapping was made; what can't be read lets nothing pass.
        let of = DataField::of(match &mapping.source {
            Source::Queue { .. } => None,
            Source::Stream { stream, .. } => Some(stream.kind),
        });
        let filters = mapping.filters.iter().filter_map(|text| Pattern::parse(text, of).ok());
        let filters: Vec<Pattern> = filters.collect();
        if filters.len() < mapping.filters.len() {
            tracing::error!(mapping = %mapping.id, "a filter cannot be read: nothing is polled");
            return;
        }
        let (phase, watched) = watch::channel(Phase::Run);
        let id = mapping.id;
        {
            let mut pollers = lock(&sources.pollers);
            // Whoever ends the service says so first, and looks for pollers then.
            if *lock(&self.shared.stopped) {
                return;
            }
            pollers.insert(id, Arc::new(phase));
        }
        let source = mapping.source.clone();
        let polled = Polled { shared: self.shared.clone(), world: world.clone(), mapping, filters };
        match source {
            Source::Queue { queue, concurrency_max } => {
                tokio::spawn(Poller::new(polled, queue, concurrency_max, watched).run())
            }
            Source::Stream { stream, reading } => {
                tokio::spawn(StreamPoller::new(polled, stream, reading, watched).run())
            }
        };
    }

    fn stop_polling(&self, id: Uuid) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let found = lock(&self.shared.sources.pollers).get(&id).cloned();
            let Some(phase) = found else { return };
            enter(&phase, Phase::Stop);
            phase.closed().await;
            let mut pollers = lock(&self.shared.sources.pollers);
            if pollers.get(&id).is_some_and(|now| Arc::ptr_eq(now, &phase)) {
                pollers.remove(&id);
            }
        })
    }
}

#[cfg(test)]
mod tests;
