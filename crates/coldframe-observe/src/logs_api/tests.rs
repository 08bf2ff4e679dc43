use super::*;
use crate::log::now;

struct Fixture {
    observe: Observe,
    _directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { observe: crate::tests::observe(directory.path()), _directory: directory }
    }

    async fn ask(&self, operation: &str, body: Value) -> Result<Value, Error> {
        let account = AccountId::default_account();
        let body = body.to_string();
        self.observe.cloudwatch_logs(&account, "eu-west-1", operation, body.as_bytes()).await
    }

    async fn good(&self, operation: &str, body: Value) -> Value {
        self.ask(operation, body).await.unwrap()
    }

    async fn check(&self, operation: &str, body: Value, kind: &str, message: &str) {
        let error = self.ask(operation, body).await.unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (kind, message), "{operation}");
    }

    async fn with_stream() -> Self {
        let fixture = Self::new();
        fixture.good("CreateLogGroup", json!({ "logGroupName": "/g" })).await;
        let stream = json!({ "logGroupName": "/g", "logStreamName": "s" });
        fixture.good("CreateLogStream", stream).await;
        fixture
    }

    async fn put(&self, events: &[(u64, &str)]) -> Value {
        let events: Value = events
            .iter()
            .map(|(at, message)| json!({ "timestamp": at, "message": message }))
            .collect();
        let body = json!({ "logGroupName": "/g", "logStreamName": "s", "logEvents": events });
        self.good("PutLogEvents", body).await
    }
}

fn messages(answer: &Value) -> Vec<&str> {
    answer["events"].as_array().unwrap().iter().map(|e| e["message"].as_str().unwrap()).collect()
}

const MISSING: &str = "ResourceNotFoundException";
const INVALID: &str = "InvalidParameterException";

#[tokio::test]
async fn groups_come_and_go() {
    let fixture = Fixture::new();
    let named = || json!({ "logGroupName": "/aws/lambda/f" });
    fixture.good("CreateLogGroup", named()).await;
    let exists = "The specified log group already exists";
    let kind = "ResourceAlreadyExistsException";
    fixture.check("CreateLogGroup", named(), kind, exists).await;
    let retention = json!({ "logGroupName": "/aws/lambda/f", "retentionInDays": 14 });
    fixture.good("PutRetentionPolicy", retention).await;
    let found = fixture.good("DescribeLogGroups", json!({})).await;
    let group = &found["logGroups"][0];
    assert_eq!(group["retentionInDays"], 14);
    let arn = "arn:aws:logs:eu-west-1:000000000000:log-group:/aws/lambda/f";
    assert_eq!(group["arn"], format!("{arn}:*"));
    fixture.good("TagResource", json!({ "resourceArn": arn, "tags": { "a": "b" } })).await;
    let tags = fixture.good("ListTagsForResource", json!({ "resourceArn": arn })).await;
    assert_eq!(tags, json!({ "tags": { "a": "b" } }));
    fixture.good("DeleteRetentionPolicy", named()).await;
    fixture.good("DeleteLogGroup", named()).await;
    let none = "The specified log group does not exist.";
    fixture.check("DeleteLogGroup", named(), MISSING, none).await;
    let found = fixture.good("DescribeLogGroups", json!({})).await;
    assert_eq!(found, json!({ "logGroups": [] }));
}

#[tokio::test]
async fn groups_are_listed_in_pages() {
    let fixture = Fixture::new();
    for number in 0..120 {
        fixture.good("CreateLogGroup", json!({ "logGroupName": format!("g{number:03}") })).await;
    }
    let (mut names, mut token) = (Vec::new(), None::<Value>);
    loop {
        let mut body = json!({ "logGroupNamePrefix": "g" });
        if let Some(token) = token {
            body["nextToken"] = token;
        }
        let page = fixture.good("DescribeLogGroups", body).await;
        let page_names = page["logGroups"].as_array().unwrap().iter();
        names.extend(page_names.map(|group| group["logGroupName"].as_str().unwrap().to_owned()));
        token = page.get("nextToken").cloned();
        if token.is_none() {
            break;
        }
    }
    assert_eq!(names.len(), 120);
    assert!(names.is_sorted());
    let pattern = json!({ "logGroupNamePattern": "09" });
    let found = fixture.good("DescribeLogGroups", pattern).await;
    assert_eq!(found["logGroups"].as_array().unwrap().len(), 12);
}

#[tokio::test]
async fn events_are_got_forward_and_backward() {
    let (fixture, at) = (Fixture::with_stream().await, now() - 1000);
    let texts: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    let events: Vec<_> =
        texts.iter().enumerate().map(|(n, text)| (at + n as u64, text.as_str())).collect();
    fixture.put(&events).await;
    let ask = |more: Value| {
        let mut body = json!({ "logGroupName": "/g", "logStreamName": "s", "limit": 4 });
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        fixture.good("GetLogEvents", body)
    };
    let latest = ask(json!({})).await;
    assert_eq!(messages(&latest), ["6", "7", "8", "9"]);
    let before = ask(json!({ "nextToken": latest["nextBackwardToken"] })).await;
    assert_eq!(messages(&before), ["2", "3", "4", "5"]);
    let forth = ask(json!({ "nextToken": before["nextForwardToken"] })).await;
    assert_eq!(messages(&forth), ["6", "7", "8", "9"]);
    let end = ask(json!({ "nextToken": forth["nextForwardToken"] })).await;
    assert!(messages(&end).is_empty());
    assert_eq!(end["nextForwardToken"], forth["nextForwardToken"]);
    fixture.put(&[(at + 20, "new")]).await;
    let new = ask(json!({ "nextToken": end["nextForwardToken"] })).await;
    assert_eq!(messages(&new), ["new"]);
    let head = ask(json!({ "startFromHead": true, "startTime": at + 1, "endTime": at + 3 })).await;
    assert_eq!(messages(&head), ["1", "2"]);
    let filtered = json!({
        "logGroupName": "/g", "startTime": at + 1, "endTime": at + 3, "filterPattern": "?1 ?3",
    });
    assert_eq!(messages(&fixture.good("FilterLogEvents", filtered).await), ["1", "3"]);
    for bad in
        ["x", "f/1/s", &format!("f/{}/s", "9".repeat(56)), &format!("c/{}/s", "0".repeat(56))]
    {
        let body = json!({ "logGroupName": "/g", "logStreamName": "s", "nextToken": bad });
        let text = "The specified nextToken is invalid.";
        fixture.check("GetLogEvents", body, INVALID, text).await;
    }
    // The ends of what a token can say.
    for edge in ["b", "f"] {
        ask(json!({ "nextToken": format!("{edge}/{:056}/s", 0) })).await;
        ask(json!({ "nextToken": format!("{edge}/{:056}/s", u128::MAX) })).await;
    }
}

#[tokio::test]
async fn filtering_goes_over_pages_and_streams() {
    let (fixture, at) = (Fixture::with_stream().await, now() - 1000);
    let other = json!({ "logGroupName": "/g", "logStreamName": "t" });
    fixture.good("CreateLogStream", other).await;
    for number in 0..50 {
        fixture.put(&[(at + number, "of s")]).await;
        let events = json!([{ "timestamp": at + number, "message": "of t" }]);
        let body = json!({ "logGroupName": "/g", "logStreamName": "t", "logEvents": events });
        fixture.good("PutLogEvents", body).await;
    }
    let all = async |more: Value| {
        let (mut found, mut body) = (Vec::new(), json!({ "logGroupName": "/g", "limit": 7 }));
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        loop {
            let page = fixture.good("FilterLogEvents", body.clone()).await;
            found.extend(page["events"].as_array().unwrap().clone());
            match page.get("nextToken") {
                Some(token) => body["nextToken"] = token.clone(),
                None => return found,
            }
        }
    };
    let found = all(json!({})).await;
    assert_eq!(found.len(), 100);
    assert!(found.is_sorted_by_key(|event| event["timestamp"].as_u64()));
    let ids: std::collections::HashSet<_> =
        found.iter().map(|event| event["eventId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 100);
    let mut latest_first = all(json!({ "startFromHead": false })).await;
    latest_first.reverse();
    assert_eq!(latest_first, found);
    assert_eq!(all(json!({ "logStreamNames": ["t"] })).await.len(), 50);
    assert_eq!(all(json!({ "logStreamNamePrefix": "s" })).await.len(), 50);
    assert_eq!(all(json!({ "filterPattern": "nothing" })).await.len(), 0);
    let body = json!({ "logGroupName": "/g", "filterPattern": "a/b" });
    let text = "Invalid character(s) in term 'a/b'";
    fixture.check("FilterLogEvents", body, INVALID, text).await;
}

#[tokio::test]
async fn streams_are_described_by_name_or_by_time() {
    let (fixture, at) = (Fixture::new(), now() - 10_000);
    fixture.good("CreateLogGroup", json!({ "logGroupName": "/g" })).await;
    for (number, name) in ["c", "a", "b"].iter().enumerate() {
        let stream = json!({ "logGroupName": "/g", "logStreamName": name });
        fixture.good("CreateLogStream", stream).await;
        let events = json!([{ "timestamp": at + number as u64, "message": "x" }]);
        let body = json!({ "logGroupName": "/g", "logStreamName": name, "logEvents": events });
        fixture.good("PutLogEvents", body).await;
    }
    let names = async |more: Value| {
        let (mut found, mut body) = (Vec::new(), json!({ "logGroupName": "/g", "limit": 2 }));
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        loop {
            let page = fixture.good("DescribeLogStreams", body.clone()).await;
            let streams = page["logStreams"].as_array().unwrap().iter();
            found.extend(streams.map(|one| one["logStreamName"].as_str().unwrap().to_owned()));
            match page.get("nextToken") {
                Some(token) => body["nextToken"] = token.clone(),
                None => return found,
            }
        }
    };
    assert_eq!(names(json!({})).await, ["a", "b", "c"]);
    assert_eq!(names(json!({ "descending": true })).await, ["c", "b", "a"]);
    assert_eq!(names(json!({ "orderBy": "LastEventTime" })).await, ["c", "a", "b"]);
    assert_eq!(names(json!({ "logStreamNamePrefix": "b" })).await, ["b"]);
    let body =
        json!({ "logGroupName": "/g", "orderBy": "LastEventTime", "logStreamNamePrefix": "b" });
    let text = "Cannot order by LastEventTime with a logStreamNamePrefix.";
    fixture.check("DescribeLogStreams", body, INVALID, text).await;
    // What happens between two pages hides no stream that stays where it was.
    let page = |more: Value| {
        let mut body = json!({ "logGroupName": "/g", "limit": 1, "orderBy": "LastEventTime" });
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        fixture.good("DescribeLogStreams", body)
    };
    let first = page(json!({})).await;
    assert_eq!(first["logStreams"][0]["logStreamName"], "c");
    let events = json!([{ "timestamp": at + 5, "message": "x" }]);
    let body = json!({ "logGroupName": "/g", "logStreamName": "c", "logEvents": events });
    fixture.good("PutLogEvents", body).await;
    let second = page(json!({ "nextToken": first["nextToken"] })).await;
    assert_eq!(second["logStreams"][0]["logStreamName"], "a");
    fixture.good("DeleteLogStream", json!({ "logGroupName": "/g", "logStreamName": "a" })).await;
    let third = page(json!({ "nextToken": second["nextToken"] })).await;
    assert_eq!(third["logStreams"][0]["logStreamName"], "b");
    for bad in ["a", "x:a", "1:", "1:a:b", "-1:a", ""] {
        let body = json!({ "logGroupName": "/g", "nextToken": bad });
        let text = "The specified nextToken is invalid.";
        fixture.check("DescribeLogStreams", body, INVALID, text).await;
    }
}

#[tokio::test]
async fn what_is_older_than_the_retention_is_not_shown() {
    let (fixture, day) = (Fixture::with_stream().await, 24 * 60 * 60 * 1000);
    for (age, text) in [(5, "old"), (2, "newer"), (0, "new")] {
        fixture.put(&[(now() - age * day - 1000, text)]).await;
    }
    let found = async || {
        let group = json!({ "logGroupName": "/g" });
        let filtered = fixture.good("FilterLogEvents", group).await;
        let stream = json!({ "logGroupName": "/g", "logStreamName": "s", "startFromHead": true });
        let got = fixture.good("GetLogEvents", stream).await;
        assert_eq!(messages(&got), messages(&filtered));
        messages(&got).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(found().await, ["old", "newer", "new"]);
    for (days, left) in [(3, vec!["newer", "new"]), (1, vec!["new"])] {
        let retention = json!({ "logGroupName": "/g", "retentionInDays": days });
        fixture.good("PutRetentionPolicy", retention).await;
        assert_eq!(found().await, left);
    }
}

#[tokio::test]
async fn what_cannot_be_put_is_refused() {
    let (fixture, at) = (Fixture::with_stream().await, now());
    let day = 24 * 60 * 60 * 1000;
    let answer = fixture.put(&[(at - 20 * day, "old"), (at, "good"), (at + day, "new")]).await;
    let expected = json!({ "tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 2 });
    assert_eq!(answer["rejectedLogEventsInfo"], expected);
    let all = fixture.good("FilterLogEvents", json!({ "logGroupName": "/g" })).await;
    assert_eq!(messages(&all), ["good"]);
    let put =
        |events: Value| json!({ "logGroupName": "/g", "logStreamName": "s", "logEvents": events });
    let event = |at: u64, message: &str| json!({ "timestamp": at, "message": message });
    let check = |events: Value, text: &'static str| {
        fixture.check("PutLogEvents", put(events), INVALID, text)
    };
    check(
        json!([event(at, "b"), event(at - 1, "a")]),
        "Log events in a single PutLogEvents request must be in chronological order.",
    )
    .await;
    check(
        json!([event(at - 2 * day, "a"), event(at, "b")]),
        "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
    )
    .await;
    check(
        json!([event(at, &"x".repeat(1_048_576))]),
        "Upload too large: 1048602 bytes exceeds limit of 1048576",
    )
    .await;
    let elsewhere = json!({
        "logGroupName": "/g", "logStreamName": "t", "logEvents": [event(at, "x")],
    });
    let none = "The specified log stream does not exist.";
    fixture.check("PutLogEvents", elsewhere, MISSING, none).await;
}

#[tokio::test]
async fn requests_are_checked_against_the_model() {
    let fixture = Fixture::new();
    fixture
        .check(
            "CreateLogGroup",
            json!({ "logGroupName": "a b" }),
            INVALID,
            "1 validation error detected: Value 'a b' at 'logGroupName' failed to satisfy \
             constraint: Member must satisfy regular expression pattern: [\\.\\-_/#A-Za-z0-9]+",
        )
        .await;
    let both = json!({ "logGroupName": "a", "logGroupIdentifier": "b" });
    let text = "LogGroup name and LogGroup identifier are mutually exclusive parameters.";
    fixture.check("FilterLogEvents", both, INVALID, text).await;
    fixture.good("CreateLogGroup", json!({ "logGroupName": "a" })).await;
    let arn = |region: &str, account: &str| format!("arn:aws:logs:{region}:{account}:log-group:a");
    let own = json!({ "logGroupIdentifier": arn("eu-west-1", "000000000000") });
    fixture.good("FilterLogEvents", own).await;
    for (region, account) in [("eu-west-2", "000000000000"), ("eu-west-1", "111111111111")] {
        let body = json!({ "logGroupIdentifier": arn(region, account) });
        let none = "The specified log group does not exist.";
        fixture.check("FilterLogEvents", body, MISSING, none).await;
    }
    let bad = json!({ "nextToken": "*" });
    let text = "The specified nextToken is invalid.";
    fixture.check("DescribeLogGroups", bad, INVALID, text).await;
    let none: [&str; 0] = [];
    let body = json!({ "logGroupName": "a", "logStreamNames": none });
    assert_eq!(fixture.ask("FilterLogEvents", body).await.unwrap_err().kind, INVALID);
    let unknown = fixture.ask("StartQuery", json!({})).await.unwrap_err();
    assert_eq!(unknown.kind, "UnknownOperationException");
    for odd in [json!([]), json!({ "logGroupName": 1 }), json!("x"), json!(null)] {
        let error = fixture.ask("FilterLogEvents", odd).await.unwrap_err();
        assert!(error.of_caller, "{error}");
    }
}
