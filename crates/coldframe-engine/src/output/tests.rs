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
    // As long as may be: nothing is left for a second one.
    let longest = "x".repeat(LINE_BYTES_MAX);
    check(&[longest.as_bytes(), b"\n"], &[&longest]);
}

#[test]
fn no_character_is_cut_in_two() {
    for text in ["ä", "€", "😀", "x€"] {
        let text = text.repeat(2 * LINE_BYTES_MAX / text.len());
        for before in ["", "x", "xx", "xxx"] {
            let line = format!("{before}{text}");
            let mut cut = Vec::new();
            // As one line, as a line that comes in parts, as a frame.
            let mut lines = Lines::default();
            lines.push(format!("{line}\n").as_bytes(), |part| cut.push(part.to_owned()));
            for piece in line.as_bytes().chunks(1000) {
                lines.push(piece, |part| cut.push(part.to_owned()));
            }
            lines.flush(|part| cut.push(part.to_owned()));
            let framed = frame(0xa55a_0003, line.as_bytes());
            cut.extend(frames(&[&framed]).into_iter().map(|(part, _)| part));
            assert!(cut.iter().all(|part| part.len() <= LINE_BYTES_MAX));
            assert!(cut.concat() == line.repeat(3), "{before:?}");
        }
    }
    // What is no text ends anywhere.
    assert_eq!(whole(&[0x80; 10]), 10);
    assert_eq!(whole(b"x\xff"), 2);
    assert_eq!(whole(b"x\xe2\x82"), 1);
    assert_eq!(whole(b""), 0);
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

fn frame(kind: u32, message: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend_from_slice(&(message.len() as u32).to_be_bytes());
    if kind & FRAME_TIMESTAMP != 0 {
        bytes.extend_from_slice(&[0; 8]);
    }
    bytes.extend_from_slice(message);
    bytes
}

fn frames(pieces: &[&[u8]]) -> Vec<(String, Option<LogLevel>)> {
    let (mut frames, mut records) = (Frames::default(), Vec::new());
    for piece in pieces {
        frames.push(piece, |text, level| records.push((text.to_owned(), level)));
    }
    frames.flush(|text, level| records.push((text.to_owned(), level)));
    records
}

// Spec: execution-environment.md §5.6 and L4.
#[test]
fn ee_l4_frames_of_both_sizes() {
    let stream = [
        frame(0xa55a_0003, b"two\nlines\n"),
        frame(0xa55a_0001, b"old"),
        frame(0xa55a_0017, b"failed"),
        frame(0xa55a_000e, b""),
    ]
    .concat();
    let expected = [
        ("two\nlines".to_owned(), None),
        ("old".to_owned(), None),
        ("failed".to_owned(), Some(LogLevel::Error)),
        (String::new(), Some(LogLevel::Info)),
    ];
    assert_eq!(frames(&[&stream]), expected);
    // However it is cut on its way.
    for at in 0..stream.len() {
        assert_eq!(frames(&[&stream[..at], &stream[at..]]), expected, "cut at {at}");
    }
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(frames(&bytes), expected);
}

#[test]
fn what_is_no_frame_is_lines() {
    assert_eq!(frames(&[b"plain\ntext"]), [("plain".to_owned(), None), ("text".to_owned(), None)]);
    let cut = frame(0xa55a_0003, b"never whole");
    assert_eq!(frames(&[&cut[..20]]), [("neve".to_owned(), None)]);
    // A length that lies takes no memory.
    let mut lie = frame(0xa55a_0003, b"x");
    lie[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
    let long = vec![b'x'; 3 * LINE_BYTES_MAX];
    let records = frames(&[&lie, &long]);
    assert!(records.iter().all(|(text, _)| text.len() <= LINE_BYTES_MAX));
    assert_eq!(records.iter().map(|(text, _)| text.len()).sum::<usize>(), long.len() + 1);
}

// A frame may be half written when an invocation is over: the next one is still a frame.
#[test]
fn a_flush_in_the_middle_of_a_frame_loses_nothing() {
    let stream =
        [frame(0xa55a_0017, b"first half, second half"), frame(0xa55a_0003, b"whole")].concat();
    for at in 0..stream.len() {
        let (mut frames, mut records) = (Frames::default(), Vec::new());
        let mut take = |text: &str, level: Option<LogLevel>| records.push((text.to_owned(), level));
        frames.push(&stream[..at], &mut take);
        frames.flush(&mut take);
        frames.push(&stream[at..], &mut take);
        let text: String = records.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(text, "first half, second halfwhole", "cut at {at}");
        for (text, level) in &records {
            let of_second = "whole".contains(text.as_str());
            assert_eq!(*level, (!of_second).then_some(LogLevel::Error), "cut at {at}: {text}");
        }
    }
}

// Empty lines are the cheapest to write and as dear to take as others.
#[tokio::test]
async fn a_turn_is_bounded_by_records_and_keeps_the_rest() {
    use std::io::Write;
    let (read, mut write) = std::io::pipe().unwrap();
    nonblocking(&read);
    write.write_all(&[b'\n'; 10_000]).unwrap();
    drop(write);
    let mut outputs = Outputs::default();
    outputs.add(Writer::Function, read.into(), false);
    let (mut all, mut turns) = (0, 0);
    while all < 10_000 {
        std::future::poll_fn(|context| outputs.poll_ready(context)).await;
        let before = all;
        outputs.read(|_| all += 1);
        assert!(all - before <= TURN_RECORDS + SLICE_BYTES, "{} records at once", all - before);
        turns += 1;
    }
    assert!(turns > 10);
    outputs.read(|_| all += 1);
    assert_eq!((all, outputs.pipes.len()), (10_000, 0));
}

fn nonblocking(pipe: &std::io::PipeReader) {
    rustix::io::ioctl_fionbio(pipe, true).unwrap();
}
