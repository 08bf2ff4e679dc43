//! The loop that lets events run: it claims what is due and admitted, and sleeps until that changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coldframe_core::Destination;
use coldframe_store::queue::{Lease, Millis};

use crate::{Shared, World, attempt, lock, now};

/// A clock that is set may be noticed late, but not later than this.
const SLEEP_MAX: Duration = Duration::from_secs(60);

pub(crate) async fn poll(shared: Arc<Shared>, world: Arc<World>) {
    while !*lock(&shared.stopped) {
        // What becomes due after this look is waited for, though it is due by then.
        let looked = now();
        for (lease, place) in claim(&shared, &world, looked) {
            tokio::spawn(attempt::attempt(place, world.clone(), lease));
        }
        let sleep = sleep(&shared, looked);
        tokio::select! {
            () = shared.changed.notified() => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

/// What may run now, each with its place.
fn claim(shared: &Arc<Shared>, world: &World, now: Millis) -> Vec<(Box<dyn Lease>, Place)> {
    let mut admission = lock(&shared.admission);
    if admission.is_full() {
        // Whoever gives a place back asks again.
        return Vec::new();
    }
    let mut memory: HashMap<Arc<str>, u64> = HashMap::new();
    let claimed = shared.queue.claim(now, &mut |lane| {
        let memory_mb = *memory.entry(lane.clone()).or_insert_with(|| world.memory_mb(lane));
        admission.admit(lane, memory_mb, now)
    });
    let with_place = |lease: Box<dyn Lease>| {
        let lane = lease.lane().clone();
        let memory_mb = memory.get(&lane).copied().unwrap_or_default();
        let place = Place { shared: shared.clone(), lane, memory_mb, throttled: false };
        (lease, place)
    };
    claimed.into_iter().map(with_place).collect()
}

/// Until the next look, the last having been at `looked`.
fn sleep(shared: &Shared, looked: Millis) -> Duration {
    let again = lock(&shared.admission).again_at();
    let next = [again, shared.queue.next_due(looked)].into_iter().flatten().min();
    let until = |at: Millis| Duration::from_millis(u64::try_from(at - now()).unwrap_or_default());
    let wait = next.map_or(SLEEP_MAX, until);
    wait.min(SLEEP_MAX)
}

/// Resolves when no event runs.
pub(crate) async fn idle(shared: &Shared) {
    while lock(&shared.admission).held() > 0 {
        shared.idle.notified().await;
    }
}

/// The place of an event that runs, given back when dropped.
pub(crate) struct Place {
    pub(crate) shared: Arc<Shared>,
    pub(crate) lane: Arc<str>,
    memory_mb: u64,
    pub(crate) throttled: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut admission = lock(&self.shared.admission);
        admission.release(&self.lane, self.memory_mb, self.throttled);
        if admission.held() == 0 {
            self.shared.idle.notify_one();
        }
        self.shared.changed.notify_one();
    }
}

impl World {
    /// Of the lane's function; nothing for other destinations.
    fn memory_mb(&self, lane: &str) -> u64 {
        let Some(Destination::Function { function, .. }) = Destination::parse(lane) else {
            return 0;
        };
        let target = self.functions.async_target(&function, None);
        target.map_or(0, |target| target.version.memory.mb().into())
    }
}
