//! The newest log lines of each function, in memory, for readers that follow.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use coldframe_core::FunctionArn;
use tokio::sync::broadcast;

use crate::lock;

/// Kept of one function, bytes of text. What is older is forgotten.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// Lines a follower may be behind before it misses some.
const FOLLOWED_LINES_MAX: usize = 4096;

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
#[derive(Debug)]
pub struct FunctionLog {
    kept: Mutex<Kept>,
    followers: broadcast::Sender<LogLine>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<LogLine>,
    bytes: usize,
}

impl Default for FunctionLog {
    fn default() -> Self {
        let (followers, _) = broadcast::channel(FOLLOWED_LINES_MAX);
        Self { kept: Mutex::default(), followers }
    }
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
        if self.followers.receiver_count() > 0 {
            // Nobody may have stayed.
            let _ = self.followers.send(line.clone());
        }
        kept.bytes += text.len();
        kept.lines.push_back(line);
        while kept.bytes > KEPT_BYTES_MAX
            && let Some(oldest) = kept.lines.pop_front()
        {
            kept.bytes -= oldest.text.len();
        }
    }

    /// The lines kept, and every later one.
    pub fn follow(&self) -> (Vec<LogLine>, broadcast::Receiver<LogLine>) {
        let kept = lock(&self.kept);
        (kept.lines.iter().cloned().collect(), self.followers.subscribe())
    }
}
