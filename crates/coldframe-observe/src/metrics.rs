//! What is measured: in CloudWatch's form, minute by minute, and in Prometheus's, summed up.
//!
//! The writer feeds it; nothing here is on the way of an invocation but [`Running`].

mod prometheus;
mod series;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use coldframe_core::event::{Event, InitPhase, Status};
use coldframe_core::observe::Metric;
use coldframe_core::{AccountId, FunctionArn};

use crate::listener::{Invoked, Source, Told};
use crate::log::{lock, ms};
use crate::otlp::Exporter;

pub(crate) use self::prometheus::is_summed;
pub(crate) use self::series::{Dimensions, Series};

/// Whether the name is that of a percentile, as in `p99.9`.
pub(crate) fn is_percentile(name: &str) -> bool {
    series::percentile(name).is_some()
}

/// An account in a region.
pub(crate) type Namespace = (AccountId, Arc<str>);

/// How many invocations run at this moment: of a function, and of its account and region.
#[derive(Clone, Debug, Default)]
pub(crate) struct Running {
    function: Arc<AtomicU32>,
    account: Arc<AtomicU32>,
}

impl Running {
    /// One more; gives both numbers with it.
    pub(crate) fn begin(&self) -> (u32, u32) {
        let add = |count: &AtomicU32| count.fetch_add(1, Ordering::Relaxed) + 1;
        (add(&self.function), add(&self.account))
    }

    pub(crate) fn end(&self) {
        self.function.fetch_sub(1, Ordering::Relaxed);
        self.account.fetch_sub(1, Ordering::Relaxed);
    }
}

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
    running: Mutex<HashMap<Namespace, Account>>,
    series: RwLock<HashMap<Namespace, Series>>,
    prometheus: prometheus::Prometheus,
    exporter: Option<Exporter>,
}

#[derive(Default)]
struct Account {
    running: Arc<AtomicU32>,
    functions: HashMap<Arc<str>, Arc<AtomicU32>>,
}

impl Metrics {
    pub(crate) fn new(exporter: Option<Exporter>) -> Self {
        let (running, series) = (Mutex::default(), RwLock::default());
        Self { running, series, prometheus: prometheus::Prometheus::new(), exporter }
    }

    pub(crate) fn running(&self, function: &FunctionArn) -> Running {
        let mut running = lock(&self.running);
        let account = running.entry(namespace(function)).or_default();
        let counted = account.functions.entry(function.name.clone()).or_default();
        Running { function: counted.clone(), account: account.running.clone() }
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
                    let (function, account) = invoked.concurrent;
                    let part = turn.part(ms(invoked.at), invoked.qualifier.as_deref());
                    part.concurrent_of_function.push(function.into());
                    part.concurrent_of_account.push(account.into());
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
            for (metric, values) in REPORTED.into_iter().zip(&part.reported) {
                self.add(arn, Some(&addressed), metric, part.at, values);
            }
            self.with(arn, |series| {
                let (at, metric) = (part.at, Metric::ConcurrentExecutions);
                let function = Dimensions::Function(arn.name.clone());
                series.add(at, metric, function, &part.concurrent_of_function);
                series.add(at, metric, Dimensions::Account, &part.concurrent_of_account);
            });
        }
        self.prometheus.froze(arn, &turn.freezes, &turn.thaws);
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
                self.add(arn, None, Metric::InitDuration, ms(at), &[value]);
                seen.init = seen.init_began.map(|began| (began, duration));
            }
            Event::Report(report) => {
                let invoked = seen.invoked.take();
                let cold = std::mem::take(&mut seen.cold) || report.init_duration.is_some();
                let init = seen.init.take().filter(|_| cold);
                let began = invoked.as_ref().map_or(at, |invoked| invoked.at);
                let qualifier = invoked.as_ref().and_then(|invoked| invoked.qualifier.as_deref());
                let failed = report.status != Status::Success;
                let values = [
                    1.0,
                    f64::from(u8::from(failed)),
                    0.0,
                    report.duration.as_secs_f64() * 1000.0,
                    f64::from(u8::from(cold)),
                ];
                if let Some(extensions) = &report.extension_overhead {
                    let value = extensions.duration.as_secs_f64() * 1000.0;
                    let metric = Metric::PostRuntimeExtensionsDuration;
                    self.add(arn, None, metric, ms(began), &[value]);
                }
                let part = turn.part(ms(began), qualifier);
                for (value, of) in values.into_iter().zip(&mut part.reported) {
                    of.push(value);
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
    pub(crate) fn measured(
        &self,
        arn: &FunctionArn,
        resource: Option<&str>,
        metric: Metric,
        at: SystemTime,
        value: f64,
    ) {
        let qualifier = resource.and_then(|resource| resource.split_once(':')).map(|(_, q)| q);
        let addressed = Addressed { qualifier, version: "" };
        self.add(arn, resource.map(|_| &addressed), metric, ms(at), &[value]);
    }

    fn add(
        &self,
        arn: &FunctionArn,
        addressed: Option<&Addressed<'_>>,
        metric: Metric,
        at: u64,
        values: &[f64],
    ) {
        if values.is_empty() {
            return;
        }
        self.prometheus.add(arn, metric, values);
        if let Some(exporter) = &self.exporter {
            for value in values {
                exporter.sample(arn, metric, *value);
            }
        }
        self.with(arn, |series| {
            series.add(at, metric, Dimensions::Account, values);
            series.add(at, metric, Dimensions::Function(arn.name.clone()), values);
            let Some(addressed) = addressed else { return };
            let resource: Arc<str> =
                format!("{}:{}", arn.name, addressed.qualifier.unwrap_or("$LATEST")).into();
            let name = arn.name.clone();
            if addressed.is_alias() {
                let version = addressed.version.into();
                let executed = Dimensions::Executed(name.clone(), resource.clone(), version);
                series.add(at, metric, executed, values);
            }
            series.add(at, metric, Dimensions::Resource(name, resource), values);
        });
    }

    fn with(&self, arn: &FunctionArn, work: impl FnOnce(&mut Series)) {
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        work(series.entry(namespace(arn)).or_default());
    }

    /// The series of an account and region.
    pub(crate) fn read<T>(&self, namespace: &Namespace, read: impl FnOnce(&Series) -> T) -> T {
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        match series.get(namespace) {
            Some(series) => read(series),
            None => read(&Series::default()),
        }
    }

    /// Forgets what CloudWatch would not give any more.
    pub(crate) fn expire(&self) {
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        let now = crate::log::now();
        for series in series.values_mut() {
            series.expire(now);
        }
    }

    /// All in Prometheus's text format.
    pub(crate) fn prometheus(&self, stored_bytes: u64) -> String {
        for ((account, region), counted) in lock(&self.running).iter() {
            for (name, running) in &counted.functions {
                let (account, region) = (account.clone(), region.clone());
                let arn = FunctionArn { account, region, name: name.clone() };
                let running = running.load(Ordering::Relaxed);
                self.prometheus.set(&arn, Metric::ConcurrentExecutions, running.into());
            }
        }
        self.prometheus.text(stored_bytes)
    }
}

/// What every invocation's report tells.
const REPORTED: [Metric; 5] =
    [Metric::Invocations, Metric::Errors, Metric::Throttles, Metric::Duration, Metric::ColdStarts];

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
#[derive(Default)]
struct Part {
    /// The minute, ms.
    at: u64,
    qualifier: Option<Box<str>>,
    reported: [Vec<f64>; REPORTED.len()],
    concurrent_of_function: Vec<f64>,
    concurrent_of_account: Vec<f64>,
}

impl Turn {
    fn part(&mut self, at: u64, qualifier: Option<&str>) -> &mut Part {
        let at = at - at % series::MS_PER_MINUTE;
        let same = |part: &Part| part.at == at && part.qualifier.as_deref() == qualifier;
        let index = self.parts.iter().position(same).unwrap_or_else(|| {
            let qualifier = qualifier.map(Into::into);
            self.parts.push(Part { at, qualifier, ..Part::default() });
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

fn namespace(arn: &FunctionArn) -> Namespace {
    (arn.account.clone(), arn.region.clone())
}

#[cfg(test)]
mod tests;
