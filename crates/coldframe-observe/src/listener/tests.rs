use std::time::Duration;

use super::*;
use crate::tests::function;

fn source(name: &str) -> Arc<Source> {
    Arc::new(Source::new(function(name), "stream"))
}

#[test]
fn who_is_too_fast_loses_lines_and_their_number_is_known() {
    let (source, queue) = (source("f"), Arc::new(Queue::default()));
    let ear = Ear::new(source.clone(), queue.clone());
    let line = "x".repeat(100_000);
    for _ in 0..100 {
        ear.line(SystemTime::now(), &line);
    }
    // A short one would fit, but it would stand before what is missing.
    ear.line(SystemTime::now(), "short");
    let buffer = source.take(&queue, Buffer::default());
    assert!(buffer.bytes() <= SOURCE_BYTES_MAX);
    assert_eq!(buffer.lines.len() as u64 + buffer.dropped, 101);
    assert!(buffer.dropped > 50, "{} dropped", buffer.dropped);
    ear.line(SystemTime::now(), "there is room again");
    assert_eq!(source.take(&queue, Buffer::default()).text, "there is room again\n");
    assert_eq!(queue.bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn what_waits_of_all_together_is_bounded() {
    let queue = Arc::new(Queue::default());
    let line = "x".repeat(1_000_000);
    let mut kept = Vec::new();
    for number in 0..40 {
        let source = source(&format!("f{number}"));
        let ear = Ear::new(source.clone(), queue.clone());
        for _ in 0..4 {
            ear.line(SystemTime::now(), &line);
        }
        kept.push(source);
    }
    assert!(queue.bytes.load(Ordering::Relaxed) <= QUEUE_BYTES_MAX);
    let lines: usize =
        kept.iter().map(|source| source.take(&queue, Buffer::default()).lines.len()).sum();
    assert!(lines > 60, "{lines} lines");
    assert_eq!(queue.bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn a_writer_that_falls_asleep_misses_nothing() {
    let queue = Arc::new(Queue::default());
    let (its, (told, heard)) = (queue.clone(), std::sync::mpsc::channel());
    let writer = std::thread::spawn(move || {
        let mut lines = 0;
        while lines < 1000 {
            let (_, sources) = its.take();
            for source in sources {
                lines += source.take(&its, Buffer::default()).lines.len();
            }
            let _ = told.send(lines);
            if lines < 1000 && its.fall_asleep() {
                std::thread::park();
                its.wake_up();
            }
        }
    });
    queue.set_writer(writer.thread().clone());
    let ear = Ear::new(source("f"), queue);
    for number in 1..=1000 {
        ear.line(SystemTime::now(), "x");
        // Each time it has to hear of it, asleep or about to be.
        while heard.recv_timeout(Duration::from_secs(20)).unwrap() < number {}
    }
    writer.join().unwrap();
}
