use hyper::Request;

use super::*;
use crate::model::{Input, Model, query_pairs};

fn parts(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

const URI: &str = "/2015-03-31/functions/f/invocations";

#[test]
fn what_clients_send_is_plain() {
    let head = parts(
        "POST",
        URI,
        &[
            ("host", "localhost:4566"),
            ("accept-encoding", "identity"),
            ("x-amz-invocation-type", "Event"),
            ("x-amz-log-type", "Tail"),
            ("x-amzn-trace-id", "Root=1-5759e988-bd862e3fe1be46a994272793"),
            ("user-agent", "Boto3/1.40"),
            ("x-amz-date", "20260101T000000Z"),
            ("authorization", "AWS4-HMAC-SHA256 ..."),
            ("amz-sdk-invocation-id", "1"),
            ("content-length", "2"),
        ],
    );
    let plain = Plain {
        name: "f",
        kind: Kind::Event,
        trace: Some("Root=1-5759e988-bd862e3fe1be46a994272793"),
        wants_log_tail: true,
        is_signed: true,
    };
    assert_eq!(Plain::of(&head), Some(plain));
}

#[test]
fn what_only_few_send_goes_the_long_way() {
    for (method, uri, header) in [
        ("GET", URI, None),
        ("POST", "/2015-03-31/functions/f/invocations/", None),
        ("POST", "/2015-03-31/functions/f:live/invocations", None),
        ("POST", "/2015-03-31/functions/f%3Alive/invocations", None),
        ("POST", "/2015-03-31/functions//invocations", None),
        ("POST", "/2015-03-31/functions/f/x/invocations", None),
        ("POST", "/2015-03-31/functions/f/invocations?Qualifier=live", None),
        ("POST", "/2015-03-31/functions/f/invocations?", None),
        ("POST", "/2014-11-13/functions/f/invoke-async", None),
        ("POST", URI, Some(("x-amz-invocation-type", "event"))),
        ("POST", URI, Some(("x-amz-log-type", "tail"))),
        ("POST", URI, Some(("x-amz-client-context", "e30="))),
        ("POST", URI, Some(("x-amz-tenant-id", "t"))),
        ("POST", URI, Some(("x-amz-durable-execution-name", "d"))),
        ("POST", URI, Some(("content-encoding", "gzip"))),
    ] {
        let head = parts(method, uri, &header.into_iter().collect::<Vec<_>>());
        assert_eq!(Plain::of(&head), None, "{method} {uri} {header:?}");
    }
    let long = format!("/2015-03-31/functions/{}/invocations", "f".repeat(65));
    assert_eq!(Plain::of(&parts("POST", &long, &[])), None);
    let twice = [("x-amz-log-type", "None"), ("x-amz-log-type", "Tail")];
    assert_eq!(Plain::of(&parts("POST", URI, &twice)), None);
}

/// Whatever is plain is `Invoke` to the long way, too, and breaks no constraint of the model.
#[test]
fn the_short_way_is_a_part_of_the_long_one() {
    let names = ["f", "F-1_", &"x".repeat(64), "", "a.b", "a:b", "%66", "ä", "arn:aws:lambda"];
    let headers: [&[(&str, &str)]; 7] = [
        &[],
        &[("x-amz-invocation-type", "DryRun")],
        &[("x-amz-invocation-type", "Other")],
        &[("x-amz-log-type", "Tail"), ("authorization", "a")],
        &[("x-amz-log-type", "")],
        &[("x-amz-tenant-id", "\u{e4}")],
        &[("x-amz-client-context", "e30="), ("x-amzn-trace-id", "t")],
    ];
    let mut plain = 0;
    for (name, headers) in names.iter().flat_map(|name| headers.map(|headers| (name, headers))) {
        let uri = format!("/2015-03-31/functions/{}/invocations", name.replace('ä', "%C3%A4"));
        let head = parts("POST", &uri, headers);
        let Some(found) = Plain::of(&head) else { continue };
        plain += 1;
        let route = Model::get().route("POST", &uri, "").unwrap();
        assert_eq!(route.operation.name, "Invoke");
        assert_eq!(route.labels, [("FunctionName", found.name.to_owned())]);
        let input = Input {
            labels: &route.labels,
            query: &query_pairs("").unwrap(),
            headers: headers.iter().copied(),
            body: None,
        };
        let broken = Model::get().check(route.operation, &input, &[]).unwrap();
        assert!(broken.is_empty(), "{name} {headers:?}");
    }
    assert_eq!(plain, 3 * 3, "three names with three heads");
}
