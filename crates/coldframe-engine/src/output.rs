//! What processes write, cut into lines; and the tail of an invocation's log.

use coldframe_core::limits::LOG_TAIL_BYTES;

/// A longer line is split (AWS: "CloudWatch Logs quotas", event size 256 KB).
const LINE_BYTES_MAX: usize = 256 * 1024;

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
        while self.partial.len() >= LINE_BYTES_MAX {
            let tail = self.partial.split_off(LINE_BYTES_MAX);
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

fn emit(bytes: &[u8], line: &mut impl FnMut(&str)) {
    for part in bytes.chunks(LINE_BYTES_MAX) {
        line(&String::from_utf8_lossy(part));
    }
    if bytes.is_empty() {
        line("");
    }
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
mod tests {
    use super::*;

    fn check(pieces: &[&[u8]], expected: &[&str]) {
        let (mut lines, mut cut) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.push(piece, |line| cut.push(line.to_owned()));
        }
        lines.flush(|line| cut.push(line.to_owned()));
        assert_eq!(cut, expected);
    }

    #[test]
    fn streams_are_cut_into_lines() {
        check(&[b"a\nb\n"], &["a", "b"]);
        check(&[b"a", b"b\n", b"c"], &["ab", "c"]);
        check(&[b"\n\n"], &["", ""]);
        check(&[b"wrong \xff byte\n"], &["wrong \u{fffd} byte"]);
        check(&[], &[]);
    }

    #[test]
    fn very_long_lines_are_split() {
        let mut lines = Lines::default();
        let (mut lengths, mut longest) = (Vec::new(), 0);
        for _ in 0..700 {
            lines.push(&[b'x'; 1024], |line| lengths.push(line.len()));
            longest = longest.max(lines.partial.len());
        }
        assert_eq!(lengths, [LINE_BYTES_MAX, LINE_BYTES_MAX]);
        assert!(longest <= LINE_BYTES_MAX);
    }

    // Spec: execution-environment.md §5.5 and L3.
    #[test]
    fn ee_l3_the_tail_is_4_kb() {
        let mut tail = Tail::default();
        for number in 0..10_000 {
            tail.push(&format!("line {number}"));
        }
        let bytes = tail.take();
        assert_eq!(bytes.len(), LOG_TAIL_BYTES);
        assert!(bytes.ends_with(b"line 9999\n"));
    }
}
