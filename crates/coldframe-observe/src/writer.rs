//! The one thread that writes: takes what environments have said, a few times a second, and puts
//! it where it is kept. Woken only when it has been quiet for long, when much waits, or when
//! somebody wants to read: a warm invocation wakes nobody.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::Shared;
use crate::listener::{Buffer, Queue, Source};
use crate::log::New;

/// How long what is said waits for more to be written with it.
const PERIOD: Duration = Duration::from_millis(50);

/// With nothing said for so long, the writer sleeps until it is woken.
const QUIET: Duration = Duration::from_secs(2);

/// How long what was measured may be in memory alone.
const FLUSH: Duration = Duration::from_secs(5);

/// How often old logs are looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(60 * 60);

/// A buffer is used again if it isn't larger than this, bytes: most are small.
const REUSED_BYTES_MAX: usize = 64 * 1024;

pub(crate) fn run(shared: &Arc<Shared>) {
    let _end = End(&shared.queue);
    if let Err(error) = shared.logs.open() {
        tracing::error!(%error, "the logs cannot be read");
    }
    if let Err(error) = shared.metrics.open() {
        tracing::error!(%error, "the metrics cannot be read");
    }
    let (mut heard, mut kept_house, mut flushed) = (Instant::now(), Instant::now(), Instant::now());
    let mut spare = Buffer::default();
    loop {
        let stopped = shared.queue.is_stopped();
        let (barriers, sources) = shared.queue.take();
        let measured = shared.queue.take_measured();
        if !sources.is_empty() || !measured.is_empty() {
            heard = Instant::now();
        }
        for measured in &measured {
            shared.metrics.measured(measured);
        }
        for source in sources {
            let mut buffer = source.take(&shared.queue, std::mem::take(&mut spare));
            write(shared, &source, &mut buffer);
            if buffer.capacity_bytes() <= REUSED_BYTES_MAX {
                spare = buffer;
            }
        }
        let mut is_written = true;
        // What can be read survives a kill.
        if stopped || !barriers.is_empty() || flushed.elapsed() >= FLUSH {
            is_written = shared.metrics.flush();
            flushed = Instant::now();
        }
        for barrier in barriers {
            // Who waited may have gone.
            let _ = barrier.send(());
        }
        if stopped {
            return;
        }
        if kept_house.elapsed() >= HOUSEKEEPING {
            kept_house = Instant::now();
            shared.logs.expire();
            shared.metrics.expire();
        }
        if heard.elapsed() < QUIET {
            thread::park_timeout(PERIOD);
            continue;
        }
        is_written &= shared.metrics.flush();
        if shared.queue.fall_asleep() {
            // A disk that doesn't take it is tried again.
            thread::park_timeout(if is_written { HOUSEKEEPING } else { FLUSH });
            shared.queue.wake_up();
        }
    }
}

/// However the writer ends, nobody waits for it any more.
struct End<'a>(&'a Queue);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Empties the buffer.
fn write(shared: &Shared, source: &Source, buffer: &mut Buffer) {
    let marker = (buffer.dropped > 0).then(|| {
        let dropped = buffer.dropped;
        format!("[coldframe] {dropped} lines are missing here: they came faster than they could be written\n")
    });
    let mut events = Vec::with_capacity(buffer.lines.len() + 1);
    let mut rest = buffer.text.as_str();
    for (at, length) in &buffer.lines {
        let (text, more) = rest.split_at(*length);
        rest = more;
        events.push(New { at: *at, text });
    }
    if let Some(exporter) = shared.metrics.exporter() {
        exporter.lines(source, &events, &mut buffer.told, &buffer.told_after);
    }
    if let Some(marker) = &marker {
        events.push(New { at: crate::log::now(), text: marker });
    }
    if !events.is_empty() {
        shared.logs.append(&source.group, &source.stream, &events);
    }
    let bytes = buffer.text.len();
    shared.metrics.logged(source, buffer.lines.len(), bytes, buffer.dropped);
    shared.metrics.take(source, buffer.told.drain(..));
    buffer.clear();
}
