//! Who may run next, so that one function that hangs, fails or has much to do stops no other.
//!
//! A lane gets one more place while it holds fewer than are free: alone it gets half of all, two get
//! a third each, and a newcomer always finds room. Places are counted twice, as invocations and as
//! memory, as that is what the host runs out of first.

use std::collections::HashMap;
use std::sync::Arc;

use coldframe_store::queue::Millis;

/// Places of a lane that are filled at once; beyond, it gets one more each [`STEP_MS`]. So a burst of
/// short events is worked off by a few environments, and one of long events gets many of them.
const AT_ONCE: usize = 32;

/// AWS adds as many environments to one function: 1,000 each 10 s (service-api.md §5).
const STEP_MS: Millis = 10;

/// Places, and who holds them.
pub(crate) struct Admission {
    places: Load,
    held: Load,
    lanes: HashMap<Arc<str>, Lane>,
    /// When a lane that was refused only for its pace is to be asked again.
    again_at: Option<Millis>,
}

#[derive(Clone, Copy, Default)]
struct Load {
    count: usize,
    memory_mb: u64,
}

#[derive(Default)]
struct Lane {
    held: Load,
    /// Places it may hold since it was throttled.
    window: Option<usize>,
    /// Before, it gets no place beyond [`AT_ONCE`].
    next_step: Millis,
}

impl Admission {
    pub(crate) fn new(concurrency: usize, memory_mb: u64) -> Self {
        Self {
            places: Load { count: concurrency.max(1), memory_mb },
            held: Load::default(),
            lanes: HashMap::new(),
            again_at: None,
        }
    }

    /// Gives the lane a place, if it may have one. `memory_mb`: what it needs for each.
    pub(crate) fn admit(&mut self, name: &Arc<str>, memory_mb: u64, now: Millis) -> bool {
        let free = self.places.count.saturating_sub(self.held.count);
        let free_mb = self.places.memory_mb.saturating_sub(self.held.memory_mb);
        let lane = self.lanes.entry(name.clone()).or_default();
        let holds = lane.held.count;
        let may = match holds {
            // However much it needs: the engine knows better whether there is room.
            0 => free > 0,
            _ => {
                holds < free
                    && lane.held.memory_mb + memory_mb <= free_mb
                    && lane.window.is_none_or(|window| holds < window)
            }
        };
        let paced = may && holds >= AT_ONCE && now < lane.next_step;
        if paced {
            let step = lane.next_step;
            self.again_at = Some(self.again_at.map_or(step, |again| again.min(step)));
        }
        if may && !paced {
            if holds >= AT_ONCE {
                lane.next_step = now + STEP_MS;
            }
            lane.held.count += 1;
            lane.held.memory_mb += memory_mb;
            self.held.count += 1;
            self.held.memory_mb += memory_mb;
            return true;
        }
        if holds == 0 && lane.window.is_none() {
            self.lanes.remove(name);
        }
        false
    }

    /// When somebody who was refused is to be asked again, though nothing has changed.
    pub(crate) fn again_at(&mut self) -> Option<Millis> {
        self.again_at.take()
    }

    /// The lane gives a place back.
    pub(crate) fn release(&mut self, name: &Arc<str>, memory_mb: u64, throttled: bool) {
        let Some(lane) = self.lanes.get_mut(name) else { return };
        if throttled {
            // What it holds is more than it can have: half of it, and more as it goes well.
            lane.window = Some((lane.held.count / 2).max(1));
        } else if let Some(window) = &mut lane.window {
            *window += 1;
            if *window > self.places.count {
                lane.window = None;
            }
        }
        for load in [&mut lane.held, &mut self.held] {
            load.count = load.count.saturating_sub(1);
            load.memory_mb = load.memory_mb.saturating_sub(memory_mb);
        }
        if lane.held.count == 0 && !throttled {
            self.lanes.remove(name);
        }
    }

    /// Nobody would get a place.
    pub(crate) fn is_full(&self) -> bool {
        self.held.count >= self.places.count
    }

    /// Events that run.
    pub(crate) fn held(&self) -> usize {
        self.held.count
    }
}

#[cfg(test)]
mod tests;
