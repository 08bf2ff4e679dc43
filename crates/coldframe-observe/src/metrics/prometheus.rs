//! The metrics as Prometheus reads them. Every name is defined here and nowhere else.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use coldframe_core::FunctionArn;
use coldframe_core::observe::{Gauge, Metric, Unit};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge as NumberGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::TOLD_FOR;
use crate::log::lock;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Labels {
    account: String,
    region: String,
    function: String,
}

type Histograms = Family<Labels, Histogram, fn() -> Histogram>;
type Gauges = Family<Labels, NumberGauge<f64, AtomicU64>>;

/// From a millisecond to AWS's longest invocation.
fn seconds() -> Histogram {
    Histogram::new([
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
        300.0, 900.0,
    ])
}

/// Freezing and thawing take microseconds.
fn short_seconds() -> Histogram {
    Histogram::new([10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 0.1])
}

/// One of AWS's metrics.
enum Kept {
    Sum(Family<Labels, Counter>),
    Latest(Gauges),
    Seconds(Histograms),
}

impl Kept {
    fn remove(&self, labels: &Labels) {
        match self {
            Self::Sum(family) => family.remove(labels),
            Self::Latest(family) => family.remove(labels),
            Self::Seconds(family) => family.remove(labels),
        };
    }
}

pub(crate) struct Prometheus {
    registry: Registry,
    of_aws: Vec<Kept>,
    environments: Gauges,
    freeze: Histograms,
    thaw: Histograms,
    resets: Family<Labels, Counter>,
    lines: Family<Labels, Counter>,
    bytes: Family<Labels, Counter>,
    dropped: Family<Labels, Counter>,
    stored: NumberGauge,
    /// Those that there are: they are set anew for each reader.
    gauges: Mutex<HashSet<(Metric, Labels)>>,
    /// When each function was last heard of.
    heard: Mutex<HashMap<FunctionArn, Instant>>,
}

fn labels(arn: &FunctionArn) -> Labels {
    Labels {
        account: arn.account.to_string(),
        region: arn.region.to_string(),
        function: arn.name.to_string(),
    }
}

/// Whether CloudWatch shows the sum of the metric, or else its maximum (service-api.md §10.1).
pub(crate) fn is_summed(metric: Metric) -> bool {
    !matches!(
        metric,
        Metric::ConcurrentExecutions
            | Metric::UnreservedConcurrentExecutions
            | Metric::ProvisionedConcurrentExecutions
            | Metric::ProvisionedConcurrencyUtilization
            | Metric::ClaimedAccountConcurrency
            | Metric::OffsetLag
    )
}

/// `PostRuntimeExtensionsDuration` as `coldframe_lambda_post_runtime_extensions_duration`; what AWS
/// lacks has no `lambda` in its name.
fn name(metric: Metric) -> String {
    let own = matches!(metric, Metric::ColdStarts | Metric::InitDuration);
    let mut name = (if own { "coldframe" } else { "coldframe_lambda" }).to_owned();
    let mut before = 'x';
    for character in metric.name().chars() {
        // `Url4xxCount` is `url_4xx_count`.
        let begins = character.is_ascii_uppercase()
            || character.is_ascii_digit() && !before.is_ascii_digit();
        if begins {
            name.push('_');
        }
        name.push(character.to_ascii_lowercase());
        before = character;
    }
    name
}

impl Prometheus {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let of_aws = Metric::ALL.iter().map(|metric| {
            let name = name(*metric);
            let help = format!("{} as CloudWatch counts it", metric.name());
            match metric.unit() {
                Unit::Milliseconds => {
                    let family = Histograms::new_with_constructor(seconds);
                    registry.register(format!("{name}_seconds"), help, family.clone());
                    Kept::Seconds(family)
                }
                // Its `_total` is put behind by the encoder.
                _ if is_summed(*metric) => {
                    let family = Family::default();
                    registry.register(name, help, Family::clone(&family));
                    Kept::Sum(family)
                }
                _ => {
                    let family = Gauges::default();
                    registry.register(name, help, family.clone());
                    Kept::Latest(family)
                }
            }
        });
        let of_aws = of_aws.collect();
        let freeze = Histograms::new_with_constructor(short_seconds);
        let thaw = Histograms::new_with_constructor(short_seconds);
        let environments = Gauges::default();
        let [resets, lines, bytes, dropped] = std::array::from_fn(|_| Family::default());
        let stored = NumberGauge::default();
        let mut put = |name: &str, help: &str, family: &Family<Labels, Counter>| {
            registry.register(name, help, family.clone());
        };
        put("coldframe_resets", "Resets after a timeout or crash", &resets);
        put("coldframe_log_lines", "Lines written to log groups", &lines);
        put("coldframe_log_bytes", "Bytes written to log groups", &bytes);
        put("coldframe_log_lines_dropped", "Lines that came too fast to be written", &dropped);
        let name = "coldframe_freeze_duration_seconds";
        registry.register(name, "From the wish to freeze until no thread runs", freeze.clone());
        let name = "coldframe_thaw_duration_seconds";
        registry.register(name, "Thawing an environment", thaw.clone());
        let name = "coldframe_environments";
        registry.register(name, "Living execution environments", environments.clone());
        let name = "coldframe_log_stored_bytes";
        registry.register(name, "Log groups on the disk", stored.clone());
        let (gauges, heard) = (Mutex::default(), Mutex::default());
        Self {
            registry,
            of_aws,
            environments,
            freeze,
            thaw,
            resets,
            lines,
            bytes,
            dropped,
            stored,
            gauges,
            heard,
        }
    }

    pub(crate) fn add(&self, arn: &FunctionArn, metric: Metric, values: &[f64]) {
        let labels = labels(arn);
        match &self.of_aws[metric as usize] {
            Kept::Sum(family) => {
                family.get_or_create(&labels).inc_by(values.iter().sum::<f64>() as u64);
            }
            // How it stands is asked of who knows, when somebody wants to read it.
            Kept::Latest(_) => drop(lock(&self.gauges).insert((metric, labels))),
            Kept::Seconds(family) => {
                let family = family.get_or_create(&labels);
                values.iter().for_each(|value| family.observe(value / 1000.0));
            }
        }
    }

    pub(crate) fn began(&self, arn: &FunctionArn) {
        self.environments.get_or_create(&labels(arn)).inc();
    }

    pub(crate) fn ended(&self, arn: &FunctionArn) {
        self.environments.get_or_create(&labels(arn)).dec();
    }

    pub(crate) fn logged(&self, arn: &FunctionArn, lines: u64, bytes: u64, dropped: u64) {
        let labels = labels(arn);
        self.lines.get_or_create(&labels).inc_by(lines);
        self.bytes.get_or_create(&labels).inc_by(bytes);
        self.dropped.get_or_create(&labels).inc_by(dropped);
    }

    /// How long freezes and thaws took, seconds.
    pub(crate) fn froze(&self, arn: &FunctionArn, freezes: &[f64], thaws: &[f64]) {
        for (family, values) in [(&self.freeze, freezes), (&self.thaw, thaws)] {
            if !values.is_empty() {
                let family = family.get_or_create(&labels(arn));
                values.iter().for_each(|value| family.observe(*value));
            }
        }
    }

    pub(crate) fn reset(&self, arn: &FunctionArn) {
        self.resets.get_or_create(&labels(arn)).inc();
    }

    /// There is something new of the function.
    pub(crate) fn heard(&self, arn: &FunctionArn, now: Instant) {
        let mut heard = lock(&self.heard);
        match heard.get_mut(arn) {
            Some(at) => *at = now,
            None => drop(heard.insert(arn.clone(), now)),
        }
    }

    /// Forgets the functions that nothing was heard of for long, unless an environment lives.
    pub(crate) fn forget(&self, now: Instant) {
        let mut gone = Vec::new();
        let mut heard = lock(&self.heard);
        heard.retain(|arn, at| {
            let labels = labels(arn);
            let lives = self.environments.get(&labels).is_some_and(|number| number.get() > 0.0);
            let stays = lives || now.saturating_duration_since(*at) < TOLD_FOR;
            if !stays {
                gone.push(labels);
            }
            stays
        });
        let stay: HashSet<Labels> = heard.keys().map(labels).collect();
        drop(heard);
        for labels in &gone {
            for kept in &self.of_aws {
                kept.remove(labels);
            }
            for family in [&self.freeze, &self.thaw] {
                family.remove(labels);
            }
            for family in [&self.resets, &self.lines, &self.bytes, &self.dropped] {
                family.remove(labels);
            }
            self.environments.remove(labels);
        }
        // Of those that are, who knows tells the next reader. What has no function is of an account.
        lock(&self.gauges).retain(|(metric, labels)| {
            let stays = labels.function.is_empty() || stay.contains(labels);
            if !stays {
                self.of_aws[*metric as usize].remove(labels);
            }
            stays
        });
    }

    pub(crate) fn text(&self, gauges: &[Gauge], stored_bytes: u64) -> String {
        let mut known = lock(&self.gauges);
        let set = |metric: Metric, labels: &Labels, value: f64| {
            if let Kept::Latest(family) = &self.of_aws[metric as usize] {
                family.get_or_create(labels).set(value);
            }
        };
        // What isn't told of any more is at rest.
        for (metric, labels) in known.iter() {
            set(*metric, labels, 0.0);
        }
        for gauge in gauges {
            let labels = labels(&gauge.function);
            set(gauge.metric, &labels, gauge.value);
            known.insert((gauge.metric, labels));
        }
        self.stored.set(i64::try_from(stored_bytes).unwrap_or(i64::MAX));
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_snake_cased_and_end_with_their_unit() {
        assert_eq!(name(Metric::Url4xxCount), "coldframe_lambda_url_4xx_count");
        assert_eq!(name(Metric::InitDuration), "coldframe_init_duration");
        let prometheus = Prometheus::new();
        let arn = FunctionArn {
            account: coldframe_core::AccountId::default_account(),
            region: "eu-west-1".into(),
            name: "f".into(),
        };
        prometheus.add(&arn, Metric::Invocations, &[1.0]);
        prometheus.add(&arn, Metric::Duration, &[1500.0]);
        prometheus.add(&arn, Metric::InitDuration, &[20.0]);
        let gauge = Gauge { function: arn, metric: Metric::ConcurrentExecutions, value: 2.0 };
        let text = prometheus.text(&[gauge], 7);
        let labels = r#"{account="000000000000",region="eu-west-1",function="f"}"#;
        for line in [
            format!("coldframe_lambda_invocations_total{labels} 1"),
            format!("coldframe_lambda_duration_seconds_sum{labels} 1.5"),
            format!("coldframe_init_duration_seconds_count{labels} 1"),
            format!("coldframe_lambda_concurrent_executions{labels} 2.0"),
            "coldframe_log_stored_bytes 7".to_owned(),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        let idle = format!("coldframe_lambda_concurrent_executions{labels} 0.0\n");
        assert!(prometheus.text(&[], 7).contains(&idle));
    }
    #[test]
    fn a_function_that_is_gone_is_forgotten_after_a_day() {
        let prometheus = Prometheus::new();
        let arn = |name: &str| FunctionArn {
            account: coldframe_core::AccountId::default_account(),
            region: "eu-west-1".into(),
            name: name.into(),
        };
        let gauge = |name: &str| {
            let metric = Metric::ConcurrentExecutions;
            Gauge { function: arn(name), metric, value: 2.0 }
        };
        let (gauges, start) = ([gauge(""), gauge("lives")], Instant::now());
        for name in ["gone", "lives", "provisioned"] {
            let arn = arn(name);
            prometheus.add(&arn, Metric::Invocations, &[1.0]);
            prometheus.add(&arn, Metric::Duration, &[1.0]);
            prometheus.add(&arn, Metric::ConcurrentExecutions, &[1.0]);
            prometheus.logged(&arn, 1, 1, 0);
            prometheus.froze(&arn, &[1.0], &[1.0]);
            prometheus.reset(&arn);
            prometheus.began(&arn);
            prometheus.heard(&arn, start);
        }
        prometheus.ended(&arn("gone"));
        prometheus.ended(&arn("lives"));
        let lines = |of: &str| {
            let label = format!("function=\"{of}\"");
            prometheus.text(&gauges, 0).matches(&label).count()
        };
        let all = lines("gone");
        prometheus.heard(&arn("lives"), start + TOLD_FOR / 2);
        prometheus.forget(start + TOLD_FOR - TOLD_FOR / 24);
        assert_eq!(["gone", "lives", "provisioned"].map(lines), [all; 3]);
        prometheus.forget(start + TOLD_FOR);
        assert_eq!(["gone", "lives", "provisioned"].map(lines), [0, all, all]);
        // It is there, though nobody calls it.
        prometheus.forget(start + TOLD_FOR * 2);
        assert_eq!(["gone", "lives", "", "provisioned"].map(lines), [0, 1, 1, all]);
        prometheus.ended(&arn("provisioned"));
        prometheus.forget(start + TOLD_FOR * 2);
        assert_eq!(lines("provisioned"), 0);
        prometheus.add(&arn("gone"), Metric::Invocations, &[1.0]);
        assert_eq!(lines("gone"), 1);
    }
}
