//! What processes write, cut into lines and records; and the tail of an invocation's log.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll};

use coldframe_core::LogLevel;
use coldframe_core::limits::LOG_TAIL_BYTES;
use tokio::net::unix::pipe;

/// A longer line is split (AWS: "CloudWatch Logs quotas", event size 256 KB).
const LINE_BYTES_MAX: usize = 256 * 1024;

/// Read of one pipe at one go before other matters get their turn, bytes.
const TURN_BYTES: usize = 256 * 1024;

/// Records taken at one go: an empty line is as much work as a long one.
const TURN_RECORDS: usize = 256;

/// One read, bytes: on the stack, as mostly there is nothing.
const READ_BYTES: usize = 8 * 1024;

/// Cut at one go, bytes: at most as many records.
const SLICE_BYTES: usize = 256;

/// Who wrote something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// The runtime and its children.
    Function,
    /// An external extension, by its name.
    Extension(Arc<str>),
}

/// One line or framed record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) writer: Writer,
    pub(crate) text: String,
    /// As the frame tells it.
    pub(crate) level: Option<LogLevel>,
}

/// The pipes of all processes of an environment.
#[derive(Default)]
pub(crate) struct Outputs {
    pipes: Vec<Output>,
}

struct Output {
    writer: Writer,
    pipe: pipe::Receiver,
    cut: Cut,
    /// Read, and not yet cut: the turn was over.
    rest: Vec<u8>,
    closed: bool,
}

enum Cut {
    Lines(Lines),
    Frames(Frames),
}

impl Outputs {
    /// Reads what a process writes from now on, by lines or by frames.
    pub(crate) fn add(&mut self, writer: Writer, pipe: OwnedFd, framed: bool) {
        // A pipe is all it can be.
        let Ok(pipe) = pipe::Receiver::from_owned_fd(pipe) else { return };
        let cut =
            if framed { Cut::Frames(Frames::default()) } else { Cut::Lines(Lines::default()) };
        self.pipes.push(Output { writer, pipe, cut, rest: Vec::new(), closed: false });
    }

    /// Ready when there is something to read.
    pub(crate) fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        for output in &self.pipes {
            if !output.rest.is_empty() || output.pipe.poll_read_ready(context).is_ready() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Takes what is there now, up to a bound: a process that never stops printing must not keep
    /// everything else waiting. What is left is read at the next turn.
    pub(crate) fn read(&mut self, mut record: impl FnMut(Record)) {
        self.pipes.retain_mut(|output| output.read(&mut record));
    }

    /// What was written without an end behind it, and no more of anything.
    pub(crate) fn finish(&mut self, mut record: impl FnMut(Record)) {
        self.read(&mut record);
        for output in &mut self.pipes {
            let rest = std::mem::take(&mut output.rest);
            output.push(&rest, &mut record);
            output.end(&mut record);
        }
        self.pipes.clear();
    }

    /// Gives the beginnings of what may still go on: they belong to what is over now.
    pub(crate) fn flush(&mut self, mut record: impl FnMut(Record)) {
        for output in &mut self.pipes {
            output.flush(&mut record);
        }
    }
}

impl Output {
    /// `false` once the other end is closed and everything has been taken.
    fn read(&mut self, record: &mut impl FnMut(Record)) -> bool {
        let mut buffer = [0; READ_BYTES];
        let (mut bytes, mut records) = (0, 0);
        let mut counted = |taken: Record| {
            records += 1;
            record(taken);
            records
        };
        let rest = std::mem::take(&mut self.rest);
        if !self.cut_slices(&rest, &mut counted) {
            return true;
        }
        while bytes < TURN_BYTES && !self.closed {
            match self.pipe.try_read(&mut buffer) {
                Ok(length @ 1..) => {
                    bytes += length;
                    if !self.cut_slices(&buffer[..length], &mut counted) {
                        return true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Ok(0) | Err(_) => self.closed = true,
            }
        }
        if self.closed {
            self.end(record);
        }
        !self.closed
    }

    /// Cuts what was read, until the turn's records are used up: then the rest is kept, and the
    /// answer is `false`.
    fn cut_slices(&mut self, bytes: &[u8], record: &mut impl FnMut(Record) -> usize) -> bool {
        let mut slices = bytes.chunks(SLICE_BYTES);
        let mut at = 0;
        for slice in &mut slices {
            let mut count = 0;
            self.push(slice, &mut |taken| count = record(taken));
            at += slice.len();
            if count >= TURN_RECORDS {
                break;
            }
        }
        self.rest.extend_from_slice(&bytes[at..]);
        self.rest.is_empty()
    }

    fn push(&mut self, bytes: &[u8], record: &mut impl FnMut(Record)) {
        let writer = &self.writer;
        let mut emit = |text: &str, level| {
            record(Record { writer: writer.clone(), text: text.to_owned(), level });
        };
        match &mut self.cut {
            Cut::Lines(lines) => lines.push(bytes, |line| emit(line, None)),
            Cut::Frames(frames) => frames.push(bytes, emit),
        }
    }

    fn flush(&mut self, record: &mut impl FnMut(Record)) {
        let writer = &self.writer;
        let mut emit = |text: &str, level| {
            record(Record { writer: writer.clone(), text: text.to_owned(), level });
        };
        match &mut self.cut {
            Cut::Lines(lines) => lines.flush(|line| emit(line, None)),
            Cut::Frames(frames) => frames.flush(emit),
        }
    }

    /// The last word.
    fn end(&mut self, record: &mut impl FnMut(Record)) {
        self.flush(record);
        if let Cut::Frames(frames) = &mut self.cut {
            *frames = Frames::default();
        }
    }
}

/// Bits of a frame's type (execution-environment.md §5.6).
const FRAME_MAGIC: u32 = 0xa55a_0000;
const FRAME_TIMESTAMP: u32 = 0b10;

/// Cuts a stream of frames into records: type, length, perhaps a timestamp, message.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// A header that hasn't come whole.
    head: Vec<u8>,
    /// The message that is coming.
    message: Option<Message>,
    /// Somebody writes there who doesn't know of frames: from then on these are lines.
    lines: Option<Lines>,
}

#[derive(Debug)]
struct Message {
    left: usize,
    level: Option<LogLevel>,
    bytes: Vec<u8>,
}

impl Frames {
    /// Takes bytes, gives every record they end to `record`.
    pub(crate) fn push(&mut self, bytes: &[u8], mut record: impl FnMut(&str, Option<LogLevel>)) {
        self.take(bytes, &mut record);
    }

    fn take(&mut self, bytes: &[u8], record: &mut dyn FnMut(&str, Option<LogLevel>)) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if let Some(lines) = &mut self.lines {
                lines.push(rest, |line| record(line, None));
                return;
            }
            if let Some(message) = &mut self.message {
                // Longer than a record may be: in parts, so that nothing grows without end.
                let room = LINE_BYTES_MAX - message.bytes.len();
                let (now, later) = rest.split_at(rest.len().min(message.left).min(room));
                message.bytes.extend_from_slice(now);
                message.left -= now.len();
                rest = later;
                if message.left == 0 || message.bytes.len() == LINE_BYTES_MAX {
                    let at =
                        if message.left == 0 { message.bytes.len() } else { whole(&message.bytes) };
                    let tail = message.bytes.split_off(at);
                    let text = std::mem::replace(&mut message.bytes, tail);
                    let text = text.strip_suffix(b"\n").unwrap_or(&text);
                    record(&String::from_utf8_lossy(text), message.level);
                }
                if message.left == 0 {
                    self.message = None;
                }
                continue;
            }
            let (now, later) = rest.split_at(rest.len().min(16 - self.head.len()));
            self.head.extend_from_slice(now);
            rest = later;
            self.begin(record);
        }
    }

    /// A header may have come whole.
    fn begin(&mut self, record: &mut dyn FnMut(&str, Option<LogLevel>)) {
        let word = |at: usize| {
            let bytes = self.head.get(at..at + 4)?;
            Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        };
        let Some(kind) = word(0) else { return };
        if kind & 0xffff_0000 != FRAME_MAGIC {
            let mut lines = Lines::default();
            lines.push(&std::mem::take(&mut self.head), |line| record(line, None));
            self.lines = Some(lines);
            return;
        }
        let length = if kind & FRAME_TIMESTAMP == 0 { 8 } else { 16 };
        let Some(left) = word(4).filter(|_| self.head.len() >= length) else { return };
        let level = match kind >> 2 & 0b111 {
            1 => Some(LogLevel::Trace),
            2 => Some(LogLevel::Debug),
            3 => Some(LogLevel::Info),
            4 => Some(LogLevel::Warn),
            5 => Some(LogLevel::Error),
            6 => Some(LogLevel::Fatal),
            _ => None,
        };
        // An old frame's header is shorter: the rest belongs to its message.
        let begun = self.head.split_off(length);
        self.head.clear();
        if left == 0 {
            record("", level);
        } else {
            self.message = Some(Message { left: left as usize, level, bytes: Vec::new() });
        }
        if !begun.is_empty() {
            self.take(&begun, record);
        }
    }

    /// Gives the beginning of a record whose end hasn't come; what comes of it later is a record of
    /// its own.
    pub(crate) fn flush(&mut self, mut record: impl FnMut(&str, Option<LogLevel>)) {
        if let Some(lines) = &mut self.lines {
            lines.flush(|line| record(line, None));
        }
        if let Some(message) = self.message.as_mut().filter(|message| !message.bytes.is_empty()) {
            let text = std::mem::take(&mut message.bytes);
            record(&String::from_utf8_lossy(&text), message.level);
        }
    }
}

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes bytes, gives every line they end to `line`.
    pub(crate) fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&str)) {
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = (&rest[..at], &rest[at + 1..]);
            if self.partial.is_empty() {
                emit(head, &mut line);
            } else {
                self.partial.extend_from_slice(head);
                emit(&std::mem::take(&mut self.partial), &mut line);
            }
            rest = tail;
        }
        self.partial.extend_from_slice(rest);
        while self.partial.len() > LINE_BYTES_MAX {
            let tail = self.partial.split_off(whole(&self.partial[..LINE_BYTES_MAX]));
            emit(&std::mem::replace(&mut self.partial, tail), &mut line);
        }
    }

    /// Gives what was written without a newline behind it.
    pub(crate) fn flush(&mut self, mut line: impl FnMut(&str)) {
        if !self.partial.is_empty() {
            emit(&std::mem::take(&mut self.partial), &mut line);
        }
    }
}

fn emit(mut bytes: &[u8], line: &mut impl FnMut(&str)) {
    while bytes.len() > LINE_BYTES_MAX {
        let (head, tail) = bytes.split_at(whole(&bytes[..LINE_BYTES_MAX]));
        line(&String::from_utf8_lossy(head));
        bytes = tail;
    }
    line(&String::from_utf8_lossy(bytes));
}

/// How many of the bytes there are before a character that doesn't end in them.
fn whole(bytes: &[u8]) -> usize {
    let end = bytes.len();
    for back in 1..=end.min(3) {
        let length = match bytes[end - back] {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        return if length > back { end - back } else { end };
    }
    end
}

/// The last 4 KB of an invocation's log.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    bytes: Vec<u8>,
}

impl Tail {
    pub(crate) fn push(&mut self, line: &str) {
        self.bytes.extend_from_slice(line.as_bytes());
        self.bytes.push(b'\n');
        if self.bytes.len() > 2 * LOG_TAIL_BYTES {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let surplus = self.bytes.len().saturating_sub(LOG_TAIL_BYTES);
        self.bytes.drain(..surplus);
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.cut();
        std::mem::take(&mut self.bytes)
    }
}

#[cfg(test)]
mod tests;
