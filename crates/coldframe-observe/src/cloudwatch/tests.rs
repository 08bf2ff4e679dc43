use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use coldframe_core::observe::{Measured, Observer};

use super::*;
use crate::tests::function;

/// Four hours ago, in five minutes.
static START_S: LazyLock<u64> = LazyLock::new(|| {
    let before = crate::log::now() / 1000 - 4 * 3600;
    before - before % 300
});

fn fixture() -> (Observe, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let observe = crate::tests::observe(directory.path());
    let arn = function("f").arn.clone();
    for (minute, value) in [(0, 10.0), (0, 30.0), (1, 20.0), (6, 40.0)] {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(*START_S + minute * 60);
        let (function, qualifier) = (arn.clone(), None);
        let metric = Metric::AsyncEventAge;
        let age = Measured { function, qualifier, metric, at, value };
        let metric = Metric::AsyncEventsReceived;
        observe.measured(Measured { metric, value: 1.0, ..age.clone() });
        observe.measured(age);
    }
    (observe, directory)
}

async fn ask(observe: &Observe, operation: &str, input: Value) -> Result<Value, Error> {
    let account = AccountId::default_account();
    let mut body = Vec::new();
    cbor::encode(&input, &mut body);
    let asked = (body.as_slice(), "id");
    let answer =
        observe.cloudwatch(&account, "eu-west-1", Protocol::Cbor, Some(operation), asked).await?;
    Ok(cbor::decode(&answer).expect("the answer is CBOR"))
}

fn of_f() -> Value {
    let dimension = structure([("Name", "FunctionName".into()), ("Value", "f".into())]);
    Value::List(vec![dimension])
}

fn range_of(minutes: u64) -> [(&'static str, Value); 2] {
    [
        ("StartTime", Value::Time(*START_S as f64)),
        ("EndTime", Value::Time((*START_S + minutes * 60) as f64)),
    ]
}

fn statistics(minutes: u64, period: i64, more: &[(&str, Value)]) -> Value {
    let [start, end] = range_of(minutes);
    let Value::Structure(mut members) = structure([
        ("Namespace", LAMBDA.into()),
        ("MetricName", "AsyncEventAge".into()),
        ("Dimensions", of_f()),
        ("Period", Value::Integer(period)),
        start,
        end,
    ]) else {
        unreachable!()
    };
    members.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    Value::Structure(members)
}

#[tokio::test]
async fn statistics_are_summed_up_over_the_period() {
    let (observe, _directory) = fixture();
    let list = |names: &[&str]| Value::List(names.iter().map(|name| (*name).into()).collect());
    let asked = statistics(
        10,
        300,
        &[
            ("Statistics", list(&["Sum", "Average", "SampleCount"])),
            ("ExtendedStatistics", list(&["p100"])),
        ],
    );
    let answer = ask(&observe, "GetMetricStatistics", asked).await.unwrap();
    let points = answer.get("Datapoints").list();
    assert_eq!(points.len(), 2);
    assert_eq!(*points[0].get("Timestamp"), Value::Time(*START_S as f64));
    assert_eq!(*points[0].get("Sum"), Value::Double(60.0));
    assert_eq!(*points[0].get("Average"), Value::Double(20.0));
    assert_eq!(*points[0].get("ExtendedStatistics").get("p100"), Value::Double(30.0));
    assert_eq!(points[0].get("Unit").text(), Some("Milliseconds"));
    assert_eq!(*points[1].get("SampleCount"), Value::Double(1.0));
    let none = ask(
        &observe,
        "GetMetricStatistics",
        statistics(10, 300, &[("Statistics", list(&["Sum"])), ("Unit", "Count".into())]),
    );
    assert!(none.await.unwrap().get("Datapoints").list().is_empty());
    let check = async |minutes: u64, period: i64, statistics_given: Value, kind: &str| {
        let asked = statistics(minutes, period, &[("Statistics", statistics_given)]);
        let error = ask(&observe, "GetMetricStatistics", asked).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
    };
    check(10, 7, list(&["Sum"]), "InvalidParameterValueException").await;
    check(0, 60, list(&["Sum"]), "InvalidParameterValueException").await;
    check(10, 60, list(&[]), "InvalidParameterCombinationException").await;
    check(100_000, 60, list(&["Sum"]), "InvalidParameterCombinationException").await;
    check(10, 60, list(&["p50"]), "InvalidParameterValueException").await;
}

fn query(id: &str, metric: &str) -> Value {
    let metric = structure([
        ("Namespace", LAMBDA.into()),
        ("MetricName", metric.into()),
        ("Dimensions", of_f()),
    ]);
    let stat =
        structure([("Metric", metric), ("Period", Value::Integer(60)), ("Stat", "Sum".into())]);
    structure([("Id", id.into()), ("MetricStat", stat)])
}

#[tokio::test]
async fn data_come_with_expressions_and_in_pages() {
    let (observe, _directory) = fixture();
    let expression = structure([("Id", "e".into()), ("Expression", "age / events".into())]);
    let queries = Value::List(vec![
        expression,
        query("age", "AsyncEventAge"),
        query("events", "AsyncEventsReceived"),
    ]);
    let [start, end] = range_of(10);
    let mut asked = vec![
        ("MetricDataQueries".to_owned(), queries),
        (start.0.to_owned(), start.1),
        (end.0.to_owned(), end.1),
    ];
    let answer = ask(&observe, "GetMetricData", Value::Structure(asked.clone())).await.unwrap();
    let results = answer.get("MetricDataResults").list();
    let values = |result: &Value| -> Vec<f64> {
        let values = result.get("Values").list().iter();
        values.map(|v| if let Value::Double(v) = v { *v } else { f64::NAN }).collect()
    };
    // The latest first, unless told otherwise.
    assert_eq!(values(&results[0]), [40.0, 20.0, 20.0]);
    assert_eq!(values(&results[1]), [40.0, 20.0, 40.0]);
    assert_eq!(results[1].get("Label").text(), Some("AsyncEventAge"));
    asked.push(("MaxDatapoints".to_owned(), Value::Integer(4)));
    asked.push(("ScanBy".to_owned(), "TimestampAscending".into()));
    let (mut seen, mut token) = (Vec::new(), Value::Null);
    loop {
        let mut asked = asked.clone();
        asked.push(("NextToken".to_owned(), token));
        let answer = ask(&observe, "GetMetricData", Value::Structure(asked)).await.unwrap();
        seen.extend(answer.get("MetricDataResults").list().iter().flat_map(values));
        token = answer.get("NextToken").clone();
        if token == Value::Null {
            break;
        }
    }
    assert_eq!(seen, [20.0, 20.0, 40.0, 40.0, 20.0, 40.0, 2.0, 1.0, 1.0]);
}

#[tokio::test]
async fn metrics_are_listed_by_what_they_are_about() {
    let (observe, _directory) = fixture();
    let list = async |input: Value| {
        let answer = ask(&observe, "ListMetrics", input).await.unwrap();
        answer.get("Metrics").list().len()
    };
    assert_eq!(list(structure([])).await, 4);
    assert_eq!(list(structure([("Dimensions", of_f())])).await, 2);
    assert_eq!(list(structure([("MetricName", "AsyncEventAge".into())])).await, 2);
    assert_eq!(list(structure([("Namespace", "AWS/EC2".into())])).await, 0);
    assert_eq!(list(structure([("RecentlyActive", "PT3H".into())])).await, 0);
}

#[tokio::test]
async fn every_protocol_says_the_same() {
    let (observe, _directory) = fixture();
    let account = AccountId::default_account();
    let ask = async |protocol, operation, body: &str| {
        let asked = (body.as_bytes(), "id");
        observe.cloudwatch(&account, "eu-west-1", protocol, operation, asked).await
    };
    let json = ask(Protocol::Json, Some("ListMetrics"), r#"{"Namespace":"AWS/Lambda"}"#).await;
    let json: serde_json::Value = serde_json::from_slice(&json.unwrap()).unwrap();
    assert_eq!(json["Metrics"].as_array().unwrap().len(), 4);
    let form = "Action=ListMetrics&Version=2010-08-01&MetricName=AsyncEventAge";
    let xml = String::from_utf8(ask(Protocol::Query, None, form).await.unwrap()).unwrap();
    assert_eq!(xml.matches("<MetricName>AsyncEventAge</MetricName>").count(), 2);
    let form = format!(
        "Action=GetMetricStatistics&Namespace=AWS%2FLambda&MetricName=AsyncEventAge&Period=60\
         &StartTime={}&EndTime=2100-01-01T00%3A00%3A00Z&Statistics.member.1=Sum",
        "2025-11-24T00%3A00%3A00Z"
    );
    let error = ask(Protocol::Query, None, &form).await.unwrap_err();
    assert_eq!(error.query_code, Some("InvalidParameterCombination"));
    let body = String::from_utf8(Protocol::Query.error(&error, "id")).unwrap();
    assert!(body.contains("<Code>InvalidParameterCombination</Code>"), "{body}");
    for protocol in [Protocol::Query, Protocol::Json, Protocol::Cbor] {
        let unknown = ask(protocol, Some("PutDashboard"), "").await.unwrap_err();
        assert_eq!(unknown.query_code, Some("InvalidAction"));
    }
    assert!(ask(Protocol::Json, Some("ListMetrics"), "{").await.is_err());
}
