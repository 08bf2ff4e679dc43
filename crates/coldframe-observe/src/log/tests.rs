use super::*;

fn key(name: &str) -> Key {
    Key { account: AccountId::default_account(), region: "eu-west-1".into(), name: name.into() }
}

fn texts(logs: &Logs, name: &str) -> Vec<String> {
    let Some(group) = logs.group(&key(name)) else { return Vec::new() };
    let matches = |_: &str| true;
    let query = Query {
        from: 0,
        until: u64::MAX,
        position: None,
        direction: Direction::Forward,
        limit: 10_000,
        matches: &matches,
    };
    let page = group.snapshot(0, |_| true).page(&query);
    page.events.into_iter().map(|found| found.text).collect()
}

#[test]
fn groups_are_found_again_whatever_their_names() {
    let directory = tempfile::tempdir().unwrap();
    let long = format!("/{}", "long/".repeat(100));
    let longer = format!("{long}er");
    let names = ["/aws/lambda/f", "..", ".", "x.deleted", "a/../../b", &long, &longer];
    {
        let logs = Logs::new(directory.path().join("logs"), u64::MAX);
        logs.open().unwrap();
        for name in names {
            logs.append(&key(name), "s", &[New { at: 1, text: name }]);
        }
    }
    let logs = Logs::new(directory.path().join("logs"), u64::MAX);
    logs.open().unwrap();
    for name in names {
        assert_eq!(texts(&logs, name), [name]);
    }
    let region = Arc::from("eu-west-1");
    assert_eq!(logs.list(&AccountId::default_account(), &region, None).len(), names.len());
    assert!(logs.list(&AccountId::default_account(), &"eu-west-2".into(), None).is_empty());
    assert!(logs.delete(&key("..")).unwrap());
    assert!(!logs.delete(&key("..")).unwrap());
    assert!(logs.stored_bytes() > 0);
    // Nothing is made beside the directory.
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn the_oldest_goes_when_there_is_too_much() {
    let directory = tempfile::tempdir().unwrap();
    let bound = 3 * segment::SEGMENT_BYTES;
    let logs = Logs::new(directory.path().into(), bound);
    logs.open().unwrap();
    let text = "x".repeat(100_000);
    for at in 0..600 {
        logs.append(&key("g"), "s", &[New { at, text: &text }]);
        assert!(logs.stored_bytes() <= bound, "{} bytes", logs.stored_bytes());
    }
    let on_disk: u64 =
        segments(&logs.group(&key("g")).unwrap().directory).map(|segment| segment.bytes).sum();
    assert_eq!(on_disk, logs.stored_bytes());
    assert!(on_disk > bound / 3);
    let group = logs.group(&key("g")).unwrap();
    let matches = |_: &str| true;
    let query = Query {
        from: 0,
        until: u64::MAX,
        position: None,
        direction: Direction::Backward,
        limit: 1,
        matches: &matches,
    };
    assert_eq!(group.snapshot(0, |_| true).page(&query).events[0].at, 599);
}

#[test]
fn who_follows_gets_every_line_once() {
    let directory = tempfile::tempdir().unwrap();
    let logs = Logs::new(directory.path().into(), u64::MAX);
    logs.open().unwrap();
    let (before, mut lines) = logs.follow(&key("g"), |_| true);
    assert!(before.is_none());
    logs.append(&key("g"), "s", &[New { at: 1, text: "one" }]);
    assert_eq!(&*lines.try_recv().unwrap().text, "one");
    assert!(logs.delete(&key("g")).unwrap());
    logs.append(&key("g"), "s", &[New { at: 2, text: "two" }]);
    assert_eq!(&*lines.try_recv().unwrap().text, "two");
    assert!(lines.try_recv().is_err());
}
