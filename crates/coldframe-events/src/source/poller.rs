//! The task of one mapping: it receives, and lets batches run as its pace allows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use coldframe_core::asynchronous::NoTarget;
use coldframe_core::error::chain;
use coldframe_core::invoke::{Answer, Refusal};
use coldframe_core::limits::REQUEST_PAYLOAD_BYTES_MAX;
use coldframe_core::lineage::{self, HOPS_MAX};
use coldframe_core::observe::Metric;
use coldframe_core::source::{Mapping, QueueArn};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::batch::{Batch, Item, passes};
use super::pace::Pace;
use super::polled::Polled;
use super::queue::{MESSAGES_MAX, Message, Queue};
use super::response::{Verdict, verdict};
use super::trouble::{Failures, milliseconds};
use super::{Phase, runs};
use crate::client::Error;
use crate::policy::back_off;

/// A poll that brings nothing takes so long at least, also where a server knows no long ones.
const EMPTY_MIN: Duration = Duration::from_secs(1);

/// Until a function that is being made is asked for again.
const SOON: Duration = Duration::from_millis(50);

/// Tries to delete what is done.
const DELETE_ATTEMPTS: u32 = 4;

pub(crate) struct Poller {
    about: Arc<About>,
    phase: watch::Receiver<Phase>,
    running: JoinSet<Ended>,
    pace: Pace,
    failures: Failures,
}

/// What a poller and its batches share.
struct About {
    polled: Polled,
    queue: QueueArn,
}

/// How a batch ended.
struct Ended {
    throttled: bool,
}

const DONE: Ended = Ended { throttled: false };

/// What was received, of which nothing runs yet.
#[derive(Default)]
struct Held {
    messages: Vec<Message>,
    /// Handles of what no filter lets pass.
    filtered: Vec<String>,
    bytes: usize,
}

/// Why nothing is received now.
enum Trouble {
    Queue(Error),
    Function(NoTarget),
}

impl Poller {
    pub(crate) fn new(
        polled: Polled,
        queue: QueueArn,
        concurrency_max: Option<usize>,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let pace = Pace::new(concurrency_max, Instant::now());
        let about = Arc::new(About { polled, queue });
        Self { about, phase, running: JoinSet::new(), pace, failures: Failures::default() }
    }

    /// Until it is told to stop; what runs then, ends first.
    pub(crate) async fn run(mut self) {
        while runs(&self.phase) {
            while let Some(ended) = self.running.try_join_next() {
                self.note(ended.ok());
            }
            if let Err(again) = self.pace.ask(self.running.len(), Instant::now()) {
                self.wait_for_place(again).await;
                continue;
            }
            let mut held = Held::default();
            let received = self.receive(&mut held).await;
            if received.is_ok() && runs(&self.phase) {
                self.well();
            }
            self.hand_on(held);
            if let Err(trouble) = received {
                self.wait_after(&trouble).await;
            }
        }
        while self.running.join_next().await.is_some() {}
    }

    fn note(&mut self, ended: Option<Ended>) {
        if ended.is_some_and(|ended| ended.throttled) {
            self.pace.throttled(self.running.len(), Instant::now());
        }
    }

    async fn wait_for_place(&mut self, again: Option<Instant>) {
        let again = async {
            match again {
                Some(again) => tokio::time::sleep_until(again.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(ended) = self.running.join_next() => self.note(ended.ok()),
            () = again => {}
            _ = self.phase.changed() => {}
        }
    }

    async fn receive(&mut self, held: &mut Held) -> Result<(), Trouble> {
        // Messages without a function would only lose of the times that they may be received.
        self.about.polled.target().map_err(Trouble::Function)?;
        let (about, phase) = (self.about.clone(), self.phase.clone());
        let mut ending = self.phase.clone();
        tokio::select! {
            received = about.collect(held, &phase) => received.map_err(Trouble::Queue),
            // What the queue has sent meanwhile comes again after its visibility timeout.
            _ = ending.wait_for(|phase| *phase == Phase::Drain) => Ok(()),
        }
    }

    /// Lets run what was received. Also what the last poll of a mapping has brought: given back, it
    /// would have been received once in vain. Only the end of the service returns it.
    fn hand_on(&mut self, held: Held) {
        let Held { messages, filtered, .. } = held;
        let about = &self.about;
        if !filtered.is_empty() {
            let about = about.clone();
            self.running.spawn(async move {
                about.delete(filtered).await;
                DONE
            });
        }
        if messages.is_empty() {
            return;
        }
        if *self.phase.borrow() == Phase::Drain {
            let handles = messages.into_iter().map(|message| message.receipt_handle).collect();
            self.give_back(handles);
            return;
        }
        let queue = &about.queue;
        let mut batch = Batch::default();
        let mut rest = Vec::new();
        for message in messages {
            if !rest.is_empty() {
                rest.push(message.receipt_handle);
            } else if let Err(handle) = batch.add(message, queue) {
                // It goes back, so that a group has one batch in flight, and in its order.
                rest.push(handle);
            }
        }
        if !rest.is_empty() {
            self.give_back(rest);
        }
        let about = self.about.clone();
        self.running.spawn(async move { about.run(batch).await });
    }

    fn give_back(&mut self, handles: Vec<String>) {
        let about = self.about.clone();
        self.running.spawn(async move {
            about.give_back(&handles).await;
            DONE
        });
    }

    fn well(&mut self) {
        if self.failures.over() {
            let About { polled, queue } = &*self.about;
            tracing::info!(mapping = %polled.mapping.id, queue = queue.text, "polled again");
        }
    }

    async fn wait_after(&mut self, trouble: &Trouble) {
        let wait = match trouble {
            // Mostly a mapping is made right behind its function.
            Trouble::Function(NoTarget::NotYet) => SOON,
            trouble => {
                let time_scale = self.about.polled.shared.options.time_scale;
                let (first, wait) = self.failures.another(time_scale);
                if first {
                    self.tell(trouble);
                }
                wait
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = self.phase.changed() => {}
        }
    }

    fn tell(&self, trouble: &Trouble) {
        let About { polled, queue } = &*self.about;
        let Mapping { id, function, qualifier, .. } = &polled.mapping;
        match trouble {
            Trouble::Queue(error) => {
                let error = chain(error);
                tracing::warn!(mapping = %id, queue = queue.text, error, "a queue cannot be polled");
            }
            Trouble::Function(_) => tracing::warn!(
                mapping = %id, %function, qualifier, "not polled: there is no such function"
            ),
        }
    }
}

impl About {
    fn queue(&self) -> Queue<'_> {
        Queue { options: &self.polled.shared.options, arn: &self.queue }
    }

    /// Receives a batch: until it is full or its window is over. What was received before an error
    /// is held.
    async fn collect(&self, held: &mut Held, phase: &watch::Receiver<Phase>) -> Result<(), Error> {
        let mapping = &self.polled.mapping;
        let (queue, wait_max) = (self.queue(), self.polled.shared.options.receive_wait);
        let begin = Instant::now();
        self.hold(held, queue.receive(mapping.batch_size, wait_max).await?);
        if held.messages.is_empty() {
            if held.filtered.is_empty() {
                tokio::time::sleep_until((begin + EMPTY_MIN).into()).await;
            }
            return Ok(());
        }
        let end = Instant::now() + mapping.window;
        while held.messages.len() < mapping.batch_size
            && held.bytes < REQUEST_PAYLOAD_BYTES_MAX
            && *phase.borrow() == Phase::Run
        {
            // A queue counts in whole seconds.
            let left = end.saturating_duration_since(Instant::now());
            let wait = Duration::from_secs(left.as_secs_f64().round() as u64);
            if wait.is_zero() {
                break;
            }
            let more = mapping.batch_size - held.messages.len();
            let received = queue.receive(more, wait.min(wait_max)).await?;
            self.hold(held, received);
        }
        Ok(())
    }

    fn hold(&self, held: &mut Held, received: Vec<Message>) {
        let Polled { shared, mapping, filters, .. } = &self.polled;
        let Mapping { function, qualifier, .. } = mapping;
        let may_loop = self.polled.target().is_ok_and(|target| target.may_loop);
        let is_loop = |trace: &str| lineage::hops(trace, function) >= HOPS_MAX;
        for message in received {
            if !may_loop && message.trace().is_some_and(is_loop) {
                // It is left to the queue, whose redrive policy decides.
                let of = (function, qualifier.as_deref());
                shared.measure(of, Metric::RecursiveInvocationsDropped, 1.0);
            } else if passes(filters, &message, &self.queue) {
                held.bytes += message.body.len();
                held.messages.push(message);
            } else {
                held.filtered.push(message.receipt_handle);
            }
        }
    }

    /// One invocation, and what becomes of its messages.
    async fn run(&self, mut batch: Batch) -> Ended {
        let Ok(target) = self.polled.target() else {
            // Its function was deleted since.
            self.give_back(&handles(&batch.items)).await;
            return DONE;
        };
        let Mapping { id, function, .. } = &self.polled.mapping;
        let trace = self.trace(&batch.items);
        let invocation = self.polled.invocation(&target, batch.take_payload(), trace);
        match self.polled.world.invoker.invoke(invocation).await {
            Ok(answer) => self.delete(self.done(&answer, batch.items)).await,
            Err(Refusal::Throttled { .. }) => return Ended { throttled: true },
            // The next service may have them at once.
            Err(Refusal::Draining) => self.give_back(&handles(&batch.items)).await,
            Err(refusal @ Refusal::Platform(_)) => {
                tracing::warn!(mapping = %id, %function, %refusal, "a batch could not run");
            }
        }
        DONE
    }

    /// Of the message that has come through the function most often: so a loop by way of a queue is
    /// seen.
    fn trace(&self, items: &[Item]) -> Option<String> {
        let function = &self.polled.mapping.function;
        let traces = items.iter().rev().filter_map(|item| item.trace.as_deref());
        let trace = traces.max_by_key(|trace| lineage::hops(trace, function))?;
        Some(lineage::enter(trace, function))
    }

    /// Handles of the messages that are done; the others come again after their visibility timeout.
    fn done(&self, answer: &Answer, items: Vec<Item>) -> Vec<String> {
        if answer.function_error {
            return Vec::new();
        }
        let ids: Vec<&str> = items.iter().map(|item| item.id.as_str()).collect();
        let verdict = if self.polled.mapping.reports_failures {
            verdict(&answer.payload, &ids)
        } else {
            Verdict::AllDone
        };
        match verdict {
            Verdict::AllDone => handles(&items),
            Verdict::AllFailed => Vec::new(),
            Verdict::Failed(failed) => {
                let done = items.into_iter().filter(|item| !failed.contains(&item.id));
                done.map(|item| item.handle).collect()
            }
        }
    }

    async fn delete(&self, handles: Vec<String>) {
        for handles in handles.chunks(MESSAGES_MAX) {
            let mut left = handles.to_vec();
            for attempt in 0..DELETE_ATTEMPTS {
                if let Some(before) = attempt.checked_sub(1) {
                    let wait = back_off(before, self.polled.shared.options.time_scale);
                    tokio::time::sleep(milliseconds(wait)).await;
                }
                match self.queue().delete(&left).await {
                    Ok(again) => left = again,
                    Err(error) => self.warn("done messages are not deleted yet", &error),
                }
                if left.is_empty() {
                    break;
                }
            }
            if !left.is_empty() {
                let (id, queue, count) = (&self.polled.mapping.id, &self.queue.text, left.len());
                tracing::warn!(mapping = %id, queue, count, "done messages will come again");
            }
        }
    }

    async fn give_back(&self, handles: &[String]) {
        for handles in handles.chunks(MESSAGES_MAX) {
            if let Err(error) = self.queue().give_back(handles).await {
                // They come again all the same, later.
                self.warn("messages are not given back", &error);
            }
        }
    }

    fn warn(&self, what: &str, error: &Error) {
        let (id, queue) = (&self.polled.mapping.id, &self.queue.text);
        tracing::warn!(mapping = %id, queue, error = chain(error), "{what}");
    }
}

fn handles(items: &[Item]) -> Vec<String> {
    items.iter().map(|item| item.handle.clone()).collect()
}
