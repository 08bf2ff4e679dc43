use std::time::Duration;

use coldframe_core::RequestId;
use coldframe_core::event::{InitPhase, Report, Span};

use coldframe_core::observe::{Concurrency, Provisioned};

use super::*;
use crate::tests::function;

const RUNNING: Concurrency = Concurrency {
    function: 2,
    account: 5,
    unreserved: 3,
    claimed: 30,
    provisioned: Some(Provisioned { running: 1, capacity: 4, spilled: false }),
};

/// Metrics in a directory of their own, and a minute that is over.
struct Fixture {
    metrics: Metrics,
    minute: SystemTime,
    directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let metrics = Metrics::new(directory.path().join("metrics"), None);
        metrics.open().unwrap();
        let now = crate::log::now() - 10 * MS_PER_MINUTE;
        let minute = SystemTime::UNIX_EPOCH + Duration::from_millis(now - now % MS_PER_MINUTE);
        Self { metrics, minute, directory }
    }

    /// As if the service had been killed and started.
    fn again(&mut self) {
        self.metrics = Metrics::new(self.directory.path().join("metrics"), None);
        self.metrics.open().unwrap();
    }

    fn get(&self, metric: Metric, dimensions: Dimensions, statistic: &str) -> Option<f64> {
        let FunctionArn { account, region, .. } = function("f").arn.clone();
        let first = minute(ms(self.minute));
        let wanted = vec![(Owner { account, region, dimensions }, metric)];
        let found = self.metrics.find(Question { wanted, minutes: (first, first + 1) }).unwrap();
        let data = found.data(0, ms(self.minute), 60);
        data.first().map(|(_, datum)| datum.statistic(statistic).unwrap())
    }

    fn measure(&self, metric: Metric, qualifier: Option<&str>, value: f64) {
        let (function, at) = (function("f").arn.clone(), self.minute);
        let qualifier = qualifier.map(Into::into);
        self.metrics.measured(&Measured { function, qualifier, metric, at, value });
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.directory.path().join("metrics")).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }
}

impl Fixture {
    fn sealed(&self) -> Vec<PathBuf> {
        let files = self.files().into_iter();
        files.filter(|path| path.extension().unwrap() == "metrics").collect()
    }

    /// Measures until a file has been sealed; says how often.
    fn fill(&self) -> f64 {
        let (before, mut count) = (self.sealed(), 0.0);
        while self.sealed() == before {
            for number in 0..200 {
                self.measure(Metric::Invocations, Some(&number.to_string()), 1.0);
                count += 1.0;
            }
            assert!(self.metrics.flush());
        }
        count
    }

    fn owner(&self) -> Owner {
        let FunctionArn { account, region, name } = function("f").arn.clone();
        Owner { account, region, dimensions: Dimensions::Function(name) }
    }

    /// More than an open file has: Errors of many functions, 1 each.
    fn much(&self) -> Series {
        let mut much = Series::default();
        for number in 0..600 {
            let dimensions = Dimensions::Function(format!("{number:04}").repeat(500).into());
            let owner = Owner { dimensions, ..self.owner() };
            much.add(owner, Metric::Errors, minute(ms(self.minute)), &[1.0]);
        }
        much
    }

    /// Sealed files of 2 KB and one value each, 1, of so many minutes from the fixture's on.
    fn write_sealed(&self, files: u32) {
        for number in 0..files {
            let (mut series, owner) = (Series::default(), self.owner());
            let first = minute(ms(self.minute));
            let long = Dimensions::Function("x".repeat(2000).into());
            let other = Owner { dimensions: long, ..owner.clone() };
            series.add(other, Metric::Throttles, first + number, &[1.0]);
            series.add(owner, Metric::Throttles, first + number, &[1.0]);
            let path = self.directory.path().join(format!("metrics/{:08}.metrics", number + 1));
            std::fs::write(path, kept::encode(&series)).unwrap();
        }
    }

    /// The sum of Throttles in the minutes from the fixture's on.
    fn throttles(&self, minutes: u32) -> io::Result<f64> {
        let first = minute(ms(self.minute));
        let wanted = vec![(self.owner(), Metric::Throttles)];
        let found = self.metrics.find(Question { wanted, minutes: (first, first + minutes) })?;
        Ok(found.data(0, 0, 60).iter().map(|(_, datum)| datum.sum).sum())
    }
}

fn one() -> Dimensions {
    Dimensions::Function("f".into())
}

fn told(metrics: &Metrics, source: &Source, at: SystemTime, event: Event) {
    metrics.take(source, [Told::Happened { at, event }].into_iter());
}

fn invoke(metrics: &Metrics, source: &Source, at: SystemTime, qualifier: Option<&str>, cold: bool) {
    let request_id = RequestId::from(uuid::Uuid::new_v4());
    let invoked = Invoked {
        at,
        qualifier: qualifier.map(Into::into),
        trace_header: None,
        running: RUNNING,
        context: None,
    };
    metrics.take(source, [Told::Invoked(invoked)].into_iter());
    // What is called by its alias fails here.
    let status = if qualifier.is_none() { Status::Success } else { Status::Timeout };
    let report = Report {
        request_id,
        duration: Duration::from_millis(20),
        init_duration: cold.then_some(Duration::from_millis(30)),
        memory_mb: 128,
        max_memory_used_mb: 10,
        status,
        extension_overhead: Some(Span {
            name: "extensionOverhead",
            start: at,
            duration: Duration::from_millis(7),
        }),
        trace: None,
        tenant_id: None,
    };
    told(metrics, source, at + Duration::from_secs(90), Event::Report(Box::new(report)));
}

#[test]
fn an_invocation_is_counted_at_its_start_in_each_of_its_series() {
    let fixture = Fixture::new();
    let (metrics, minute) = (&fixture.metrics, fixture.minute);
    let source = Source::new(function("f"), "s");
    told(metrics, &source, minute, Event::InitStart { phase: InitPhase::Init });
    let (phase, duration) = (InitPhase::Init, Duration::from_millis(30));
    let report = Event::InitReport { phase, duration, status: Status::Success };
    told(metrics, &source, minute, report);
    invoke(metrics, &source, minute, None, true);
    invoke(metrics, &source, minute, None, false);
    // After a crash, say.
    told(metrics, &source, minute, Event::InitStart { phase: InitPhase::Invoke });
    invoke(metrics, &source, minute, Some("live"), false);
    let get = |metric, dimensions, statistic| fixture.get(metric, dimensions, statistic);
    assert_eq!(get(Metric::Invocations, one(), "Sum"), Some(3.0));
    assert_eq!(get(Metric::Errors, one(), "Sum"), Some(1.0));
    assert_eq!(get(Metric::ColdStarts, one(), "Sum"), Some(2.0));
    assert_eq!(get(Metric::InitDuration, one(), "p50"), Some(30.0));
    assert_eq!(get(Metric::Duration, one(), "Maximum"), Some(20.0));
    assert_eq!(get(Metric::Invocations, Dimensions::Account, "Sum"), Some(3.0));
    let latest = Dimensions::Resource("f".into(), "f:$LATEST".into());
    assert_eq!(get(Metric::Errors, latest, "Sum"), Some(0.0));
    let alias = Dimensions::Resource("f".into(), "f:live".into());
    assert_eq!(get(Metric::Errors, alias.clone(), "Sum"), Some(1.0));
    assert_eq!(get(Metric::PostRuntimeExtensionsDuration, alias.clone(), "Average"), Some(7.0));
    let executed = Dimensions::Executed("f".into(), "f:live".into(), "$LATEST".into());
    assert_eq!(get(Metric::Invocations, executed, "Sum"), Some(1.0));
    // What runs at the same time is known of functions and accounts.
    assert_eq!(get(Metric::ConcurrentExecutions, one(), "Maximum"), Some(2.0));
    assert_eq!(get(Metric::ConcurrentExecutions, Dimensions::Account, "Maximum"), Some(5.0));
    assert_eq!(get(Metric::ConcurrentExecutions, alias.clone(), "Maximum"), None);
    assert_eq!(get(Metric::UnreservedConcurrentExecutions, one(), "Maximum"), None);
    let account = Dimensions::Account;
    assert_eq!(get(Metric::UnreservedConcurrentExecutions, account.clone(), "p50"), Some(3.0));
    assert_eq!(get(Metric::ClaimedAccountConcurrency, account, "Maximum"), Some(30.0));
    assert_eq!(get(Metric::ProvisionedConcurrencyInvocations, alias.clone(), "Sum"), Some(1.0));
    assert_eq!(get(Metric::ProvisionedConcurrencySpilloverInvocations, one(), "Sum"), Some(0.0));
    assert_eq!(get(Metric::ProvisionedConcurrencyUtilization, alias, "Maximum"), Some(0.25));
}

#[test]
fn what_no_environment_tells_is_told_from_elsewhere() {
    let fixture = Fixture::new();
    fixture.measure(Metric::Throttles, Some("live"), 1.0);
    fixture.measure(Metric::AsyncEventAge, None, 12.0);
    let FunctionArn { account, region, name } = function("f").arn.clone();
    let of = (account, region);
    let resource = Arc::<str>::from("f:live");
    let expected = [
        (Metric::Throttles, Dimensions::Account),
        (Metric::Throttles, Dimensions::Function(name.clone())),
        (Metric::Throttles, Dimensions::Resource(name.clone(), resource)),
        (Metric::AsyncEventAge, Dimensions::Account),
        (Metric::AsyncEventAge, Dimensions::Function(name)),
    ];
    for is_written in [false, true] {
        let listed = fixture.metrics.list(&of, 0, &|_| true).unwrap();
        assert_eq!(listed, expected, "on the disk: {is_written}");
        let of_account = fixture.metrics.list(&of, 0, &|one| *one == Dimensions::Account).unwrap();
        assert_eq!(of_account.len(), 2);
        assert!(fixture.metrics.list(&of, crate::log::now(), &|_| true).unwrap().is_empty());
        let elsewhere = (of.0.clone(), "eu-west-2".into());
        assert!(fixture.metrics.list(&elsewhere, 0, &|_| true).unwrap().is_empty());
        assert!(fixture.metrics.flush());
    }
}

#[test]
fn what_was_written_is_there_after_a_kill_and_what_is_torn_is_cut() {
    let mut fixture = Fixture::new();
    for value in [1.5, 2.5] {
        fixture.measure(Metric::AsyncEventAge, None, value);
        assert!(fixture.metrics.flush());
    }
    fixture.measure(Metric::AsyncEventAge, None, 100.0);
    fixture.again();
    let sum = |fixture: &Fixture| fixture.get(Metric::AsyncEventAge, one(), "Sum");
    assert_eq!(sum(&fixture), Some(4.0));
    let [file] = &fixture.files()[..] else { panic!("{:?}", fixture.files()) };
    let whole = std::fs::read(file).unwrap();
    // Torn anywhere, the first frame is there.
    let half = whole.windows(4).rposition(|window| window == b"CFM1").unwrap();
    for end in half..whole.len() {
        std::fs::write(file, &whole[..end]).unwrap();
        fixture.again();
        assert_eq!(sum(&fixture), Some(1.5), "torn at {end}");
        assert_eq!(std::fs::read(file).unwrap(), &whole[..half]);
    }
    // Damaged anywhere, no frame but the one is lost.
    for place in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x10;
        std::fs::write(file, &damaged).unwrap();
        fixture.again();
        let left = if place < half { 2.5 } else { 1.5 };
        assert_eq!(sum(&fixture), Some(left), "damaged at {place}");
    }
    // It goes on behind what is whole.
    std::fs::write(file, [&whole[..], b"CFM1torn"].concat()).unwrap();
    fixture.again();
    fixture.measure(Metric::AsyncEventAge, None, 8.0);
    assert!(fixture.metrics.flush());
    fixture.again();
    assert_eq!(sum(&fixture), Some(12.0));
}

#[test]
fn a_full_file_is_summed_up_by_minutes_and_nothing_is_lost_or_counted_twice() {
    let mut fixture = Fixture::new();
    let sum = |fixture: &Fixture| fixture.get(Metric::Invocations, one(), "Sum");
    let mut count = 0.0;
    while fixture.files().len() < 2 {
        for number in 0..200 {
            fixture.measure(Metric::Invocations, Some(&number.to_string()), 1.0);
            count += 1.0;
        }
        assert!(fixture.metrics.flush());
        if fixture.files().iter().any(|path| path.extension().unwrap() == "metrics") {
            break;
        }
    }
    let [sealed] = &fixture.files()[..] else { panic!("{:?}", fixture.files()) };
    assert!(std::fs::metadata(sealed).unwrap().len() < 20_000);
    assert_eq!(sum(&fixture), Some(count));
    assert_eq!(fixture.get(Metric::Invocations, one(), "p99"), Some(1.0));
    // A kill between summing up and taking the old file away.
    let open = sealed.with_extension("open");
    std::fs::copy(sealed, &open).unwrap();
    std::fs::write(sealed.with_extension("new"), "begun").unwrap();
    fixture.again();
    assert_eq!(sum(&fixture), Some(count));
    assert_eq!(fixture.files().len(), 1);
    fixture.measure(Metric::Invocations, None, 1.0);
    assert!(fixture.metrics.flush());
    assert_eq!(fixture.files().len(), 2);
    fixture.again();
    assert_eq!(sum(&fixture), Some(count + 1.0));
}

#[test]
fn what_is_kept_is_bounded_in_bytes_and_age() {
    let mut fixture = Fixture::new();
    let directory = fixture.directory.path().join("metrics");
    fixture.metrics = Metrics::within(directory, 300_000);
    fixture.metrics.open().unwrap();
    let now = SystemTime::now();
    let days = |days: u64| Duration::from_secs(days * 24 * 60 * 60);
    for number in 0..100_u64 {
        // Names that nothing makes short.
        for part in 0..60 {
            let qualifier = format!("{number}x{part}").repeat(20);
            fixture.measure(Metric::Errors, Some(&qualifier), number as f64);
        }
        assert!(fixture.metrics.flush());
    }
    let bytes = fixture.metrics.kept_bytes();
    assert!((100_000..300_000 + 2 * 1024 * 1024).contains(&bytes), "{bytes} bytes");
    let on_disk: u64 = fixture.files().iter().map(|file| file.metadata().unwrap().len()).sum();
    assert_eq!(on_disk, bytes);
    // What was written last is there.
    assert_eq!(fixture.get(Metric::Errors, one(), "Maximum"), Some(99.0));
    let expire = |fixture: &Fixture, passed| {
        let Moment { wall, steady } = Moment::now();
        let moment = Moment { wall: wall + passed, steady: steady + passed };
        lock(&fixture.metrics.state).kept.expire(moment);
    };
    let sealed = fixture.sealed();
    expire(&fixture, days(14));
    assert_eq!(fixture.sealed(), sealed);
    expire(&fixture, days(16));
    assert!(fixture.sealed().is_empty());
    // What is older than what CloudWatch would show isn't shown.
    fixture.minute = now - days(16);
    fixture.measure(Metric::Duration, None, 1.0);
    assert_eq!(fixture.get(Metric::Duration, one(), "Sum"), None);
}

#[test]
fn a_disk_that_takes_nothing_keeps_metrics_in_memory() {
    let mut fixture = Fixture::new();
    // A file where the directory should be.
    let directory = fixture.directory.path().join("elsewhere");
    std::fs::write(&directory, "").unwrap();
    fixture.metrics = Metrics::new(directory.clone(), None);
    assert!(fixture.metrics.open().is_err());
    fixture.measure(Metric::Errors, None, 1.0);
    assert!(!fixture.metrics.flush());
    fixture.measure(Metric::Errors, None, 1.0);
    assert!(!fixture.metrics.flush());
    assert_eq!(fixture.get(Metric::Errors, one(), "Sum"), Some(2.0));
    // It takes them again, and the wait is over.
    std::fs::remove_file(&directory).unwrap();
    lock(&fixture.metrics.state).refused = None;
    assert!(fixture.metrics.flush());
    assert_eq!(fixture.get(Metric::Errors, one(), "Sum"), Some(2.0));
    assert!(fixture.metrics.kept_bytes() > 0);
}

#[test]
fn a_question_opens_only_what_it_is_about_and_fails_if_it_cannot() {
    let mut fixture = Fixture::new();
    fixture.write_sealed(5);
    fixture.again();
    assert_eq!(fixture.throttles(10).unwrap(), 5.0);
    // A directory opens, and cannot be read.
    let last = fixture.sealed().pop().unwrap();
    std::fs::remove_file(&last).unwrap();
    std::fs::create_dir(&last).unwrap();
    assert_eq!(fixture.throttles(4).unwrap(), 4.0);
    fixture.throttles(5).unwrap_err();
    let of = (function("f").arn.account.clone(), function("f").arn.region.clone());
    fixture.metrics.list(&of, 0, &|_| true).unwrap_err();
    // What somebody took away is gone.
    std::fs::remove_dir(&last).unwrap();
    assert_eq!(fixture.throttles(5).unwrap(), 4.0);
    // Nobody knows what is in a directory that cannot be looked at.
    std::fs::create_dir(last.with_file_name("00000009.open")).unwrap();
    fixture.metrics = Metrics::new(fixture.directory.path().join("metrics"), None);
    assert!(fixture.metrics.open().is_err());
    fixture.throttles(5).unwrap_err();
    std::fs::remove_dir(last.with_file_name("00000009.open")).unwrap();
    assert_eq!(fixture.throttles(5).unwrap(), 4.0);
}

#[test]
fn small_files_are_joined_and_nothing_is_lost_or_counted_twice() {
    let mut fixture = Fixture::new();
    // Larger than what is joined: the end of them, and then the beginning.
    fixture.write_sealed(400);
    fixture.again();
    let before = fixture.sealed();
    assert_eq!((before.len(), fixture.throttles(400).unwrap()), (400, 400.0));
    let kept: Vec<_> = [0, 1, 398, 399]
        .map(|index| {
            let path: &PathBuf = &before[index];
            (path, std::fs::read(path).unwrap())
        })
        .into();
    let mut count = fixture.fill();
    let files = fixture.files();
    assert!(files.len() == 2 && fixture.metrics.kept_bytes() > 800_000, "{files:?}");
    for _ in 0..3 {
        count += fixture.fill();
        assert!(fixture.files().len() <= 3);
    }
    for is_again in [false, true] {
        assert_eq!(fixture.throttles(400).unwrap(), 400.0, "again: {is_again}");
        assert_eq!(fixture.get(Metric::Invocations, one(), "Sum"), Some(count));
        // A kill before the old ones were taken away.
        for (path, bytes) in &kept {
            std::fs::write(path, bytes).unwrap();
        }
        fixture.again();
        assert!(fixture.files().len() <= 3);
    }
}

#[test]
fn a_question_is_right_while_files_are_sealed_and_joined() {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    let mut fixture = Fixture::new();
    fixture.write_sealed(50);
    fixture.again();
    let (fixture, done, asked) = (&fixture, AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let (done, asked) = (&done, &asked);
        let asks = scope.spawn(move || {
            let mut before = 0.0;
            while !done.load(Ordering::Relaxed) {
                assert_eq!(fixture.throttles(50).unwrap(), 50.0);
                let sum = fixture.get(Metric::Invocations, one(), "Sum").unwrap_or_default();
                assert!(sum >= before, "{sum} after {before}");
                before = sum;
                asked.fetch_add(1, Ordering::Relaxed);
            }
            before
        });
        let mut count = 0.0;
        for _ in 0..5 {
            let before = asked.load(Ordering::Relaxed);
            count += fixture.fill();
            while asked.load(Ordering::Relaxed) == before && !asks.is_finished() {
                std::thread::yield_now();
            }
        }
        done.store(true, Ordering::Relaxed);
        assert!(asks.join().unwrap() <= count);
        assert_eq!(fixture.get(Metric::Invocations, one(), "Sum"), Some(count));
    });
}

#[test]
fn what_is_written_is_kept_though_somebody_takes_the_files_away() {
    let fixture = Fixture::new();
    let directory = fixture.directory.path().join("metrics");
    let sum = || fixture.get(Metric::Errors, one(), "Sum");
    let measure = || {
        fixture.measure(Metric::Errors, None, 1.0);
        assert!(fixture.metrics.flush());
    };
    fixture.fill();
    measure();
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(sum(), None);
    measure();
    assert_eq!((sum(), fixture.files().len()), (Some(1.0), 1));
    // Before anybody asks.
    std::fs::remove_dir_all(&directory).unwrap();
    measure();
    assert_eq!(sum(), Some(1.0));
    std::fs::rename(&directory, directory.with_extension("old")).unwrap();
    measure();
    assert_eq!(sum(), Some(1.0));
    std::fs::remove_file(fixture.files().pop().unwrap()).unwrap();
    measure();
    assert_eq!(sum(), Some(1.0));
    std::fs::File::options().write(true).open(&fixture.files()[0]).unwrap().set_len(0).unwrap();
    measure();
    assert_eq!(sum(), Some(1.0));
    // When there is no place for a directory, it is in memory.
    std::fs::remove_dir_all(&directory).unwrap();
    std::fs::write(&directory, "").unwrap();
    fixture.measure(Metric::Errors, None, 1.0);
    assert!(!fixture.metrics.flush());
    std::fs::remove_file(&directory).unwrap();
    lock(&fixture.metrics.state).refused = None;
    assert!(fixture.metrics.flush());
    assert_eq!(sum(), Some(1.0));
}

#[test]
fn a_clock_that_is_wrong_for_a_while_drops_nothing() {
    let fixture = Fixture::new();
    let start = Moment::now();
    let at = |steady_hours: u64, wall_hours: u64| {
        let after = |hours: u64| Duration::from_secs(hours * 60 * 60);
        let steady = start.steady + after(steady_hours);
        Moment { wall: start.wall + after(wall_hours), steady }
    };
    // It is sealed, and joined with what is sealed already.
    let (much, mut count) = (fixture.much(), fixture.fill());
    let append = |moment| lock(&fixture.metrics.state).kept.append(&much, moment).unwrap();
    let sum = || fixture.get(Metric::Invocations, one(), "Sum");
    let days = |days: u64| days * 24;
    append(at(2, days(30)));
    append(at(2, 2));
    assert_eq!(sum(), Some(count));
    count += fixture.fill();
    assert_eq!(sum(), Some(count));
    append(at(3, days(30)));
    assert_eq!(sum(), Some(count));
    // It stays.
    append(at(5, days(30) + 2));
    assert_eq!(sum(), None);
    assert_eq!(fixture.sealed(), [] as [PathBuf; 0]);
}

#[test]
fn a_file_from_the_future_keeps_no_other_alive() {
    let mut fixture = Fixture::new();
    fixture.minute = SystemTime::now() - Duration::from_secs(40 * 24 * 60 * 60);
    fixture.write_sealed(5);
    for (number, path) in fixture.sealed().iter().enumerate() {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        // The first is of the future by its time, the last is young.
        let days = [400, -40, -40, -40, 0][number];
        let day = Duration::from_secs(24 * 60 * 60);
        let now = SystemTime::now();
        let time = if days > 0 { now + day * 400 } else { now - day * -days as u32 };
        file.set_modified(time).unwrap();
    }
    let path = fixture.directory.path().join("metrics/00000009.metrics");
    std::fs::write(&path, "of another version").unwrap();
    fixture.again();
    fixture.metrics.expire();
    assert_eq!(fixture.sealed().len(), 6, "before the clock is believed");
    let hour = Duration::from_secs(60 * 60);
    let Moment { wall, steady } = Moment::now();
    let moment = Moment { wall: wall + hour, steady: steady + hour };
    lock(&fixture.metrics.state).kept.expire(moment);
    // It isn't read as it was written a moment ago.
    assert_eq!(fixture.sealed().len(), 2, "{:?}", fixture.sealed());
}

#[test]
fn a_file_that_cannot_be_sealed_is_left_alone_for_a_while_and_does_not_grow_for_ever() {
    let mut fixture = Fixture::new();
    let directory = fixture.directory.path().join("metrics");
    fixture.metrics = Metrics::within(directory.clone(), 3_000_000);
    fixture.metrics.open().unwrap();
    let much = fixture.much();
    let start = Moment::now();
    let append = |minutes: u64| {
        let passed = Duration::from_secs(60 * minutes);
        let moment = Moment { wall: start.wall + passed, steady: start.steady + passed };
        lock(&fixture.metrics.state).kept.append(&much, moment)
    };
    // A directory where the new file should be.
    let new = directory.join("00000001.new");
    std::fs::create_dir(&new).unwrap();
    append(0).unwrap();
    std::fs::remove_dir(&new).unwrap();
    append(9).unwrap();
    assert!(fixture.sealed().is_empty(), "tried again before its time");
    append(10).unwrap();
    assert_eq!(fixture.sealed().len(), 1);
    let new = directory.join("00000002.new");
    std::fs::create_dir(&new).unwrap();
    while append(30).is_ok() {
        assert!(fixture.metrics.kept_bytes() < 3_000_000 + 4 * 1024 * 1024);
    }
    assert!(fixture.sealed().is_empty());
    append(30).unwrap_err();
    std::fs::remove_dir(&new).unwrap();
    append(40).unwrap();
    assert_eq!(fixture.sealed().len(), 2);
}

#[test]
fn files_from_elsewhere_do_no_harm() {
    let mut fixture = Fixture::new();
    let directory = fixture.directory.path().join("metrics");
    // Of several open files, each counts.
    for number in [9, 7, 8] {
        let owner = fixture.owner();
        let mut series = Series::default();
        series.add(owner, Metric::Errors, minute(ms(fixture.minute)), &[f64::from(number)]);
        let path = directory.join(format!("{number:08}.open"));
        std::fs::write(path, kept::encode(&series)).unwrap();
    }
    for name in ["4294967295.metrics", "4294967295.open", "5.open", "00000009-00000005.metrics"] {
        std::fs::write(directory.join(name), "x").unwrap();
    }
    for _ in 0..2 {
        fixture.again();
        assert_eq!(fixture.get(Metric::Errors, one(), "Sum"), Some(24.0));
        assert_eq!(fixture.files().len(), 3 + 4, "{:?}", fixture.files());
    }
    fixture.measure(Metric::Errors, None, 8.0);
    assert!(fixture.metrics.flush());
    assert_eq!(fixture.get(Metric::Errors, one(), "Sum"), Some(32.0));
    // The last number: what is measured stays in memory.
    std::fs::write(directory.join("2147483647.metrics"), "").unwrap();
    fixture.again();
    fixture.measure(Metric::Errors, None, 16.0);
    assert!(!fixture.metrics.flush());
    assert_eq!(fixture.get(Metric::Errors, one(), "Sum"), Some(48.0));
}
