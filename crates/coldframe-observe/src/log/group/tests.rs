use super::super::query::{Direction, Found, Query};
use super::*;

fn group(directory: &Path) -> Group {
    let (group, written) = Group::create(directory.join("@g"), "g".into(), 1);
    written.unwrap();
    group
}

fn put(group: &Group, stream: &str, events: &[(u64, &str)]) {
    let events: Vec<_> = events.iter().map(|(at, text)| New { at: *at, text }).collect();
    group.append(stream, 1, &events).unwrap();
}

fn ask(
    group: &Group,
    direction: Direction,
    limit: usize,
    position: Option<super::super::Position>,
) -> (Vec<Found>, Option<super::super::Position>) {
    let matches = |_: &str| true;
    let query = Query { from: 0, until: u64::MAX, position, direction, limit, matches: &matches };
    let page = group.snapshot(0, |_| true).page(&query);
    (page.events, page.next)
}

fn texts(group: &Group) -> Vec<String> {
    ask(group, Direction::Forward, 100_000, None).0.into_iter().map(|found| found.text).collect()
}

/// All pages of `limit` events behind one another.
fn walk(group: &Group, direction: Direction, limit: usize) -> Vec<u64> {
    let (mut times, mut position) = (Vec::new(), None);
    loop {
        let (events, next) = ask(group, direction, limit, position);
        assert!(events.len() <= limit);
        times.extend(events.iter().map(|found| found.at));
        match next {
            Some(next) => position = Some(next),
            None => return times,
        }
    }
}

#[test]
fn events_come_by_time_whatever_order_they_were_written_in() {
    let directory = tempfile::tempdir().unwrap();
    let group = group(directory.path());
    // Over several segments, and so that blocks overlap in time.
    let long = "x".repeat(6000);
    let mut expected = Vec::new();
    for number in 0..1_500u64 {
        let at = 1_000_000 + (number * 7919) % 100 + number / 2;
        put(&group, ["a", "b", "c"][number as usize % 3], &[(at, &long)]);
        expected.push(at);
    }
    assert!(group.read().events().segments.len() > 1);
    expected.sort_unstable();
    for limit in [33, 1_000, 10_000] {
        assert_eq!(walk(&group, Direction::Forward, limit), expected);
    }
    let mut backward = walk(&group, Direction::Backward, 77);
    backward.reverse();
    assert_eq!(backward, expected);
}

#[test]
fn a_group_is_the_same_when_it_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let made = group(directory.path());
    put(&made, "one", &[(5, "a"), (9, "b")]);
    made.create_stream("empty", 3).unwrap();
    put(&made, "gone", &[(6, "c")]);
    assert!(made.delete_stream("gone").unwrap());
    made.change(|settings| settings.retention_days = Some(7)).unwrap();
    let opened = Group::open(made.directory.clone()).unwrap();
    assert_eq!(texts(&opened), ["a", "b"]);
    let names: Vec<_> = opened.streams().into_iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(names, ["empty", "one"]);
    assert_eq!(opened.streams()[1].1.span, made.streams()[1].1.span);
    assert_eq!(opened.settings().retention_days, Some(7));
    // A stream of the same name is another stream.
    put(&opened, "gone", &[(7, "d")]);
    assert_eq!(texts(&opened), ["a", "d", "b"]);
    let again = Group::open(made.directory.clone()).unwrap();
    assert_eq!(texts(&again), ["a", "d", "b"]);
}

#[test]
fn what_is_older_than_the_retention_is_not_shown_and_goes() {
    let directory = tempfile::tempdir().unwrap();
    let group = group(directory.path());
    let now = 100 * MS_PER_DAY;
    put(&group, "s", &[(now - 3 * MS_PER_DAY, "old"), (now, "new")]);
    group.change(|settings| settings.retention_days = Some(1)).unwrap();
    let matches = |_: &str| true;
    let query = Query {
        from: 0,
        until: u64::MAX,
        position: None,
        direction: Direction::Forward,
        limit: 10,
        matches: &matches,
    };
    let page = group.snapshot(now, |_| true).page(&query);
    assert_eq!(page.events.len(), 1);
    assert_eq!(group.expire(now), 0);
    assert!(group.expire(now + 2 * MS_PER_DAY) > 0);
    assert!(group.streams().is_empty());
    assert_eq!(group.stored_bytes(), 0);
    put(&group, "s", &[(now + 2 * MS_PER_DAY, "newer")]);
    assert_eq!(texts(&group), ["newer"]);
}

#[test]
fn a_disk_that_refuses_costs_nothing_that_fits_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let group = group(directory.path());
    put(&group, "s", &[(1, "on disk")]);
    // Where a segment would be made, something is in the way; and the open one is given up.
    {
        let mut state = group.write();
        let error = io::Error::from_raw_os_error(28);
        state.events_mut().refuse(&group.directory, &error);
    }
    put(&group, "s", &[(2, "in memory")]);
    put(&group, "t", &[(3, "as well")]);
    assert_eq!(texts(&group), ["on disk", "in memory", "as well"]);
    assert_eq!(texts(&Group::open(group.directory.clone()).unwrap()), ["on disk"]);
    let flood = "x".repeat(1000);
    for at in 0..3_000 {
        put(&group, "s", &[(10 + at, &flood)]);
    }
    let kept = group.stored_bytes();
    let bound = MEMORY_SEGMENT_BYTES * (MEMORY_SEGMENTS_MAX as u64 + 1) + 4096;
    assert!(kept < bound && kept > bound / 2, "{kept} bytes");
    // It takes them again.
    {
        let mut state = group.write();
        state.events_mut().refused = Instant::now().checked_sub(RETRY_AFTER);
    }
    put(&group, "s", &[(10_000, "last")]);
    let opened = Group::open(group.directory.clone()).unwrap();
    assert_eq!(texts(&opened), texts(&group));
    assert_eq!(texts(&opened).last().unwrap(), "last");
}

#[test]
fn a_deleted_group_takes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let group = group(directory.path());
    put(&group, "s", &[(1, "x")]);
    group.delete().unwrap();
    assert!(group.append("s", 1, &[]).is_err());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}
