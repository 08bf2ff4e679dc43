//! Numbers of a noisy machine: quantiles of rounds, medians of those, and how far they spread.

use std::fmt;
use std::time::Duration;

/// One round's calls, in short.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    pub p50: f64,
    pub p99: f64,
    pub min: f64,
    pub max: f64,
}

/// In microseconds.
pub fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// The value that a share `q` of the sorted values doesn't exceed.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let index = (sorted.len() as f64 * q).ceil() as usize;
    sorted.get(index.saturating_sub(1)).or(sorted.last()).copied().unwrap_or(f64::NAN)
}

pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quantile(&sorted(values), 0.5)
}

pub fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

impl Round {
    pub fn of(samples: impl IntoIterator<Item = f64>) -> Self {
        let sorted = sorted(samples);
        Self {
            p50: quantile(&sorted, 0.5),
            p99: quantile(&sorted, 0.99),
            min: quantile(&sorted, 0.0),
            max: quantile(&sorted, 1.0),
        }
    }
}

/// A median and between which values it lies.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let sorted = sorted(values);
        Self {
            median: quantile(&sorted, 0.5),
            low: quantile(&sorted, 0.0),
            high: quantile(&sorted, 1.0),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = out.precision().unwrap_or(0);
        let Self { median, low, high } = self;
        write!(out, "{median:.digits$} ({low:.digits$}–{high:.digits$})")
    }
}
