//! What becomes of one batch: it is tried, tried again, halved, given up, until all of it is done.
//!
//! ```text
//! batch ─► too old? ─► invoke ─┬─ done ───────────────────────────► checkpoint
//!             │          ▲     ├─ failed from a record on ─► those ahead are done, the rest again
//!             │          ├──── ├─ failed, may be halved ───► first half, then second
//!             │          └──── ├─ failed, after a while ───► again
//!             └────────────────┴─ too often, too old ──────► given up: told, then done
//! ```

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use coldframe_core::error::chain;
use coldframe_core::invoke::{Answer, Refusal};
use coldframe_core::observe::Metric;
use coldframe_core::source::{Position, Processed, Reading};
use coldframe_store::queue::Millis;
use tokio::sync::{oneshot, watch};

use super::super::response::{Verdict, verdict};
use super::super::trouble::Failures;
use super::super::{Phase, ends, runs};
use super::About;
use super::failure::{Condition, GivenUp, Last};
use super::ledger::Ledger;
use super::record::{Record, event};
use super::tumbling::Window;
use crate::now;
use crate::policy::scaled;

/// A shard while it is read: what its lanes share.
pub(super) struct Shard {
    pub(super) about: Arc<About>,
    pub(super) id: String,
    pub(super) ledger: Mutex<Ledger>,
    /// That which is open.
    pub(super) window: Mutex<Option<Window>>,
    pub(super) phase: watch::Receiver<Phase>,
}

/// A batch, or what is left of one.
#[derive(Debug)]
struct Part {
    /// At least one, but in the last call of a window.
    records: Vec<Record>,
    /// Attempts that count.
    failures: u32,
    /// All that the records have been in.
    invokes: u32,
    last: Option<Last>,
}

/// How an attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Failed,
    /// The function says so of this one; those ahead are done.
    FailedFrom(usize),
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    Answered(Outcome),
    /// Throttled, or a fault of the platform: the function hasn't seen it, and it counts for nothing.
    Refused,
    /// The poller is to end.
    Ends,
}

/// What follows from it.
#[derive(Debug)]
struct Next {
    /// Records ahead that are done.
    done: Vec<Record>,
    /// What is tried next, and what after it.
    parts: Vec<Part>,
    /// They have been tried as often as they may be.
    given_up: Option<Part>,
    /// First comes a while.
    waits: bool,
}

impl Part {
    fn new(records: Vec<Record>) -> Self {
        Self { records, failures: 0, invokes: 0, last: None }
    }

    /// After an attempt: the whole policy, without clock or deed.
    fn after(mut self, outcome: Outcome, reading: &Reading) -> Next {
        let nothing = Next { done: Vec::new(), parts: Vec::new(), given_up: None, waits: false };
        let mut done = Vec::new();
        match outcome {
            Outcome::Done => return Next { done: self.records, ..nothing },
            Outcome::Failed => {}
            Outcome::FailedFrom(index) => {
                let rest = self.records.split_off(index.min(self.records.len().saturating_sub(1)));
                done = std::mem::replace(&mut self.records, rest);
            }
        }
        // Halving doesn't count, and where the function has named a record, that is where.
        if reading.bisects && !done.is_empty() {
            return Next { done, parts: vec![self], waits: true, ..nothing };
        }
        if reading.bisects && outcome == Outcome::Failed && self.records.len() > 1 {
            let second = self.records.split_off(self.records.len() / 2);
            let second = Self { records: second, last: self.last.clone(), ..self };
            return Next { parts: vec![self, second], ..nothing };
        }
        self.failures += 1;
        if reading.retries_max.is_some_and(|retries_max| self.failures > retries_max) {
            return Next { done, given_up: Some(self), ..nothing };
        }
        Next { done, parts: vec![self], waits: true, ..nothing }
    }

    /// Takes away the records that arrived before this moment: the first ones.
    fn take_older(&mut self, than: Millis) -> Vec<Record> {
        let young = self.records.iter().position(|record| record.arrived >= than);
        let young = self.records.split_off(young.unwrap_or(self.records.len()));
        std::mem::replace(&mut self.records, young)
    }
}

impl Shard {
    /// Resolves when all of the batch is done, or the poller is to end. Without records it is the
    /// last of its window.
    pub(super) async fn work(&self, batch: Vec<Record>) {
        let is_final = batch.is_empty();
        if let (Some(length), Some(first)) = (self.about.tumbling(), batch.first()) {
            let window = || Window::of(first.arrived, length);
            crate::lock(&self.window).get_or_insert_with(window);
        }
        if self.work_off(Part::new(batch)).await && is_final {
            let window = crate::lock(&self.window).take();
            if let Some(number) = window.and_then(|window| window.held) {
                self.about.checkpoints.done(&self.id, Position::After(number)).await;
            }
        }
    }

    /// Whether all of it is done.
    async fn work_off(&self, whole: Part) -> bool {
        let is_final = whole.records.is_empty();
        // The last is what is tried next.
        let mut parts = vec![whole];
        let (mut failures, mut refusals) = (Failures::default(), Failures::default());
        while let Some(mut part) = parts.pop() {
            let oldest = self.oldest(part.invokes > 0);
            let old = part.take_older(oldest);
            if !old.is_empty() {
                let old = Part { records: old, last: part.last.clone(), ..part };
                if !self.give_up(old, Condition::RecordAgeExceeded).await {
                    return false;
                }
            }
            // Also of a window the end isn't tried for ever.
            if part.records.is_empty() && (!is_final || self.has_aged_window(oldest)) {
                continue;
            }
            let outcome = match self.attempt(&mut part).await {
                Tried::Answered(outcome) => outcome,
                Tried::Refused => {
                    parts.push(part);
                    if !self.pause(refusals.another(self.time_scale()).1).await {
                        return false;
                    }
                    continue;
                }
                Tried::Ends => return false,
            };
            refusals.over();
            let next = part.after(outcome, &self.about.reading);
            let processed =
                if outcome == Outcome::Done { Processed::Done } else { Processed::Failed };
            self.about.checkpoints.processed(processed).await;
            self.done(&next.done).await;
            if let Some(given_up) = next.given_up
                && !self.give_up(given_up, Condition::RetryAttemptsExhausted).await
            {
                return false;
            }
            parts.extend(next.parts.into_iter().rev());
            if next.waits {
                if !self.pause(failures.another(self.time_scale()).1).await {
                    return false;
                }
            } else {
                failures.over();
            }
        }
        true
    }

    fn has_aged_window(&self, oldest: Millis) -> bool {
        crate::lock(&self.window).as_ref().is_none_or(|window| window.end < oldest)
    }

    /// What arrived before is given up. That the stream keeps it no more is said by our clock alone:
    /// what could be read was kept then, and is tried once.
    fn oldest(&self, is_tried: bool) -> Millis {
        let age_max = self.about.reading.age_max.map(|age| scaled(age, self.time_scale()));
        let kept = is_tried.then(|| Millis::try_from(self.about.retention().as_millis()).ok());
        let ages = [age_max, kept.flatten()];
        now().saturating_sub(ages.into_iter().flatten().min().unwrap_or(Millis::MAX))
    }

    fn time_scale(&self) -> f64 {
        self.about.polled.shared.options.time_scale
    }

    async fn attempt(&self, part: &mut Part) -> Tried {
        let polled = &self.about.polled;
        let mapping = &polled.mapping;
        if !runs(&self.phase) {
            return Tried::Ends;
        }
        // It may be made again; its records wait.
        let Ok(target) = polled.target() else { return Tried::Refused };
        let is_final = part.records.is_empty();
        let beside = crate::lock(&self.window)
            .as_ref()
            .map(|window| window.beside(&self.id, &self.about.stream.text, is_final));
        let event = event(&part.records, &beside.unwrap_or_default());
        let invocation = polled.invocation(&target, event, None);
        let request_id = invocation.request_id;
        let newest = part.records.last().map(|record| record.arrived);
        let age = newest.map(|newest| now().saturating_sub(newest).max(0) as f64);
        match polled.world.invoker.invoke(invocation).await {
            Ok(answer) => {
                let of = (&mapping.function, mapping.qualifier.as_deref());
                if let Some(age) = age {
                    polled.shared.measure(of, Metric::IteratorAge, age);
                }
                part.invokes = part.invokes.saturating_add(1);
                let version = target.version.version.to_string();
                let function_error = answer.function_error;
                part.last = Some(Last { request_id, version, function_error });
                let outcome = self.outcome(&answer, &part.records);
                if outcome != Outcome::Failed
                    && let Some(window) = &mut *crate::lock(&self.window)
                {
                    window.answered(&answer.payload);
                }
                Tried::Answered(outcome)
            }
            Err(Refusal::Draining) => Tried::Ends,
            Err(Refusal::Throttled { .. }) => Tried::Refused,
            Err(refusal @ Refusal::Platform(_)) => {
                let function = &mapping.function;
                tracing::warn!(mapping = %mapping.id, %function, %refusal, "a batch could not run");
                Tried::Refused
            }
        }
    }

    fn outcome(&self, answer: &Answer, records: &[Record]) -> Outcome {
        if answer.function_error {
            return Outcome::Failed;
        }
        if !self.about.polled.mapping.reports_failures {
            return Outcome::Done;
        }
        let numbers: Vec<&str> =
            records.iter().map(|record| record.sequence_number.as_str()).collect();
        match verdict(&answer.payload, &numbers) {
            Verdict::AllDone => Outcome::Done,
            Verdict::AllFailed => Outcome::Failed,
            Verdict::Failed(failed) => {
                let lowest = numbers.iter().position(|number| failed.contains(*number));
                lowest.map_or(Outcome::Failed, Outcome::FailedFrom)
            }
        }
    }

    /// These are done: the checkpoint moves if nothing is open before them.
    pub(super) async fn done(&self, records: &[Record]) {
        {
            // Held until it is noted: no lane takes back what another one has moved meanwhile.
            let mut ledger = crate::lock(&self.ledger);
            let moved = ledger.done(records.iter().map(|record| record.number));
            let Some(number) = moved else { return };
            // A window that is open is to be added up anew after a crash.
            if let Some(window) = &mut *crate::lock(&self.window) {
                window.held = Some(number);
                return;
            }
            self.about.checkpoints.note(&self.id, Position::After(number));
        }
        self.about.checkpoints.keep().await;
    }

    /// Tells the destination, durably, and goes on behind them. Whether it could, before the poller
    /// ends.
    async fn give_up(&self, part: Part, condition: Condition) -> bool {
        let About { polled, stream, reading, .. } = &*self.about;
        let (mapping, shard, count) = (&polled.mapping.id, &self.id, part.records.len());
        tracing::warn!(%mapping, shard, count, ?condition, "records are given up");
        if let Some(destination) = reading.on_failure.as_ref().filter(|_| count > 0) {
            let given_up = GivenUp {
                shard,
                records: &part.records,
                condition,
                invokes: part.invokes,
                last: part.last.as_ref(),
            };
            let telling = given_up.telling(polled, stream, destination);
            let mut failures = Failures::default();
            loop {
                let (tell, told) = oneshot::channel();
                let kept = move |kept| {
                    let _ = tell.send(kept);
                };
                polled.shared.queue.add(telling.clone(), now(), Box::new(kept));
                let Ok(Err(error)) = told.await else { break };
                let (first, wait) = failures.another(self.time_scale());
                if first {
                    tracing::error!(%mapping, error = chain(&*error), "a record of failure is not kept");
                }
                if !self.pause(wait).await {
                    return false;
                }
            }
        }
        self.done(&part.records).await;
        true
    }

    /// Waits, unless the poller is to end: then false.
    async fn pause(&self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        let mut phase = self.phase.clone();
        tokio::select! {
            () = tokio::time::sleep_until(until.into()) => true,
            () = ends(&mut phase) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use coldframe_core::source::Start;

    use super::super::record::tests::record;
    use super::*;

    fn reading(retries_max: Option<u32>, bisects: bool) -> Reading {
        let start = Start::TrimHorizon;
        Reading {
            start,
            lanes: 1,
            retries_max,
            age_max: None,
            bisects,
            on_failure: None,
            tumbling: None,
        }
    }

    fn part(numbers: std::ops::Range<u64>, failures: u32) -> Part {
        let records = numbers.map(|number| record(number, number as Millis)).collect();
        Part { failures, ..Part::new(records) }
    }

    fn numbers(records: &[Record]) -> Vec<u64> {
        records.iter().map(|record| record.number).collect()
    }

    /// Done; then the parts, by their records and failures; then what is given up.
    #[track_caller]
    fn check(
        (next, waits): (Next, bool),
        done: &[u64],
        parts: &[(&[u64], u32)],
        given_up: Option<&[u64]>,
    ) {
        assert_eq!(numbers(&next.done), done);
        let found: Vec<_> =
            next.parts.iter().map(|part| (numbers(&part.records), part.failures)).collect();
        let parts: Vec<_> = parts.iter().map(|(numbers, of)| (numbers.to_vec(), *of)).collect();
        assert_eq!(found, parts);
        let left = next.given_up.as_ref().map(|part| numbers(&part.records));
        assert_eq!(left.as_deref(), given_up);
        assert_eq!(next.waits, waits);
    }

    // Spec: service-api.md §7.3, "Failure blocks the shard".
    #[test]
    fn a_batch_is_retried_as_often_as_it_may_be() {
        let endless = reading(None, false);
        check((part(0..3, 0).after(Outcome::Done, &endless), false), &[0, 1, 2], &[], None);
        let failed = part(0..3, 9999).after(Outcome::Failed, &endless);
        check((failed, true), &[], &[(&[0, 1, 2], 10_000)], None);
        let once = reading(Some(1), false);
        check((part(0..2, 0).after(Outcome::Failed, &once), true), &[], &[(&[0, 1], 1)], None);
        check((part(0..2, 1).after(Outcome::Failed, &once), false), &[], &[], Some(&[0, 1]));
        let never = reading(Some(0), false);
        check((part(0..1, 0).after(Outcome::Failed, &never), false), &[], &[], Some(&[0]));
    }

    #[test]
    fn halving_counts_for_nothing() {
        let never = reading(Some(0), true);
        let halved = part(0..5, 0).after(Outcome::Failed, &never);
        check((halved, false), &[], &[(&[0, 1], 0), (&[2, 3, 4], 0)], None);
        check((part(2..3, 0).after(Outcome::Failed, &never), false), &[], &[], Some(&[2]));
    }

    #[test]
    fn what_is_ahead_of_the_lowest_that_failed_is_done() {
        let once = reading(Some(1), false);
        let next = part(0..4, 0).after(Outcome::FailedFrom(2), &once);
        check((next, true), &[0, 1], &[(&[2, 3], 1)], None);
        let next = part(0..4, 1).after(Outcome::FailedFrom(2), &once);
        check((next, false), &[0, 1], &[], Some(&[2, 3]));
        let next = part(0..4, 0).after(Outcome::FailedFrom(0), &once);
        check((next, true), &[], &[(&[0, 1, 2, 3], 1)], None);
        // With halving, that is where the batch is split.
        let halving = reading(Some(0), true);
        let next = part(0..4, 0).after(Outcome::FailedFrom(3), &halving);
        check((next, true), &[0, 1, 2], &[(&[3], 0)], None);
        let next = part(0..4, 0).after(Outcome::FailedFrom(0), &halving);
        check((next, false), &[], &[], Some(&[0, 1, 2, 3]));
    }

    #[test]
    fn the_oldest_come_first() {
        let mut all = part(0..4, 0);
        assert_eq!(numbers(&all.take_older(2)), [0, 1]);
        assert_eq!(numbers(&all.records), [2, 3]);
        assert!(all.take_older(2).is_empty());
        assert_eq!(numbers(&all.take_older(9)), [2, 3]);
        assert!(all.records.is_empty());
    }
}
