//! How many batches of a mapping run at the same time (service-api.md §7.2, "Pollers").

use std::time::{Duration, Instant};

/// Batches at the start.
const BATCHES_MIN: usize = 5;

/// Batches that a mapping comes to at last.
const BATCHES_MAX: usize = 1250;

/// One more, while all run: 300 a minute.
const STEP: Duration = Duration::from_millis(200);

/// After a throttle nothing is received: what would be throttled too is better off in the queue.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Pace {
    allowed: usize,
    max: usize,
    stepped: Instant,
    paused_until: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(max: Option<usize>, now: Instant) -> Self {
        let max = max.unwrap_or(BATCHES_MAX).max(1);
        Self { allowed: BATCHES_MIN.min(max), max, stepped: now, paused_until: None }
    }

    /// Whether one more may begin beside those that run; if not, when to ask again unless one ends
    /// before.
    pub(crate) fn ask(&mut self, running: usize, now: Instant) -> Result<(), Option<Instant>> {
        if let Some(until) = self.paused_until.filter(|until| now < *until) {
            return Err(Some(until));
        }
        self.paused_until = None;
        if running < self.allowed {
            return Ok(());
        }
        if self.allowed >= self.max {
            return Err(None);
        }
        let next = self.stepped + STEP;
        if now < next {
            return Err(Some(next));
        }
        self.stepped = now;
        self.allowed += 1;
        Ok(())
    }

    /// One was throttled, beside `running` others.
    pub(crate) fn throttled(&mut self, running: usize, now: Instant) {
        self.allowed = (running / 2).clamp(1, self.allowed);
        (self.stepped, self.paused_until) = (now, Some(now + PAUSE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_at_first_and_three_hundred_more_each_minute() {
        let begin = Instant::now();
        let mut pace = Pace::new(None, begin);
        assert_eq!(pace.ask(4, begin), Ok(()));
        assert_eq!(pace.ask(5, begin), Err(Some(begin + STEP)));
        let mut running = 5;
        let mut now = begin;
        while now < begin + Duration::from_secs(60) {
            now += Duration::from_millis(10);
            running += usize::from(pace.ask(running, now).is_ok());
        }
        assert_eq!(running, 305);
        assert_eq!(pace.ask(0, now), Ok(()));
        for _ in 0..2000 {
            now += STEP;
            running += usize::from(pace.ask(running, now).is_ok());
        }
        assert_eq!(running, BATCHES_MAX);
        assert_eq!(pace.ask(running, now + STEP), Err(None));
    }

    #[test]
    fn no_more_than_the_mapping_may() {
        let now = Instant::now();
        let mut pace = Pace::new(Some(2), now);
        assert_eq!(pace.ask(1, now), Ok(()));
        assert_eq!(pace.ask(2, now + STEP), Err(None));
        let mut pace = Pace::new(Some(6), now);
        assert_eq!(pace.ask(5, now + STEP), Ok(()));
        assert_eq!(pace.ask(6, now + STEP * 2), Err(None));
    }

    #[test]
    fn half_after_a_throttle() {
        let now = Instant::now();
        let mut pace = Pace::new(None, now);
        pace.throttled(4, now);
        assert_eq!(pace.ask(0, now), Err(Some(now + PAUSE)));
        assert_eq!(pace.ask(1, now + PAUSE), Ok(()));
        let mut pace = Pace::new(None, now);
        pace.throttled(0, now);
        assert_eq!(pace.ask(0, now + PAUSE), Ok(()));
        assert!(pace.ask(1, now).is_err() || pace.ask(1, now + PAUSE).is_ok());
    }
}
