//! The part of CloudWatch that reads metrics (service-api.md §10.1): GetMetricData,
//! GetMetricStatistics, ListMetrics, over each of the protocols that its clients speak.

mod cbor;
mod math;
mod query;
mod value;

use coldframe_core::AccountId;
use coldframe_core::observe::Metric;

use self::value::{Value, structure};
use crate::Observe;
use crate::error::Error;
use crate::metrics::{
    Dimensions, Found, MS_PER_MINUTE, Metrics, Namespace, Owner, Question, is_percentile, minute,
};

const LAMBDA: &str = "AWS/Lambda";

/// Data points of one GetMetricStatistics.
const STATISTICS_POINTS_MAX: u64 = 1440;

/// Data points of one page of GetMetricData.
const DATA_POINTS_MAX: usize = 100_800;

/// Queries of one GetMetricData.
const QUERIES_MAX: usize = 500;

/// Metrics of one page of ListMetrics.
const LISTED_MAX: usize = 500;

/// `RecentlyActive` says three hours.
const RECENT_MS: u64 = 3 * 60 * 60 * 1000;

const STATISTICS: [&str; 5] = ["SampleCount", "Average", "Sum", "Minimum", "Maximum"];

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A form in, XML out.
    Query,
    /// AWS JSON 1.0.
    Json,
    /// `smithy-rpc-v2-cbor`.
    Cbor,
}

impl Protocol {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Query => "text/xml",
            Self::Json => "application/x-amz-json-1.0",
            Self::Cbor => "application/cbor",
        }
    }

    fn decode(self, body: &[u8]) -> Option<Value> {
        match self {
            Self::Query => query::decode(std::str::from_utf8(body).ok()?),
            Self::Json | Self::Cbor if body.is_empty() => Some(structure([])),
            Self::Json => serde_json::from_slice::<serde_json::Value>(body).ok().map(Value::from),
            Self::Cbor => cbor::decode(body),
        }
    }

    fn encode(self, operation: &str, result: &Value, request_id: &str) -> Vec<u8> {
        match self {
            Self::Query => query::answer(operation, result, request_id).into_bytes(),
            Self::Json => serde_json::Value::from(result).to_string().into_bytes(),
            Self::Cbor => {
                let mut bytes = Vec::new();
                cbor::encode(result, &mut bytes);
                bytes
            }
        }
    }

    /// An error's body.
    pub fn error(self, error: &Error, request_id: &str) -> Vec<u8> {
        let shape = structure([
            ("__type", format!("com.amazonaws.cloudwatch#{}", error.kind).as_str().into()),
            ("message", error.message.as_str().into()),
        ]);
        match self {
            Self::Query => query::error(error, request_id).into_bytes(),
            Self::Json | Self::Cbor => self.encode("", &shape, request_id),
        }
    }
}

/// The operation that a form names in its `Action`.
pub(crate) fn action(form: &[u8]) -> Option<String> {
    let form = query::decode(std::str::from_utf8(form).ok()?)?;
    form.get("Action").text().map(str::to_owned)
}

impl Observe {
    /// Answers one operation of CloudWatch, as the body of the answer. `operation` is absent where
    /// the body names it. All that has happened before is in the answer.
    ///
    /// # Errors
    /// In AWS's words; [`Protocol::error`] makes a body of them.
    pub async fn cloudwatch(
        &self,
        account: &AccountId,
        region: &str,
        protocol: Protocol,
        operation: Option<&str>,
        (body, request_id): (&[u8], &str),
    ) -> Result<Vec<u8>, Error> {
        let named = operation.map(str::to_owned).or_else(|| action(body)).unwrap_or_default();
        let input = protocol
            .decode(body)
            .ok_or_else(|| Error::new("SerializationException", "the body cannot be read"))?;
        self.settle().await;
        let namespace = (account.clone(), region.into());
        let shared = self.shared.clone();
        // What is asked for may be on the disk.
        let work = tokio::task::spawn_blocking(move || {
            let result = dispatch(&shared.metrics, &namespace, &named, &input)?;
            Ok((named, result))
        });
        let (named, result) =
            work.await.map_err(|error| Error::of_service("InternalServiceFault", &error))??;
        Ok(protocol.encode(&named, &result, request_id))
    }
}

fn dispatch(
    metrics: &Metrics,
    namespace: &Namespace,
    operation: &str,
    input: &Value,
) -> Result<Value, Error> {
    match operation {
        "GetMetricData" => get_metric_data(metrics, namespace, input),
        "GetMetricStatistics" => get_metric_statistics(metrics, namespace, input),
        "ListMetrics" => list_metrics(metrics, namespace, input),
        other => {
            let text = format!("The action {other} is not valid for this web service.");
            Err(Error::coded("UnknownOperationException", "InvalidAction", text))
        }
    }
}

fn value_error(message: impl Into<String>) -> Error {
    Error::coded("InvalidParameterValueException", "InvalidParameterValue", message.into())
}

fn combination_error(message: impl Into<String>) -> Error {
    let kind = "InvalidParameterCombinationException";
    Error::coded(kind, "InvalidParameterCombination", message.into())
}

fn missing(member: &str) -> Error {
    let text = format!("The parameter {member} is required.");
    Error::coded("MissingRequiredParameterException", "MissingParameter", text)
}

fn validation(message: impl Into<String>) -> Error {
    Error::coded("ValidationError", "ValidationError", message.into())
}

fn required<'a>(input: &'a Value, member: &str) -> Result<&'a str, Error> {
    input.get(member).text().filter(|text| !text.is_empty()).ok_or_else(|| missing(member))
}

/// `2880` as `2,880`.
fn grouped(number: u64) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", grouped(number / 1000), number % 1000),
    }
}

/// `Dimensions` as pairs.
fn dimensions(input: &Value) -> Vec<(String, String)> {
    let text = |of: &Value, member: &str| of.get(member).text().unwrap_or_default().to_owned();
    let all = input.get("Dimensions").list().iter();
    all.map(|one| (text(one, "Name"), text(one, "Value"))).collect()
}

/// `StartTime` and `EndTime`, ms.
fn range(input: &Value) -> Result<(u64, u64), Error> {
    let time = |member: &str| match input.get(member) {
        Value::Null => Err(missing(member)),
        given => given.time().ok_or_else(|| {
            value_error(format!("The parameter {member} must be a valid timestamp."))
        }),
    };
    let (start, end) = (time("StartTime")?, time("EndTime")?);
    if start >= end {
        let text = "The parameter StartTime must be less than the parameter EndTime.";
        return Err(value_error(text));
    }
    Ok((start, end))
}

/// Whole seconds that CloudWatch takes: minutes, or one of the short ones.
fn period(given: Option<i64>) -> Result<u64, Error> {
    let period = given.and_then(|period| u64::try_from(period).ok()).unwrap_or_default();
    if matches!(period, 1 | 5 | 10 | 20 | 30) || (period > 0 && period.is_multiple_of(60)) {
        return Ok(period);
    }
    Err(value_error("The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60."))
}

fn is_statistic(name: &str) -> bool {
    STATISTICS.contains(&name) || is_percentile(name)
}

/// The series of a metric of ours with these dimensions in this unit, if there may be one.
fn series_of(
    of: &Namespace,
    namespace: &str,
    name: &str,
    pairs: &[(String, String)],
    unit: Option<&str>,
) -> Option<(Owner, Metric)> {
    let metric = Metric::parse(name).filter(|_| namespace == LAMBDA)?;
    let good_unit = unit.is_none_or(|unit| unit == metric.unit().as_str());
    let dimensions = Dimensions::of(pairs).filter(|_| good_unit)?;
    let (account, region) = of.clone();
    Some((Owner { account, region, dimensions }, metric))
}

/// What is known of these series in a time, ms.
fn find(
    metrics: &Metrics,
    wanted: Vec<(Owner, Metric)>,
    (start, end): (u64, u64),
) -> Result<Found, Error> {
    let until = end.saturating_add(MS_PER_MINUTE - 1);
    let found = metrics.find(Question { wanted, minutes: (minute(start), minute(until)) });
    found.map_err(|error| Error::of_service("InternalServiceFault", &error))
}

fn get_metric_statistics(metrics: &Metrics, of: &Namespace, input: &Value) -> Result<Value, Error> {
    let (namespace, name) = (required(input, "Namespace")?, required(input, "MetricName")?);
    let (start, end) = range(input)?;
    if *input.get("Period") == Value::Null {
        return Err(missing("Period"));
    }
    let period = period(input.get("Period").integer())?;
    let texts = |member: &str| {
        let list = input.get(member).list().iter();
        list.filter_map(|value| value.text().map(str::to_owned)).collect::<Vec<_>>()
    };
    let (plain, extended) = (texts("Statistics"), texts("ExtendedStatistics"));
    if plain.is_empty() && extended.is_empty() {
        let text =
            "At least one of the parameters Statistics and ExtendedStatistics must be specified.";
        return Err(combination_error(text));
    }
    if let Some(bad) = plain.iter().find(|name| !STATISTICS.contains(&name.as_str())) {
        let text = format!("The parameter Statistics contains the unknown statistic {bad}.");
        return Err(value_error(text));
    }
    if let Some(bad) = extended.iter().find(|name| !is_percentile(name)) {
        let text = format!("The value {bad} for parameter ExtendedStatistics is not supported.");
        return Err(value_error(text));
    }
    let points = (end - start) / 1000 / period;
    if points > STATISTICS_POINTS_MAX {
        return Err(combination_error(format!(
            "You have requested up to {} datapoints, which exceeds the limit of 1,440. You may \
             reduce the datapoints requested by increasing Period, or decreasing the time range.",
            grouped(points)
        )));
    }
    let unit = input.get("Unit").text();
    let data = match series_of(of, namespace, name, &dimensions(input), unit) {
        Some((owner, metric)) => find(metrics, vec![(owner, metric)], (start, end))?
            .data(0, start, period)
            .into_iter()
            .map(|(at, datum)| {
                let value =
                    |name: &String| Some((name.clone(), Value::Double(datum.statistic(name)?)));
                let mut point = vec![("Timestamp".to_owned(), Value::Time(at as f64 / 1000.0))];
                point.extend(plain.iter().filter_map(value));
                point.push(("Unit".to_owned(), metric.unit().as_str().into()));
                if !extended.is_empty() {
                    let values = extended.iter().filter_map(value).collect();
                    point.push(("ExtendedStatistics".to_owned(), Value::Map(values)));
                }
                Value::Structure(point)
            })
            .collect(),
        None => Vec::new(),
    };
    Ok(structure([("Label", name.into()), ("Datapoints", Value::List(data))]))
}

fn list_metrics(metrics: &Metrics, of: &Namespace, input: &Value) -> Result<Value, Error> {
    let wanted = |member: &str| input.get(member).text();
    let (namespace, name) = (wanted("Namespace"), wanted("MetricName"));
    let filters: Vec<(&str, Option<&str>)> = input
        .get("Dimensions")
        .list()
        .iter()
        .map(|one| (one.get("Name").text().unwrap_or_default(), one.get("Value").text()))
        .collect();
    let recent = match wanted("RecentlyActive") {
        None => 0,
        Some("PT3H") => crate::log::now().saturating_sub(RECENT_MS),
        Some(_) => return Err(value_error("The parameter RecentlyActive must be PT3H.")),
    };
    let skipped: usize = match wanted("NextToken") {
        None => 0,
        Some(token) => token.parse().map_err(|_| {
            value_error("The parameter NextToken is not one that this service has given.")
        })?,
    };
    let listed = metrics.list(of, recent, &|dimensions| {
        if filters.is_empty() {
            return true;
        }
        let pairs = dimensions.pairs();
        filters.iter().all(|(name, value)| {
            let is = |(key, given): &(&str, &str)| {
                key == name && value.is_none_or(|value| value == *given)
            };
            pairs.iter().any(is)
        })
    });
    let listed = listed.map_err(|error| Error::of_service("InternalServiceFault", &error))?;
    let found = listed.iter().filter(|(metric, _)| {
        namespace.is_none_or(|namespace| namespace == LAMBDA)
            && name.is_none_or(|name| name == metric.name())
    });
    let found = found.skip(skipped).take(LISTED_MAX + 1);
    let mut found: Vec<_> =
        found.map(|(metric, dimensions)| described(*metric, &dimensions.pairs())).collect();
    let more = found.len() > LISTED_MAX;
    found.truncate(LISTED_MAX);
    let token = match more {
        true => (skipped + LISTED_MAX).to_string().as_str().into(),
        false => Value::Null,
    };
    Ok(structure([("Metrics", Value::List(found)), ("NextToken", token)]))
}

fn described(metric: Metric, pairs: &[(&'static str, &str)]) -> Value {
    let dimensions = pairs
        .iter()
        .map(|(name, value)| structure([("Name", (*name).into()), ("Value", (*value).into())]));
    structure([
        ("Namespace", LAMBDA.into()),
        ("MetricName", metric.name().into()),
        ("Dimensions", Value::List(dimensions.collect())),
    ])
}

/// One query of GetMetricData, answered.
struct Answered {
    id: String,
    label: String,
    shown: bool,
    /// Ascending: ms and value.
    points: Vec<(u64, f64)>,
}

fn get_metric_data(metrics: &Metrics, of: &Namespace, input: &Value) -> Result<Value, Error> {
    let queries = input.get("MetricDataQueries").list();
    if queries.is_empty() {
        return Err(missing("MetricDataQueries"));
    }
    if queries.len() > QUERIES_MAX {
        let text = format!(
            "The collection MetricDataQueries must not have a size greater than {QUERIES_MAX}."
        );
        return Err(validation(text));
    }
    let range = range(input)?;
    let mut answered: Vec<Answered> = Vec::new();
    // What is on the disk is read once for all of them.
    let (mut wanted, mut stats) = (Vec::new(), Vec::new());
    for query in queries {
        let id = required(query, "Id")?;
        let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !id.starts_with(|first: char| first.is_ascii_lowercase()) || !id.bytes().all(good) {
            let text = format!(
                "The value {id} for parameter MetricDataQueries.member.Id is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$."
            );
            return Err(validation(text));
        }
        if answered.iter().any(|known| known.id == id) {
            let text =
                format!("The values for parameter id in MetricDataQueries are not unique: {id}");
            return Err(validation(text));
        }
        let label = query.get("Label").text().map(str::to_owned);
        let shown = query.get("ReturnData").bool().unwrap_or(true);
        let default_label = match (query.get("MetricStat"), query.get("Expression").text()) {
            (Value::Null, None) => return Err(missing("MetricDataQueries.member.MetricStat")),
            // Once every metric is known: an expression may name a later one.
            (Value::Null, Some(_)) => id.to_owned(),
            (_, Some(_)) => {
                let text = "The parameters Expression and MetricStat cannot be used together.";
                return Err(validation(text));
            }
            (stat, None) => {
                let stat = Stat::of(of, stat)?;
                if let Some(series) = stat.series {
                    wanted.push(series);
                    stats.push((answered.len(), stat.period, stat.statistic));
                }
                stat.label
            }
        };
        let label = label.unwrap_or(default_label);
        answered.push(Answered { id: id.to_owned(), label, shown, points: Vec::new() });
    }
    let found = find(metrics, wanted, range)?;
    for (index, (query, period, statistic)) in stats.into_iter().enumerate() {
        let data = found.data(index, range.0, period).into_iter();
        let points = data.filter_map(|(at, datum)| Some((at, datum.statistic(&statistic)?)));
        answered[query].points = points.collect();
    }
    for (index, query) in queries.iter().enumerate() {
        if let Some(expression) = query.get("Expression").text() {
            let known = |id: &str| {
                let metric = queries.iter().zip(&answered).find(|(_, known)| known.id == id);
                // Of expressions, only earlier ones have been worked out.
                let is_metric = |query: &Value| *query.get("MetricStat") != Value::Null;
                let earlier = answered[..index].iter().any(|known| known.id == id);
                let metric = metric.filter(|(query, _)| earlier || is_metric(query));
                metric.map(|(_, known)| known.points.clone())
            };
            let points = math::evaluate(expression, &known).map_err(|error| {
                validation(format!("Error in expression '{}': {error}", answered[index].id))
            })?;
            answered[index].points = points;
        }
    }
    let ascending = input.get("ScanBy").text() == Some("TimestampAscending");
    let most = input.get("MaxDatapoints").integer().and_then(|most| usize::try_from(most).ok());
    let most = most.unwrap_or(DATA_POINTS_MAX).clamp(1, DATA_POINTS_MAX);
    let skipped: usize = match input.get("NextToken").text() {
        None => 0,
        Some(token) => token
            .parse()
            .map_err(|_| Error::new("InvalidNextToken", "The next token specified is invalid."))?,
    };
    let shown: Vec<Answered> = answered.into_iter().filter(|one| one.shown).collect();
    let total: usize = shown.iter().map(|one| one.points.len()).sum();
    // A page is a window over the points of all queries behind one another.
    let window = skipped..skipped.saturating_add(most);
    let mut before = 0;
    let results = shown.into_iter().map(|mut one| {
        if !ascending {
            one.points.reverse();
        }
        let begins = before;
        before += one.points.len();
        let within = |index: &usize| window.contains(&(begins + index));
        let points: Vec<_> =
            (0..one.points.len()).filter(within).map(|index| one.points[index]).collect();
        let complete = before <= window.end;
        let times = points.iter().map(|(at, _)| Value::Time(*at as f64 / 1000.0)).collect();
        let values = points.iter().map(|(_, value)| Value::Double(*value)).collect();
        structure([
            ("Id", one.id.as_str().into()),
            ("Label", one.label.as_str().into()),
            ("Timestamps", Value::List(times)),
            ("Values", Value::List(values)),
            ("StatusCode", if complete { "Complete" } else { "PartialData" }.into()),
        ])
    });
    let results = Value::List(results.collect());
    let token = match total > window.end {
        true => window.end.to_string().as_str().into(),
        false => Value::Null,
    };
    Ok(structure([
        ("MetricDataResults", results),
        ("Messages", Value::List(Vec::new())),
        ("NextToken", token),
    ]))
}

/// A `MetricStat`.
struct Stat {
    /// `None`: there can be none.
    series: Option<(Owner, Metric)>,
    /// Seconds.
    period: u64,
    statistic: String,
    /// What it is called unless told otherwise.
    label: String,
}

impl Stat {
    fn of(of: &Namespace, stat: &Value) -> Result<Self, Error> {
        let metric = stat.get("Metric");
        let name = required(metric, "MetricName")?;
        let namespace = required(metric, "Namespace")?;
        let period = period(stat.get("Period").integer())?;
        let statistic = required(stat, "Stat")?;
        if !is_statistic(statistic) {
            let text = format!(
                "The value {statistic} for parameter MetricDataQueries.member.MetricStat.Stat is not supported."
            );
            return Err(validation(text));
        }
        let unit = stat.get("Unit").text();
        let series = series_of(of, namespace, name, &dimensions(metric), unit);
        Ok(Self { series, period, statistic: statistic.to_owned(), label: name.to_owned() })
    }
}

#[cfg(test)]
mod tests;
