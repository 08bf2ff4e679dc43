//! The task of one shard: it reads as there is room, and lets batches of its lanes run.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coldframe_core::asynchronous::NoTarget;
use coldframe_core::error::chain;
use coldframe_core::limits::REQUEST_PAYLOAD_BYTES_MAX;
use coldframe_core::source::{Position, StreamKind};
use coldframe_store::queue::Millis;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::super::trouble::Failures;
use super::super::{Phase, ends, runs};
use super::About;
use super::record::{Around, Record, fitting};
use super::remote::{Page, Trouble};
use super::tumbling::{STATE_BYTES_MAX, Window};
use super::work::Shard;
use crate::client::Error;
use crate::{lock, now};

/// Records of one read, unless a batch is larger.
const READ_MIN: usize = 1000;

/// Records that may be done behind one that isn't: each is remembered, and a crash lets all come again.
const AHEAD_MAX: usize = 10_000;

/// What an event of a window has beside records and state, bytes: names and times.
const BESIDE_BYTES_MAX: usize = 4096;

/// Until a function that is being made is asked for again.
const SOON: Duration = Duration::from_millis(50);

/// Why a reader has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// All of the shard is done.
    Done,
    Stopped,
    /// There is no such shard, or no such stream.
    Gone,
    /// By a fault of ours.
    Failed,
}

/// Between the beginnings of two reads (service-api.md §7.3): of a shard that has nothing more now,
/// and of one that has.
fn pace(kind: StreamKind) -> (Duration, Duration) {
    match kind {
        // Kinesis allows five a second, for all who read.
        StreamKind::Kinesis => (Duration::from_secs(1), Duration::from_millis(200)),
        StreamKind::DynamoDb => (Duration::from_millis(250), Duration::from_millis(250)),
    }
}

/// Records of some keys, in their order.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<Record>,
    bytes: usize,
    /// When the window of the batch that waits began.
    since: Option<Instant>,
    is_running: bool,
}

/// Why nothing was read.
enum Unread {
    Stream(Error),
    Function(NoTarget),
}

/// A read, and by what to go on.
type Read = Pin<Box<dyn Future<Output = Result<Page, Unread>> + Send>>;

struct Reader {
    shard: Arc<Shard>,
    /// Behind what was read last.
    at: Position,
    /// None of it was asked for by this reader, nor by one before.
    is_fresh: bool,
    iterator: Option<String>,
    is_closed: bool,
    reading: Option<Read>,
    next_read: Instant,
    /// When the last read did.
    read_began: Millis,
    /// All that came before this moment was read.
    had_all: Millis,
    lanes: Vec<Lane>,
    /// Numbers of lanes.
    running: JoinSet<usize>,
    failures: Failures,
}

/// Reads the shard from its checkpoint on, until its end.
pub(super) async fn read(about: Arc<About>, shard: String, phase: watch::Receiver<Phase>) -> Ended {
    let at = about.checkpoints.position(&shard);
    // The moment that this poller has given it.
    let is_fresh = at == Position::Since(about.begun);
    let count = if about.reading.tumbling.is_some() { 1 } else { about.reading.lanes.max(1) };
    let lanes = (0..count).map(|_| Lane::default()).collect();
    let (ledger, window) = Default::default();
    let shard = Shard { about, id: shard, ledger, window, phase };
    let reader = Reader {
        shard: Arc::new(shard),
        at,
        is_fresh,
        iterator: None,
        is_closed: false,
        reading: None,
        next_read: Instant::now(),
        read_began: 0,
        had_all: 0,
        lanes,
        running: JoinSet::new(),
        failures: Failures::default(),
    };
    reader.run().await
}

impl Reader {
    async fn run(mut self) -> Ended {
        let mut phase = self.shard.phase.clone();
        let mut ended = Ended::Stopped;
        while runs(&phase) {
            let window = self.hand_on();
            if self.is_done() {
                self.shard.about.checkpoints.done(&self.shard.id, Position::End).await;
                ended = Ended::Done;
                break;
            }
            if self.reading.is_none() && self.has_room() && Instant::now() >= self.next_read {
                self.begin();
            }
            let read_later = self.reading.is_none() && self.has_room();
            let next_read = self.next_read;
            tokio::select! {
                page = finish(&mut self.reading) => {
                    self.reading = None;
                    match page {
                        Ok(page) => self.take(page).await,
                        Err(Unread::Stream(error)) if Trouble::of(&error) == Trouble::Absent => {
                            ended = Ended::Gone;
                            break;
                        }
                        Err(unread) => self.fail(&unread),
                    }
                }
                Some(lane) = self.running.join_next() => {
                    let Some(lane) = lane.ok().and_then(|lane| self.lanes.get_mut(lane)) else {
                        ended = Ended::Failed;
                        break;
                    };
                    lane.is_running = false;
                }
                () = tokio::time::sleep_until(next_read.into()), if read_later => {}
                () = at(window) => {}
                () = ends(&mut phase) => {}
            }
        }
        // What runs is done to its end.
        while self.running.join_next().await.is_some() {}
        ended
    }

    fn about(&self) -> &Arc<About> {
        &self.shard.about
    }

    fn is_done(&self) -> bool {
        self.is_closed
            && self.running.is_empty()
            && lock(&self.shard.ledger).is_empty()
            && lock(&self.shard.window).is_none()
    }

    /// Less waits than the lanes take at once, and not too much is done behind what isn't.
    fn has_room(&self) -> bool {
        let records: usize = self.lanes.iter().map(|lane| lane.waiting.len()).sum();
        let bytes: usize = self.lanes.iter().map(|lane| lane.bytes).sum();
        let at_once = self.about().polled.mapping.batch_size.saturating_mul(self.lanes.len());
        // What runs and what waits, and as much as one lane may be behind the others.
        let open_max = at_once.saturating_mul(2).saturating_add(AHEAD_MAX);
        !self.is_closed
            && records < at_once
            && bytes < REQUEST_PAYLOAD_BYTES_MAX
            && lock(&self.shard.ledger).len() < open_max
    }

    fn begin(&mut self) {
        let (shard, at, is_fresh) = (self.shard.clone(), self.at.clone(), self.is_fresh);
        let iterator = self.iterator.take();
        self.read_began = now();
        self.next_read = Instant::now() + pace(self.about().stream.kind).0;
        self.reading = Some(Box::pin(fetch(shard, at, is_fresh, iterator)));
    }

    /// Enters what was read, and gives it to the lanes.
    async fn take(&mut self, page: Page) {
        let Page { records, next, is_behind } = page;
        if self.failures.over() {
            self.tell_again();
        }
        // Also when it brought nothing: there may be gaps.
        if is_behind {
            let (idle, busy) = pace(self.about().stream.kind);
            self.next_read = self.next_read - idle + busy;
        }
        (self.is_closed, self.iterator, self.is_fresh) = (next.is_none(), next, false);
        if !is_behind {
            self.had_all = self.read_began;
        }
        let mut passed_over = Vec::new();
        for mut record in records {
            self.at = Position::After(record.sequence_number.clone());
            record.number = lock(&self.shard.ledger).enter(&record.sequence_number);
            if !record.passes {
                record.json = Vec::new();
                passed_over.push(record);
                continue;
            }
            let lane = usize::try_from(record.key % self.lanes.len() as u64).unwrap_or_default();
            if let Some(lane) = self.lanes.get_mut(lane) {
                lane.bytes += record.json.len();
                lane.since.get_or_insert_with(Instant::now);
                lane.waiting.push_back(record);
            }
        }
        if !passed_over.is_empty() {
            self.shard.done(&passed_over).await;
        }
    }

    /// Lets batches run that are full, or whose window is over. When the next window will be.
    fn hand_on(&mut self) -> Option<Instant> {
        let (batch_size, window) = {
            let mapping = &self.about().polled.mapping;
            (mapping.batch_size, mapping.window)
        };
        let (is_closed, moment) = (self.is_closed, Instant::now());
        let mut next = None;
        for number in 0..self.lanes.len() {
            if self.ends_window() {
                self.start(number, Vec::new());
                continue;
            }
            // Behind the lanes' own window there may be records of a later one.
            let tumbles = self.about().tumbling();
            let Some(lane) = self.lanes.get_mut(number) else { continue };
            let Some(since) = lane.since.filter(|_| !lane.is_running) else { continue };
            let (mut count, mut is_cut, mut taken) = (lane.waiting.len(), false, 0);
            if let (Some(length), Some(first)) = (tumbles, lane.waiting.front()) {
                let of_first = || Window::of(first.arrived, length);
                let mut open = lock(&self.shard.window);
                let open = open.get_or_insert_with(of_first);
                let own = lane.waiting.iter().take_while(|record| open.takes(record.arrived));
                count = own.count();
                (is_cut, taken) = (count < lane.waiting.len(), STATE_BYTES_MAX + BESIDE_BYTES_MAX);
            }
            let is_full = is_cut || count >= batch_size || lane.bytes >= REQUEST_PAYLOAD_BYTES_MAX;
            let end = since + window;
            if !is_full && !is_closed && end > moment {
                next = Some(next.map_or(end, |next: Instant| next.min(end)));
                continue;
            }
            let count = count.min(fitting(&lane.waiting, batch_size, taken));
            let batch: Vec<Record> = lane.waiting.drain(..count).collect();
            lane.bytes = lane.waiting.iter().map(|record| record.json.len()).sum();
            lane.since = (!lane.waiting.is_empty()).then_some(moment);
            self.start(number, batch);
        }
        next
    }

    fn start(&mut self, number: usize, batch: Vec<Record>) {
        if let Some(lane) = self.lanes.get_mut(number) {
            lane.is_running = true;
        }
        let shard = self.shard.clone();
        self.running.spawn(async move {
            shard.work(batch).await;
            number
        });
    }

    /// Whether the window that is open gets no more: of windows there is one lane.
    fn ends_window(&self) -> bool {
        let Some(lane) = self.lanes.first().filter(|lane| !lane.is_running) else { return false };
        let window = lock(&self.shard.window);
        let Some(window) = &*window else { return false };
        match lane.waiting.front() {
            Some(next) => !window.takes(next.arrived),
            None => window.is_early || self.is_closed || self.had_all >= window.end,
        }
    }

    fn fail(&mut self, unread: &Unread) {
        let about = self.about().clone();
        let (mapping, shard) = (&about.polled.mapping.id, self.shard.id.clone());
        if let Unread::Function(NoTarget::NotYet) = unread {
            self.next_read = Instant::now() + SOON;
            return;
        }
        let (first, wait) = self.failures.another(about.polled.shared.options.time_scale);
        self.next_read = self.next_read.max(Instant::now() + wait);
        if let Unread::Stream(_) = unread {
            // Another iterator of the latest would pass over what has come since.
            self.is_fresh = false;
        }
        match unread {
            Unread::Stream(error) => match Trouble::of(error) {
                // Both are a matter of course.
                Trouble::Expired | Trouble::TooFast => {}
                Trouble::Trimmed => {
                    tracing::warn!(%mapping, shard, "records were gone before they were read");
                    self.at = Position::Begin;
                }
                Trouble::Absent | Trouble::Other if first => {
                    let error = chain(error);
                    tracing::warn!(%mapping, shard, error, "a shard cannot be read");
                }
                Trouble::Absent | Trouble::Other => {}
            },
            Unread::Function(_) if first => tracing::warn!(
                %mapping,
                function = about.polled.function_arn(),
                "not polled: there is no such function"
            ),
            Unread::Function(_) => {}
        }
    }

    fn tell_again(&self) {
        let (mapping, shard) = (&self.about().polled.mapping.id, &self.shard.id);
        tracing::info!(%mapping, shard, "read again");
    }
}

/// One read, by an iterator or from where the reader stands.
async fn fetch(
    shard: Arc<Shard>,
    at: Position,
    is_fresh: bool,
    iterator: Option<String>,
) -> Result<Page, Unread> {
    let about = &shard.about;
    // Records without a function would only grow old here.
    let target = about.polled.target().map_err(Unread::Function)?;
    let remote = about.remote();
    let iterator = match iterator {
        Some(iterator) => iterator,
        None => {
            let iterator = remote.iterator(&shard.id, &at, is_fresh).await;
            iterator.map_err(Unread::Stream)?
        }
    };
    let around = Around {
        stream: &about.stream,
        shard: &shard.id,
        role: &target.version.role,
        filters: &about.polled.filters,
    };
    let limit = about.polled.mapping.batch_size.max(READ_MIN);
    let page = remote.read(&iterator, limit, &at, around).await;
    page.map_err(Unread::Stream)
}

/// The end of a read; never, if there is none.
async fn finish(reading: &mut Option<Read>) -> Result<Page, Unread> {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
