use std::time::Duration;

use coldframe_core::RequestId;
use coldframe_core::event::{InitPhase, Report};

use super::*;
use crate::tests::function;

fn told(metrics: &Metrics, source: &Source, at: SystemTime, event: Event) {
    metrics.take(source, [Told::Happened { at, event }].into_iter());
}

fn invoke(metrics: &Metrics, source: &Source, at: SystemTime, qualifier: Option<&str>, cold: bool) {
    let request_id = RequestId::from(uuid::Uuid::new_v4());
    let invoked = Invoked {
        at,
        qualifier: qualifier.map(Into::into),
        trace_header: None,
        concurrent: (1, 1),
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
        extension_overhead: None,
        trace: None,
        tenant_id: None,
    };
    told(metrics, source, at + Duration::from_secs(90), Event::Report(Box::new(report)));
}

#[test]
fn an_invocation_is_counted_at_its_start_in_each_of_its_series() {
    let metrics = Metrics::new(None);
    let source = Source::new(function("f"), "s", Running::default());
    let minute = SystemTime::UNIX_EPOCH + Duration::from_secs(60 * 1_000_000);
    told(&metrics, &source, minute, Event::InitStart { phase: InitPhase::Init });
    let (phase, duration) = (InitPhase::Init, Duration::from_millis(30));
    let report = Event::InitReport { phase, duration, status: Status::Success };
    told(&metrics, &source, minute, report);
    invoke(&metrics, &source, minute, None, true);
    invoke(&metrics, &source, minute, None, false);
    // After a crash, say.
    told(&metrics, &source, minute, Event::InitStart { phase: InitPhase::Invoke });
    invoke(&metrics, &source, minute, Some("live"), false);
    let namespace = namespace(&source.function.arn);
    let get = |metric: Metric, dimensions: Dimensions, statistic: &str| {
        let start = ms(minute);
        metrics.read(&namespace, |series| {
            let data = series.data(metric, &dimensions, (start, start + 60_000), 60);
            data.first().map(|(_, datum)| datum.statistic(statistic).unwrap())
        })
    };
    let one = Dimensions::Function("f".into());
    assert_eq!(get(Metric::Invocations, one.clone(), "Sum"), Some(3.0));
    assert_eq!(get(Metric::Errors, one.clone(), "Sum"), Some(1.0));
    assert_eq!(get(Metric::ColdStarts, one.clone(), "Sum"), Some(2.0));
    assert_eq!(get(Metric::InitDuration, one.clone(), "p50"), Some(30.0));
    assert_eq!(get(Metric::Duration, one, "Maximum"), Some(20.0));
    assert_eq!(get(Metric::Invocations, Dimensions::Account, "Sum"), Some(3.0));
    let latest = Dimensions::Resource("f".into(), "f:$LATEST".into());
    assert_eq!(get(Metric::Errors, latest, "Sum"), Some(0.0));
    let alias = Dimensions::Resource("f".into(), "f:live".into());
    assert_eq!(get(Metric::Errors, alias, "Sum"), Some(1.0));
    let executed = Dimensions::Executed("f".into(), "f:live".into(), "$LATEST".into());
    assert_eq!(get(Metric::Invocations, executed, "Sum"), Some(1.0));
}

#[test]
fn throttles_are_told_from_elsewhere() {
    let metrics = Metrics::new(None);
    let (arn, at) = (function("f").arn.clone(), SystemTime::now());
    metrics.measured(&arn, Some("f:live"), Metric::Throttles, at, 1.0);
    metrics.measured(&arn, None, Metric::AsyncEventAge, at, 12.0);
    let listed: Vec<_> = metrics.read(&namespace(&arn), |series| {
        series.list().map(|(metric, dimensions, _)| (metric, dimensions.clone())).collect()
    });
    let (name, resource) = (Arc::<str>::from("f"), Arc::<str>::from("f:live"));
    assert_eq!(
        listed,
        [
            (Metric::Throttles, Dimensions::Account),
            (Metric::Throttles, Dimensions::Function(name.clone())),
            (Metric::Throttles, Dimensions::Resource(name.clone(), resource)),
            (Metric::AsyncEventAge, Dimensions::Account),
            (Metric::AsyncEventAge, Dimensions::Function(name)),
        ]
    );
}
