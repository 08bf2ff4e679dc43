//! Values minute by minute, as CloudWatch keeps them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use coldframe_core::AccountId;
use coldframe_core::observe::Metric;

use super::Namespace;

pub(crate) const MS_PER_MINUTE: u64 = 60_000;

/// How long CloudWatch keeps minutes: 15 days.
pub(super) const KEPT_MINUTES: u32 = 15 * 24 * 60;

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
    /// How many values are in each step of a scale where each is a hundredth more than the last,
    /// ascending.
    pub(super) steps: Vec<(i32, u64)>,
}

/// Nothing is measured below a nanosecond: what is, is nothing.
const LEAST: f64 = 1e-6;

fn step(value: f64) -> i32 {
    (value.max(LEAST).ln() * PRECISION).round() as i32
}

impl Datum {
    pub(super) fn add(&mut self, value: f64) {
        let first = self.count == 0;
        self.minimum = if first { value } else { self.minimum.min(value) };
        self.maximum = if first { value } else { self.maximum.max(value) };
        self.count += 1;
        self.sum += value;
        self.add_steps(step(value), 1);
    }

    fn add_steps(&mut self, step: i32, count: u64) {
        match self.steps.binary_search_by_key(&step, |(step, _)| *step) {
            Ok(index) => self.steps[index].1 += count,
            Err(index) => self.steps.insert(index, (step, count)),
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        if self.count == 0 {
            self.clone_from(other);
            return;
        }
        self.minimum = self.minimum.min(other.minimum);
        self.maximum = self.maximum.max(other.maximum);
        self.count += other.count;
        self.sum += other.sum;
        for (step, count) in &other.steps {
            self.add_steps(*step, *count);
        }
    }

    /// `Sum`, `Average`, `p99`…; `None` if there is no such statistic.
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
        let rank = (percent / 100.0 * self.count as f64).ceil().max(1.0) as u64;
        if rank >= self.count {
            return self.maximum;
        }
        let mut below = 0;
        let reached = self.steps.iter().find(|(_, count)| {
            below += count;
            below >= rank
        });
        let Some((reached, _)) = reached else { return self.maximum };
        let value = (f64::from(*reached) / PRECISION).exp();
        // What counts has whole numbers.
        let is_whole = [self.sum, self.minimum, self.maximum].iter().all(|one| one.fract() == 0.0);
        let value = if is_whole { value.round() } else { value };
        let value = if *reached <= step(LEAST) { 0.0 } else { value };
        value.clamp(self.minimum, self.maximum)
    }
}

/// `p99.9` as 99.9.
pub(super) fn percentile(name: &str) -> Option<f64> {
    let percent = name.strip_prefix('p')?;
    let plain = percent.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let percent: f64 = percent.parse().ok()?;
    (plain && (0.0..=100.0).contains(&percent)).then_some(percent)
}

/// Whose values they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    pub(crate) account: AccountId,
    pub(crate) region: Arc<str>,
    pub(crate) dimensions: Dimensions,
}

/// Values of one owner: of each metric, minute by minute.
pub(super) type Minutes = BTreeMap<(Metric, u32), Datum>;

/// Series that are held in memory.
#[derive(Debug, Default)]
pub(crate) struct Series {
    pub(super) all: BTreeMap<Owner, Minutes>,
    /// Data in all of them.
    count: usize,
}

/// The minute of a time, ms.
pub(crate) fn minute(at: u64) -> u32 {
    u32::try_from(at / MS_PER_MINUTE).unwrap_or(u32::MAX)
}

/// The oldest minute that is still shown.
pub(super) fn oldest(now: u64) -> u32 {
    minute(now).saturating_sub(KEPT_MINUTES)
}

impl Series {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds values of that minute.
    pub(super) fn add(&mut self, owner: Owner, metric: Metric, minute: u32, values: &[f64]) {
        if values.is_empty() {
            return;
        }
        let datum = self.datum(owner, metric, minute);
        for value in values {
            datum.add(*value);
        }
    }

    pub(super) fn merge(&mut self, owner: &Owner, metric: Metric, minute: u32, datum: &Datum) {
        self.datum(owner.clone(), metric, minute).merge(datum);
    }

    fn datum(&mut self, owner: Owner, metric: Metric, minute: u32) -> &mut Datum {
        let minutes = self.all.entry(owner).or_default();
        match minutes.entry((metric, minute)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                self.count += 1;
                new.insert(Datum::default())
            }
        }
    }

    /// Forgets the older half, and again, until there are no more than so many data.
    pub(super) fn thin(&mut self, data_max: usize) {
        while self.count > data_max {
            let of_all = self.all.values().flat_map(|data| data.keys().map(|(_, minute)| *minute));
            let mut minutes: Vec<u32> = of_all.collect();
            minutes.sort_unstable();
            let middle = minutes[minutes.len() / 2];
            // Where all are of one minute, nothing is left.
            self.forget(middle.saturating_add(u32::from(minutes[0] == middle)));
        }
    }

    /// Forgets what was before this minute.
    pub(super) fn forget(&mut self, before: u32) {
        for minutes in self.all.values_mut() {
            minutes.retain(|(_, minute), _| *minute >= before);
        }
        self.all.retain(|_, minutes| !minutes.is_empty());
        self.count = self.all.values().map(BTreeMap::len).sum();
    }

    /// Adds every series that is wanted.
    pub(super) fn list(&self, wanted: &Wanted<'_>, listed: &mut Listed) {
        for (owner, minutes) in self.all.iter().filter(|(owner, _)| wanted.takes(owner)) {
            let recent = minutes.keys().filter(|(_, minute)| *minute >= wanted.since);
            let metrics = recent.fold(0, |metrics, (metric, _)| metrics | bit(*metric));
            if metrics != 0 {
                *listed.entry(owner.dimensions.clone()).or_default() |= metrics;
            }
        }
    }

    /// Adds the data that the question is about.
    pub(super) fn find(&self, question: &Question, found: &mut Found) {
        for (index, (owner, metric)) in question.wanted.iter().enumerate() {
            let Some(minutes) = self.all.get(owner) else { continue };
            let (from, until) = question.minutes;
            if from < until {
                for ((_, minute), datum) in minutes.range((*metric, from)..(*metric, until)) {
                    found.add(index, *minute, datum);
                }
            }
        }
    }
}

/// Which series are listed: those of an account and region that have a value since that minute.
pub(super) struct Wanted<'a> {
    pub(super) of: &'a Namespace,
    pub(super) since: u32,
    pub(super) dimensions: &'a dyn Fn(&Dimensions) -> bool,
}

impl Wanted<'_> {
    pub(super) fn takes(&self, owner: &Owner) -> bool {
        let (account, region) = self.of;
        owner.account == *account && owner.region == *region && (self.dimensions)(&owner.dimensions)
    }
}

/// The metrics that there are of something: [`bit`]s.
pub(super) type Listed = HashMap<Dimensions, u64>;

pub(super) fn bit(metric: Metric) -> u64 {
    const { assert!(Metric::ALL.len() <= 64) };
    1 << metric as u64
}

/// Which data are looked for.
pub(crate) struct Question {
    pub(crate) wanted: Vec<(Owner, Metric)>,
    /// From the first on, before the second.
    pub(crate) minutes: (u32, u32),
}

/// What was found of each of the series wanted.
pub(crate) struct Found(Vec<BTreeMap<u32, Datum>>);

impl Found {
    pub(super) fn new(question: &Question) -> Self {
        Self(vec![BTreeMap::new(); question.wanted.len()])
    }

    pub(super) fn add(&mut self, index: usize, minute: u32, datum: &Datum) {
        self.0[index].entry(minute).or_default().merge(datum);
    }

    /// Of the series of that number, summed up over periods of so many seconds that begin at
    /// `start`, ms; those without a value are left out. Each with its time, ms.
    pub(crate) fn data(&self, index: usize, start: u64, period_s: u64) -> Vec<(u64, Datum)> {
        let start = start / MS_PER_MINUTE;
        let period = (period_s / 60).max(1);
        let mut data: Vec<(u64, Datum)> = Vec::new();
        for (minute, datum) in &self.0[index] {
            let begins = start + (u64::from(*minute).saturating_sub(start)) / period * period;
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

    fn owner() -> Owner {
        let account = AccountId::default_account();
        Owner { account, region: "eu-west-1".into(), dimensions: Dimensions::Account }
    }

    #[test]
    fn percentiles_are_right_to_a_hundredth() {
        let mut datum = Datum::default();
        for value in 1..=1000 {
            datum.add(f64::from(value) + 0.25);
        }
        for (name, expected) in [("p50", 500.0), ("p99", 990.0), ("p99.9", 999.0), ("p0", 1.0)] {
            let value = datum.statistic(name).unwrap();
            assert!((value - expected).abs() <= expected / 100.0 + 0.25, "{name}: {value}");
        }
        assert_eq!(datum.statistic("p100"), Some(1000.25));
        assert_eq!(datum.statistic("Average"), Some(500.75));
        for name in ["p", "p101", "p-1", "pinf", "pnan", "x", "p1e1"] {
            assert_eq!(datum.statistic(name), None, "{name}");
        }
    }

    #[test]
    fn percentiles_of_counts_are_counts() {
        let mut datum = Datum::default();
        for value in [0, 0, 0, 1, 1, 2, 3, 3, 7, 9] {
            datum.add(f64::from(value));
        }
        for (name, expected) in [("p30", 0.0), ("p50", 1.0), ("p80", 3.0), ("p90", 7.0)] {
            assert_eq!(datum.statistic(name), Some(expected), "{name}");
        }
    }

    #[test]
    fn minutes_are_summed_up_over_periods() {
        let mut series = Series::default();
        for (at, value) in [(10, 1.0), (10, 2.0), (12, 4.0), (16, 8.0), (20, 16.0)] {
            series.add(owner(), Metric::Invocations, at, &[value]);
        }
        let sums = |start: u32, end: u32, period_s: u64| {
            let wanted = vec![(owner(), Metric::Invocations)];
            let question = Question { wanted, minutes: (start, end) };
            let mut found = Found::new(&question);
            series.find(&question, &mut found);
            let data = found.data(0, u64::from(start) * MS_PER_MINUTE, period_s);
            data.iter().map(|(at, datum)| (at / MS_PER_MINUTE, datum.sum)).collect::<Vec<_>>()
        };
        assert_eq!(sums(10, 20, 60), [(10, 3.0), (12, 4.0), (16, 8.0)]);
        assert_eq!(sums(10, 21, 300), [(10, 7.0), (15, 8.0), (20, 16.0)]);
        assert_eq!(sums(0, 100, 6000), [(0, 31.0)]);
        assert_eq!(sums(20, 10, 60), []);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut series = Series::default();
        for minute in 0..1010 {
            series.add(owner(), Metric::Errors, minute, &[1.0]);
            series.thin(100);
            assert!(series.count <= 100);
        }
        let found: Vec<_> = series.all[&owner()].keys().map(|(_, minute)| *minute).collect();
        assert_eq!(series.count, found.len());
        assert_eq!(found.last(), Some(&1009));
        for number in 0..200 {
            let owner = Owner { region: number.to_string().into(), ..owner() };
            series.add(owner, Metric::Errors, 1009, &[1.0]);
        }
        series.thin(100);
        assert!(series.is_empty());
    }
}
