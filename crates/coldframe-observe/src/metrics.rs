//! What is measured: in CloudWatch's form, minute by minute, and in Prometheus's, summed up.
//!
//! The writer feeds it, and moves what was measured to the disk; nothing here is on the way of an
//! invocation.

mod kept;
mod prometheus;
mod series;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use coldframe_core::event::{Event, InitPhase, Status};
use coldframe_core::observe::{Gauge, Measured, Metric};
use coldframe_core::{AccountId, FunctionArn};

use self::kept::{KEPT_BYTES_MAX, Kept, Moment, Snapshot, Unread};
use self::series::{Listed, Series, Wanted};
use crate::listener::{Invoked, Source, Told};
use crate::log::{lock, ms};
use crate::otlp::Exporter;

pub(crate) use self::prometheus::is_summed;
pub(crate) use self::series::{Dimensions, Found, MS_PER_MINUTE, Owner, Question, minute};

/// Data in memory for as long as the disk takes nothing: they take some 20 MB.
const HELD_MAX: usize = 100_000;

/// How long a disk that failed is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What hasn't been measured for so long isn't told of to Prometheus and over OTLP any more: the
/// function may be gone.
pub(crate) const TOLD_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// How often a question looks again as files were exchanged below it: each holds a megabyte that
/// was measured meanwhile.
const LOOKS_MAX: u32 = 16;

/// Whether the name is that of a percentile, as in `p99.9`.
pub(crate) fn is_percentile(name: &str) -> bool {
    series::percentile(name).is_some()
}

/// An account in a region.
pub(crate) type Namespace = (AccountId, Arc<str>);

/// What the writer knows of an environment.
#[derive(Default)]
pub(crate) struct Seen {
    invoked: Option<Invoked>,
    init_began: Option<SystemTime>,
    /// How long the last init took.
    init: Option<(SystemTime, std::time::Duration)>,
    /// The invocation that runs began with an init.
    cold: bool,
    counted: bool,
}

/// Whether anything is made of the event.
pub(crate) fn is_of_interest(event: &Event) -> bool {
    matches!(
        event,
        Event::InitStart { .. }
            | Event::InitReport { .. }
            | Event::Report(_)
            | Event::Frozen { .. }
            | Event::Thawed { .. }
            | Event::Reset { .. }
    )
}

pub(crate) struct Metrics {
    state: Mutex<State>,
    prometheus: prometheus::Prometheus,
    exporter: Option<Exporter>,
}

struct State {
    /// What isn't on the disk yet.
    fresh: Series,
    kept: Kept,
    /// When the disk last refused.
    refused: Option<Instant>,
}

impl Metrics {
    /// Metrics kept in this directory.
    pub(crate) fn new(directory: PathBuf, exporter: Option<Exporter>) -> Self {
        Self { exporter, ..Self::within(directory, KEPT_BYTES_MAX) }
    }

    /// At most so many bytes of them, and the open file.
    fn within(directory: PathBuf, bytes_max: u64) -> Self {
        let kept = Kept::new(directory, bytes_max);
        let state = Mutex::new(State { fresh: Series::default(), kept, refused: None });
        Self { state, prometheus: prometheus::Prometheus::new(), exporter: None }
    }

    /// Finds what is on the disk; none of it is read but what may be torn.
    pub(crate) fn open(&self) -> io::Result<()> {
        lock(&self.state).kept.open()
    }

    /// Moves to the disk what was measured; `false` if the disk doesn't take it: then it stays in
    /// memory, as much as may.
    pub(crate) fn flush(&self) -> bool {
        let mut state = lock(&self.state);
        let State { fresh, kept, refused } = &mut *state;
        if fresh.is_empty() {
            return true;
        }
        if refused.is_some_and(|at| at.elapsed() < RETRY_AFTER) {
            fresh.thin(HELD_MAX);
            return false;
        }
        match kept.append(fresh, Moment::now()) {
            Ok(()) => {
                *fresh = Series::default();
                *refused = None;
                true
            }
            Err(error) => {
                if refused.is_none() {
                    tracing::error!(%error, "metrics cannot be written: they are kept in memory");
                }
                *refused = Some(Instant::now());
                fresh.thin(HELD_MAX);
                false
            }
        }
    }

    /// Lines of an environment have been written.
    pub(crate) fn logged(&self, source: &Source, lines: usize, bytes: usize, dropped: u64) {
        let mut seen = lock(&source.seen);
        if !std::mem::replace(&mut seen.counted, true) {
            self.prometheus.began(&source.function.arn);
        }
        self.prometheus.logged(&source.function.arn, lines as u64, bytes as u64, dropped);
    }

    pub(crate) fn exporter(&self) -> Option<&Exporter> {
        self.exporter.as_ref()
    }

    /// Takes in what an environment has told since the last time, summed up first: a busy function
    /// has some hundred invocations a turn.
    pub(crate) fn take(&self, source: &Source, told: impl Iterator<Item = Told>) {
        let arn = &source.function.arn;
        let mut seen = lock(&source.seen);
        let mut turn = Turn::default();
        for told in told {
            match told {
                Told::Ended => self.prometheus.ended(arn),
                Told::Invoked(invoked) => {
                    turn.part(ms(invoked.at), invoked.qualifier.as_deref()).began(&invoked);
                    seen.invoked = Some(invoked);
                }
                Told::Happened { at, event } => {
                    self.happened(source, &mut seen, &mut turn, (at, event));
                }
            }
        }
        let version = source.function.version.as_str();
        for part in &turn.parts {
            let addressed = Addressed { qualifier: part.qualifier.as_deref(), version };
            for (metric, values) in &part.values {
                self.add(arn, Some(&addressed), *metric, part.minute, values);
            }
            for (metric, values) in &part.of_function {
                self.keep(
                    arn,
                    Dimensions::Function(arn.name.clone()),
                    *metric,
                    part.minute,
                    values,
                );
                self.export(arn, *metric, values);
            }
            for (metric, values) in &part.of_account {
                self.keep(arn, Dimensions::Account, *metric, part.minute, values);
                if *metric != Metric::ConcurrentExecutions {
                    self.export(&FunctionArn { name: "".into(), ..arn.clone() }, *metric, values);
                }
            }
        }
        self.prometheus.froze(arn, &turn.freezes, &turn.thaws);
        self.prometheus.heard(arn, Instant::now());
    }

    fn happened(
        &self,
        source: &Source,
        seen: &mut Seen,
        turn: &mut Turn,
        (at, event): (SystemTime, Event),
    ) {
        let arn = &source.function.arn;
        match event {
            Event::InitStart { phase } => {
                seen.init_began = Some(at);
                // Of another init, the report tells: one that was done ahead is waited for by nobody.
                seen.cold |= phase == InitPhase::Invoke;
            }
            Event::InitReport { duration, .. } => {
                let value = duration.as_secs_f64() * 1000.0;
                self.add(arn, None, Metric::InitDuration, minute(ms(at)), &[value]);
                seen.init = seen.init_began.map(|began| (began, duration));
            }
            Event::Report(report) => {
                let invoked = seen.invoked.take();
                let cold = std::mem::take(&mut seen.cold) || report.init_duration.is_some();
                let init = seen.init.take().filter(|_| cold);
                let began = invoked.as_ref().map_or(at, |invoked| invoked.at);
                let qualifier = invoked.as_ref().and_then(|invoked| invoked.qualifier.as_deref());
                let failed = report.status != Status::Success;
                let part = turn.part(ms(began), qualifier);
                let milliseconds = |duration: Duration| duration.as_secs_f64() * 1000.0;
                put(&mut part.values, Metric::Invocations, 1.0);
                put(&mut part.values, Metric::Errors, f64::from(u8::from(failed)));
                put(&mut part.values, Metric::Throttles, 0.0);
                put(&mut part.values, Metric::Duration, milliseconds(report.duration));
                put(&mut part.values, Metric::ColdStarts, f64::from(u8::from(cold)));
                if let Some(extensions) = &report.extension_overhead {
                    let value = milliseconds(extensions.duration);
                    put(&mut part.values, Metric::PostRuntimeExtensionsDuration, value);
                }
                if let (Some(exporter), Some(invoked)) = (&self.exporter, &invoked) {
                    exporter.invocation(source, invoked, &report, init);
                }
            }
            Event::Frozen { took } => turn.freezes.push(took.as_secs_f64()),
            Event::Thawed { took } => turn.thaws.push(took.as_secs_f64()),
            Event::Reset { .. } => self.prometheus.reset(arn),
            _ => {}
        }
    }

    /// A value that no environment tells.
    pub(crate) fn measured(&self, measured: &Measured) {
        let Measured { function, qualifier, metric, at, value } = measured;
        let addressed =
            qualifier.as_deref().map(|name| Addressed { qualifier: Some(name), version: "" });
        self.add(function, addressed.as_ref(), *metric, minute(ms(*at)), &[*value]);
        self.prometheus.heard(function, Instant::now());
    }

    fn add(
        &self,
        arn: &FunctionArn,
        addressed: Option<&Addressed<'_>>,
        metric: Metric,
        minute: u32,
        values: &[f64],
    ) {
        if values.is_empty() {
            return;
        }
        self.export(arn, metric, values);
        let keep = |dimensions| self.keep(arn, dimensions, metric, minute, values);
        keep(Dimensions::Account);
        keep(Dimensions::Function(arn.name.clone()));
        let Some(addressed) = addressed else { return };
        let resource: Arc<str> =
            format!("{}:{}", arn.name, addressed.qualifier.unwrap_or("$LATEST")).into();
        let name = arn.name.clone();
        if addressed.is_alias() {
            let version = addressed.version.into();
            keep(Dimensions::Executed(name.clone(), resource.clone(), version));
        }
        keep(Dimensions::Resource(name, resource));
    }

    /// For those who are told as it happens.
    fn export(&self, arn: &FunctionArn, metric: Metric, values: &[f64]) {
        self.prometheus.add(arn, metric, values);
        if let Some(exporter) = &self.exporter {
            for value in values {
                exporter.sample(arn, metric, *value);
            }
        }
    }

    fn keep(
        &self,
        arn: &FunctionArn,
        dimensions: Dimensions,
        metric: Metric,
        minute: u32,
        values: &[f64],
    ) {
        let owner = Owner { account: arn.account.clone(), region: arn.region.clone(), dimensions };
        lock(&self.state).fresh.add(owner, metric, minute, values);
    }

    /// What is known of each of the series that are asked for. Takes the disk's time.
    ///
    /// # Errors
    /// If some of it cannot be read: part of a sum is none.
    pub(crate) fn find(&self, mut question: Question) -> io::Result<Found> {
        question.minutes.0 = question.minutes.0.max(series::oldest(crate::log::now()));
        let of_fresh = |fresh: &Series| {
            let mut found = Found::new(&question);
            fresh.find(&question, &mut found);
            found
        };
        self.look(question.minutes, of_fresh, |kept, found| kept.find(&question, found))
    }

    /// What is found in memory and then on the disk, which is read while the writer goes on.
    fn look<T>(
        &self,
        minutes: (u32, u32),
        of_fresh: impl Fn(&Series) -> T,
        of_kept: impl Fn(&Snapshot, &mut T) -> io::Result<()>,
    ) -> io::Result<T> {
        let mut looks = 1;
        loop {
            let (mut found, snapshot) = {
                let mut state = lock(&self.state);
                (of_fresh(&state.fresh), state.kept.snapshot(minutes)?)
            };
            match of_kept(&snapshot, &mut found) {
                Ok(()) => return Ok(found),
                // What it had is elsewhere by now, or too old.
                Err(error) if error.kind() == io::ErrorKind::NotFound && looks < LOOKS_MAX => {
                    lock(&self.state).kept.missed(&snapshot)?;
                    looks += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The series of an account and region that have a value since then (ms), of the dimensions
    /// that are wanted, in order. Takes the disk's time.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub(crate) fn list(
        &self,
        of: &Namespace,
        since: u64,
        dimensions: &dyn Fn(&Dimensions) -> bool,
    ) -> io::Result<Vec<(Metric, Dimensions)>> {
        let since = minute(since).max(series::oldest(crate::log::now()));
        let wanted = Wanted { of, since, dimensions };
        let of_fresh = |fresh: &Series| {
            let mut listed = Listed::new();
            fresh.list(&wanted, &mut listed);
            listed
        };
        let of_kept = |kept: &Snapshot, listed: &mut Listed| kept.list(&wanted, listed);
        let listed = self.look((since, u32::MAX), of_fresh, of_kept)?;
        let mut listed: Vec<_> = listed.into_iter().collect();
        listed.sort_unstable();
        let series = Metric::ALL.iter().flat_map(|metric| {
            let has = |(_, metrics): &&(Dimensions, u64)| metrics & series::bit(*metric) != 0;
            listed.iter().filter(has).map(|(dimensions, _)| (*metric, dimensions.clone()))
        });
        Ok(series.collect())
    }

    /// Forgets what CloudWatch would not give any more, and functions that nothing is heard of.
    pub(crate) fn expire(&self) {
        self.prometheus.forget(Instant::now());
        let unread = lock(&self.state).kept.unread(SystemTime::now());
        unread.into_iter().for_each(Unread::read);
        lock(&self.state).kept.expire(Moment::now());
    }

    /// What it takes of the disk.
    #[cfg(test)]
    pub(crate) fn kept_bytes(&self) -> u64 {
        lock(&self.state).kept.bytes()
    }

    /// All in Prometheus's text format.
    pub(crate) fn prometheus(&self, gauges: &[Gauge], stored_bytes: u64) -> String {
        self.prometheus.text(gauges, stored_bytes)
    }
}

/// Values of some metrics: few, mostly of the same.
type Values = Vec<(Metric, Vec<f64>)>;

fn put(values: &mut Values, metric: Metric, value: f64) {
    match values.iter_mut().find(|(known, _)| *known == metric) {
        Some((_, known)) => known.push(value),
        None => values.push((metric, vec![value])),
    }
}

/// What one environment has told since the writer's last turn.
#[derive(Default)]
struct Turn {
    /// Mostly one.
    parts: Vec<Part>,
    /// Seconds.
    freezes: Vec<f64>,
    thaws: Vec<f64>,
}

/// Of one minute, and one way of addressing the function.
struct Part {
    minute: u32,
    qualifier: Option<Box<str>>,
    /// Of the function, of what it was addressed by, and of all functions together.
    values: Values,
    /// Of the function alone, and of the account alone.
    of_function: Values,
    of_account: Values,
}

impl Part {
    fn began(&mut self, invoked: &Invoked) {
        let running = &invoked.running;
        put(&mut self.of_function, Metric::ConcurrentExecutions, running.function.into());
        for (metric, value) in [
            (Metric::ConcurrentExecutions, running.account),
            (Metric::UnreservedConcurrentExecutions, running.unreserved),
            (Metric::ClaimedAccountConcurrency, running.claimed),
        ] {
            put(&mut self.of_account, metric, value.into());
        }
        let Some(provisioned) = &running.provisioned else { return };
        let (busy, all) = (f64::from(provisioned.running), f64::from(provisioned.capacity));
        let spilled = f64::from(u8::from(provisioned.spilled));
        for (metric, value) in [
            (Metric::ProvisionedConcurrencyInvocations, 1.0 - spilled),
            (Metric::ProvisionedConcurrencySpilloverInvocations, spilled),
            (Metric::ProvisionedConcurrentExecutions, busy),
            (Metric::ProvisionedConcurrencyUtilization, busy / all.max(1.0)),
        ] {
            put(&mut self.values, metric, value);
        }
    }
}

impl Turn {
    fn part(&mut self, at: u64, qualifier: Option<&str>) -> &mut Part {
        let minute = minute(at);
        let same = |part: &Part| part.minute == minute && part.qualifier.as_deref() == qualifier;
        let index = self.parts.iter().position(same).unwrap_or_else(|| {
            let qualifier = qualifier.map(Into::into);
            let [values, of_function, of_account] = [const { Vec::new() }; 3];
            self.parts.push(Part { minute, qualifier, values, of_function, of_account });
            self.parts.len() - 1
        });
        &mut self.parts[index]
    }
}

/// How an invocation addressed the function, and what ran.
struct Addressed<'a> {
    qualifier: Option<&'a str>,
    version: &'a str,
}

impl Addressed<'_> {
    fn is_alias(&self) -> bool {
        let is_version = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        self.qualifier.is_some_and(|text| text != "$LATEST" && !is_version(text))
            && !self.version.is_empty()
    }
}

#[cfg(test)]
mod tests;
