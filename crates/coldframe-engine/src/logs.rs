//! The newest log lines of each function, in memory, for readers that follow.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

use coldframe_core::FunctionArn;
use tokio::sync::broadcast;

use crate::lock;

/// Kept of one function, bytes. What is older is forgotten.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// What a line takes beside its text, bytes: an empty one is not for nothing.
const LINE_OVERHEAD_BYTES: usize = 96;

/// Lines a follower may be behind before it misses some.
const FOLLOWED_LINES_MAX: usize = 1024;

/// One line of a function's log.
#[derive(Clone, Debug)]
pub struct LogLine {
    pub at: SystemTime,
    pub stream: Arc<str>,
    /// Without its newline. Not necessarily what the function meant as UTF-8: wrong bytes are
    /// replaced.
    pub text: Arc<str>,
}

/// The logs of all functions.
#[derive(Debug, Default)]
pub struct Logs {
    functions: Mutex<HashMap<FunctionArn, Arc<FunctionLog>>>,
}

/// The log of one function.
#[derive(Debug, Default)]
pub struct FunctionLog {
    kept: Mutex<Kept>,
    /// Made for the first follower.
    followers: OnceLock<broadcast::Sender<LogLine>>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<LogLine>,
    bytes: usize,
}

impl Logs {
    /// The log of a function, from now on if it has none.
    pub fn of(&self, function: &FunctionArn) -> Arc<FunctionLog> {
        lock(&self.functions).entry(function.clone()).or_default().clone()
    }
}

impl FunctionLog {
    /// Adds a line.
    pub fn append(&self, stream: &Arc<str>, text: &str) {
        let line = LogLine { at: SystemTime::now(), stream: stream.clone(), text: text.into() };
        let mut kept = lock(&self.kept);
        if let Some(followers) = self.followers.get() {
            // Nobody may have stayed.
            let _ = followers.send(line.clone());
        }
        kept.bytes += text.len() + LINE_OVERHEAD_BYTES;
        kept.lines.push_back(line);
        while kept.bytes > KEPT_BYTES_MAX
            && let Some(oldest) = kept.lines.pop_front()
        {
            kept.bytes -= oldest.text.len() + LINE_OVERHEAD_BYTES;
        }
    }

    /// The lines kept, and every later one.
    pub fn follow(&self) -> (Vec<LogLine>, broadcast::Receiver<LogLine>) {
        let kept = lock(&self.kept);
        let followers = self.followers.get_or_init(|| broadcast::channel(FOLLOWED_LINES_MAX).0);
        (kept.lines.iter().cloned().collect(), followers.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_whatever_the_lines() {
        for text in ["", "x", &"x".repeat(10_000)] {
            let (log, stream) = (FunctionLog::default(), Arc::from("stream"));
            for _ in 0..50_000 {
                log.append(&stream, text);
            }
            let (lines, _) = log.follow();
            let each = text.len() + LINE_OVERHEAD_BYTES;
            assert!(lines.len() * each <= KEPT_BYTES_MAX, "{} lines", lines.len());
            assert!(lines.len() * each > KEPT_BYTES_MAX - 2 * each, "{} lines", lines.len());
        }
    }
}
