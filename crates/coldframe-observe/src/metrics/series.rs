//! Values minute by minute, as CloudWatch keeps them.

use std::collections::BTreeMap;
use std::sync::Arc;

use coldframe_core::observe::{Metric, Unit};

pub(super) const MS_PER_MINUTE: u64 = 60_000;

/// How long CloudWatch keeps minutes: 15 days.
const KEPT_MINUTES: u64 = 15 * 24 * 60;

/// Minutes kept of an account and region, over all its series: a million take some 80 MB.
const MINUTES_MAX: usize = 1_000_000;

/// Percentiles are right to one part in this many.
const PRECISION: f64 = 100.0;

/// What a series is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Dimensions {
    Account,
    Function(Arc<str>),
    /// `NAME:QUALIFIER`
    Resource(Arc<str>, Arc<str>),
    /// And the version that ran for the alias.
    Executed(Arc<str>, Arc<str>, Arc<str>),
}

impl Dimensions {
    /// As CloudWatch names them.
    pub(crate) fn pairs(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Account => vec![],
            Self::Function(name) => vec![("FunctionName", name)],
            Self::Resource(name, resource) => {
                vec![("FunctionName", name), ("Resource", resource)]
            }
            Self::Executed(name, resource, version) => {
                vec![("FunctionName", name), ("Resource", resource), ("ExecutedVersion", version)]
            }
        }
    }

    /// From pairs in any order; `None` for those that no series has.
    pub(crate) fn of(pairs: &[(String, String)]) -> Option<Self> {
        let of = |name: &str| {
            let found = pairs.iter().find(|(key, _)| key == name)?;
            Some(Arc::<str>::from(found.1.as_str()))
        };
        match (pairs.len(), of("FunctionName"), of("Resource"), of("ExecutedVersion")) {
            (0, ..) => Some(Self::Account),
            (1, Some(name), ..) => Some(Self::Function(name)),
            (2, Some(name), Some(resource), _) => Some(Self::Resource(name, resource)),
            (3, Some(name), Some(resource), Some(version)) => {
                Some(Self::Executed(name, resource, version))
            }
            _ => None,
        }
    }
}

/// Values summed up.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Datum {
    pub(crate) count: u64,
    pub(crate) sum: f64,
    pub(crate) minimum: f64,
    pub(crate) maximum: f64,
    /// How many values are in each step of a scale where each is a hundredth more than the last.
    /// Only of durations.
    steps: BTreeMap<i32, u64>,
}

fn step(value: f64) -> i32 {
    // Nothing is measured below a nanosecond.
    (value.max(1e-6).ln() * PRECISION).round() as i32
}

impl Datum {
    fn add(&mut self, value: f64, with_steps: bool) {
        let first = self.count == 0;
        self.minimum = if first { value } else { self.minimum.min(value) };
        self.maximum = if first { value } else { self.maximum.max(value) };
        self.count += 1;
        self.sum += value;
        if with_steps {
            *self.steps.entry(step(value)).or_default() += 1;
        }
    }

    fn merge(&mut self, other: &Self) {
        if self.count == 0 {
            self.clone_from(other);
            return;
        }
        self.minimum = self.minimum.min(other.minimum);
        self.maximum = self.maximum.max(other.maximum);
        self.count += other.count;
        self.sum += other.sum;
        for (step, count) in &other.steps {
            *self.steps.entry(*step).or_default() += count;
        }
    }

    /// `Sum`, `Average`, `p99`, `tm99`…; `None` if there is no such statistic.
    pub(crate) fn statistic(&self, name: &str) -> Option<f64> {
        Some(match name {
            "SampleCount" => self.count as f64,
            "Sum" => self.sum,
            "Average" => self.sum / self.count as f64,
            "Minimum" => self.minimum,
            "Maximum" => self.maximum,
            _ => self.percentile(percentile(name)?),
        })
    }

    fn percentile(&self, percent: f64) -> f64 {
        // Counts are few different numbers: their extremes are what is known of them.
        let rank = (percent / 100.0 * self.count as f64).ceil().max(1.0) as u64;
        if rank >= self.count {
            return self.maximum;
        }
        let mut below = 0;
        for (step, count) in &self.steps {
            below += count;
            if below >= rank {
                let value = (f64::from(*step) / PRECISION).exp();
                return value.clamp(self.minimum, self.maximum);
            }
        }
        if rank <= self.count / 2 { self.minimum } else { self.maximum }
    }
}

/// `p99.9` as 99.9.
pub(super) fn percentile(name: &str) -> Option<f64> {
    let percent = name.strip_prefix('p')?;
    let plain = percent.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let percent: f64 = percent.parse().ok()?;
    (plain && (0.0..=100.0).contains(&percent)).then_some(percent)
}

/// The series of an account and region.
#[derive(Debug)]
pub(crate) struct Series {
    all: BTreeMap<(Metric, Dimensions), BTreeMap<u32, Datum>>,
    minutes: usize,
    minutes_max: usize,
}

impl Default for Series {
    fn default() -> Self {
        Self { all: BTreeMap::new(), minutes: 0, minutes_max: MINUTES_MAX }
    }
}

impl Series {
    /// Adds values of that time, ms.
    pub(crate) fn add(&mut self, at: u64, metric: Metric, dimensions: Dimensions, values: &[f64]) {
        if values.is_empty() {
            return;
        }
        let minute = (at / MS_PER_MINUTE) as u32;
        let minutes = self.all.entry((metric, dimensions)).or_default();
        let before = minutes.len();
        let datum = minutes.entry(minute).or_default();
        for value in values {
            datum.add(*value, metric.unit() == Unit::Milliseconds);
        }
        self.minutes += minutes.len() - before;
        if self.minutes > self.minutes_max {
            self.thin();
        }
    }

    /// Forgets the older half.
    fn thin(&mut self) {
        let of_all = self.all.values().flat_map(|minutes| minutes.keys().copied());
        let mut minutes: Vec<u32> = of_all.collect();
        minutes.sort_unstable();
        let middle = minutes[minutes.len() / 2];
        self.forget(middle);
    }

    fn forget(&mut self, before: u32) {
        for minutes in self.all.values_mut() {
            *minutes = minutes.split_off(&before);
        }
        self.all.retain(|_, minutes| !minutes.is_empty());
        self.minutes = self.all.values().map(BTreeMap::len).sum();
    }

    pub(crate) fn expire(&mut self, now: u64) {
        self.forget((now / MS_PER_MINUTE).saturating_sub(KEPT_MINUTES) as u32);
    }

    /// Every series, and the time of its newest value, ms.
    pub(crate) fn list(&self) -> impl Iterator<Item = (Metric, &Dimensions, u64)> {
        self.all.iter().filter_map(|((metric, dimensions), minutes)| {
            let newest = u64::from(*minutes.last_key_value()?.0) * MS_PER_MINUTE;
            Some((*metric, dimensions, newest))
        })
    }

    /// From `start` on and before `end` (ms), summed up over periods of so many seconds; those
    /// without a value are left out. Each with its time, ms.
    pub(crate) fn data(
        &self,
        metric: Metric,
        dimensions: &Dimensions,
        (start, end): (u64, u64),
        period_s: u64,
    ) -> Vec<(u64, Datum)> {
        let Some(minutes) = self.all.get(&(metric, dimensions.clone())) else { return Vec::new() };
        let start = start / MS_PER_MINUTE;
        let end = end.div_ceil(MS_PER_MINUTE);
        let period = (period_s / 60).max(1);
        let mut data: Vec<(u64, Datum)> = Vec::new();
        if start >= end {
            return data;
        }
        let range = start.min(u32::MAX.into()) as u32..end.min(u32::MAX.into()) as u32;
        for (minute, datum) in minutes.range(range) {
            let begins = start + (u64::from(*minute) - start) / period * period;
            let at = begins * MS_PER_MINUTE;
            match data.last_mut() {
                Some((last, sum)) if *last == at => sum.merge(datum),
                _ => data.push((at, datum.clone())),
            }
        }
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_a_hundredth() {
        let mut datum = Datum::default();
        for value in 1..=1000 {
            datum.add(f64::from(value), true);
        }
        for (name, expected) in [("p50", 500.0), ("p99", 990.0), ("p99.9", 999.0), ("p0", 1.0)] {
            let value = datum.statistic(name).unwrap();
            assert!((value - expected).abs() <= expected / 100.0, "{name}: {value}");
        }
        assert_eq!(datum.statistic("p100"), Some(1000.0));
        assert_eq!(datum.statistic("Average"), Some(500.5));
        for name in ["p", "p101", "p-1", "pinf", "pnan", "x", "p1e1"] {
            assert_eq!(datum.statistic(name), None, "{name}");
        }
    }

    #[test]
    fn minutes_are_summed_up_over_periods() {
        let mut series = Series::default();
        let minute = |number: u64| number * MS_PER_MINUTE;
        for (at, value) in [(10, 1.0), (10, 2.0), (12, 4.0), (16, 8.0), (20, 16.0)] {
            series.add(minute(at) + 999, Metric::Invocations, Dimensions::Account, &[value]);
        }
        let sums = |start: u64, end: u64, period_s: u64| {
            let range = (minute(start), minute(end));
            let data = series.data(Metric::Invocations, &Dimensions::Account, range, period_s);
            data.iter().map(|(at, datum)| (at / MS_PER_MINUTE, datum.sum)).collect::<Vec<_>>()
        };
        assert_eq!(sums(10, 20, 60), [(10, 3.0), (12, 4.0), (16, 8.0)]);
        assert_eq!(sums(10, 21, 300), [(10, 7.0), (15, 8.0), (20, 16.0)]);
        assert_eq!(sums(0, 100, 6000), [(0, 31.0)]);
        assert_eq!(sums(20, 10, 60), []);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let minutes_max = 100;
        let mut series = Series { minutes_max, ..Series::default() };
        for minute in 0..1010 {
            series.add(minute * MS_PER_MINUTE, Metric::Errors, Dimensions::Account, &[1.0]);
            assert!(series.minutes <= minutes_max);
        }
        assert_eq!(series.minutes, series.all.values().map(BTreeMap::len).sum::<usize>());
        series.expire(u64::MAX);
        assert_eq!(series.minutes, 0);
    }
}
