use super::*;
use serde_json::json;

fn good() -> Value {
    json!({
        "schemaVersion": "2022-12-13",
        "types": ["platform", "function", "extension", "platform"],
        "destination": { "protocol": "HTTP", "URI": "http://sandbox.localdomain:8080/a/b?c" },
    })
}

fn parse(api: Api, body: &Value) -> Result<Subscription, String> {
    Subscription::parse(api, body.to_string().as_bytes())
}

fn check(path: &str, value: Value, refused: Option<&str>) {
    let mut body = good();
    *body.pointer_mut(path).unwrap() = value.clone();
    assert_eq!(parse(Api::Telemetry, &body).err().as_deref(), refused, "{path} {value}");
}

#[test]
fn a_subscription_is_read_with_its_defaults() {
    let subscription = parse(Api::Telemetry, &good()).unwrap();
    assert_eq!(subscription.types, [Kind::Platform, Kind::Function, Kind::Extension]);
    assert_eq!(
        subscription.destination,
        Destination::Http {
            host: "sandbox.localdomain".into(),
            port: 8080,
            path: "/a/b?c".into(),
            put: false
        }
    );
    let Buffering { items_max, bytes_max, timeout } = subscription.buffering;
    assert_eq!((items_max, bytes_max, timeout.as_millis()), (10_000, 262_144, 1000));
    assert!(subscription.takes_objects());
}

// Spec: execution-environment.md §4.1 and T1.
#[test]
fn ee_t1_each_bound() {
    for (name, min, max) in
        [("maxItems", 1000, 10_000), ("maxBytes", 262_144, 1_048_576), ("timeoutMs", 25, 30_000)]
    {
        for (number, is_good) in [(min - 1, false), (min, true), (max, true), (max + 1, false)] {
            let mut body = good();
            body["buffering"] = json!({ name: number });
            let refused = parse(Api::Telemetry, &body).err();
            let expected = format!("{name} should be between {min} and {max}");
            assert_eq!(refused, (!is_good).then_some(expected), "{name} {number}");
        }
    }
}

#[test]
fn everything_wrong_is_told_at_once() {
    let mut body = good();
    body["types"] = json!([]);
    body["destination"]["URI"] = json!("http://sandbox.localdomain");
    let refused = parse(Api::Telemetry, &body).unwrap_err();
    assert_eq!(refused, "types should not be empty; URI port is not provided");
    check("/types", json!(["x"]), Some("type \"x\" is not supported"));
    check(
        "/schemaVersion",
        json!("2020-08-15"),
        Some("schemaVersion should be one of [2022-07-01, 2022-12-13, 2025-01-29]"),
    );
    check("/schemaVersion", Value::Null, Some("schemaVersion is not provided"));
    check("/destination", Value::Null, Some("destination is not provided"));
    check("/destination/protocol", json!("UDP"), Some("protocol should be HTTP or TCP"));
    for (uri, refused) in [
        ("https://sandbox.localdomain:1", "URI scheme should be http"),
        ("http://example.com:1", "URI host should be sandbox.localdomain"),
        ("http://sandbox.localdomain:0", "URI port is not provided"),
        ("http://a b", "URI is not valid"),
    ] {
        check("/destination/URI", json!(uri), Some(refused));
    }
    for (port, refused) in [
        (json!(null), Some("port is not provided")),
        (json!(0), Some("port should be between 1 and 65535")),
        (json!(65_536), Some("port should be between 1 and 65535")),
        (json!("8080"), Some("port should be between 1 and 65535")),
        (json!(65_535), None),
    ] {
        check("/destination", json!({ "protocol": "TCP", "port": port }), refused);
    }
    assert!(Subscription::parse(Api::Telemetry, b"{").is_err());
    assert!(Subscription::parse(Api::Telemetry, b"[]").is_err());
    assert!(Subscription::parse(Api::Telemetry, b"").is_err());
}

// Spec: execution-environment.md §4.4.
#[test]
fn the_logs_api_has_its_own_ways() {
    let mut body = good();
    body["schemaVersion"] = Value::Null;
    body["destination"]["method"] = json!("PUT");
    let subscription = parse(Api::Logs, &body).unwrap();
    assert_eq!(subscription.schema, "2020-08-15");
    assert!(matches!(subscription.destination, Destination::Http { put: true, .. }));
    assert!(!subscription.takes_objects());
    body["destination"]["method"] = json!("GET");
    assert_eq!(parse(Api::Logs, &body).unwrap_err(), "method should be POST or PUT");
}
