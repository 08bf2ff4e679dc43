//! When the clock can be believed.

use std::time::{Duration, Instant, SystemTime};

/// How long a clock must have gone evenly before anything is dropped for its age.
const EVEN_FOR: Duration = Duration::from_secs(60 * 60);

/// What it may be off meanwhile.
const OFF_MAX: Duration = Duration::from_secs(5 * 60);

/// A moment by both clocks: the one that can be set, and the one that cannot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) wall: SystemTime,
    pub(crate) steady: Instant,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { wall: SystemTime::now(), steady: Instant::now() }
    }
}

/// Watches the clock: it may be wrong at the start, and jump.
#[derive(Debug, Default)]
pub(super) struct Clock {
    even_since: Option<Moment>,
}

impl Clock {
    /// The time, if it can be believed: what a clock drops that is wrong for a moment doesn't come
    /// back.
    pub(super) fn believed(&mut self, now: Moment) -> Option<SystemTime> {
        let since = self.even_since.get_or_insert(now);
        let passed = now.steady.saturating_duration_since(since.steady);
        let expected = since.wall + passed;
        let off = now.wall.duration_since(expected).unwrap_or_else(|error| error.duration());
        if off > OFF_MAX {
            *since = now;
            return None;
        }
        (passed >= EVEN_FOR).then_some(now.wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_believed_once_it_has_gone_evenly_for_an_hour() {
        let (start, mut clock) = (Moment::now(), Clock::default());
        let mut at = |minutes: u64, wall_minutes: u64| {
            let after = |minutes: u64| Duration::from_secs(minutes * 60);
            let wall = start.wall + after(wall_minutes);
            clock.believed(Moment { wall, steady: start.steady + after(minutes) }).is_some()
        };
        assert!(!at(0, 0));
        assert!(!at(59, 59));
        assert!(at(60, 61));
        // It jumps, and back.
        assert!(!at(61, 50_000));
        assert!(!at(62, 62));
        assert!(!at(121, 121));
        assert!(at(122, 122));
        // It jumps and stays, forward and backward.
        assert!(!at(123, 10_000));
        assert!(!at(182, 10_059));
        assert!(at(183, 10_060));
        assert!(!at(184, 184));
        assert!(at(244, 244));
    }
}
