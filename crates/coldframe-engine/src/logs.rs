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
    functions: Mutex<HashMap<FunctionArn, Kept>>,
}

#[derive(Debug)]
struct Kept {
    lines: VecDeque<LogLine>,
    bytes: usize,
    followers: broadcast::Sender<LogLine>,
}

impl Default for Kept {
    fn default() -> Self {
        let (followers, _) = broadcast::channel(FOLLOWED_LINES_MAX);
        Self { lines: VecDeque::new(), bytes: 0, followers }
    }
}

impl Logs {
    /// Adds a line.
    pub fn append(&self, function: &FunctionArn, stream: &Arc<str>, text: &str) {
        let line = LogLine { at: SystemTime::now(), stream: stream.clone(), text: text.into() };
        let mut functions = lock(&self.functions);
        if !functions.contains_key(function) {
            functions.insert(function.clone(), Kept::default());
        }
        let Some(kept) = functions.get_mut(function) else { return };
        kept.bytes += text.len();
        if kept.followers.receiver_count() > 0 {
            // Nobody may have stayed.
            let _ = kept.followers.send(line.clone());
        }
        kept.lines.push_back(line);
        while kept.bytes > KEPT_BYTES_MAX
            && let Some(oldest) = kept.lines.pop_front()
        {
            kept.bytes -= oldest.text.len();
        }
    }

    /// The lines kept, and every later one.
    pub fn follow(&self, function: &FunctionArn) -> (Vec<LogLine>, broadcast::Receiver<LogLine>) {
        let mut functions = lock(&self.functions);
        let kept = functions.entry(function.clone()).or_default();
        (kept.lines.iter().cloned().collect(), kept.followers.subscribe())
    }
}
