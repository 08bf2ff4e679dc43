use serde_json::json;

use super::*;

fn check(pattern: &str, body: &str, passes: bool) {
    let read = Pattern::parse(pattern, DataField::of(None)).unwrap_or_else(|_| panic!("{pattern}"));
    let metadata = json!({
        "messageId": "1", "attributes": { "SenderId": "me" }, "eventSource": "aws:sqs",
    });
    assert_eq!(read.matches(&metadata, body), passes, "{pattern} × {body}");
}

// Spec: service-api.md §7.6, first table.
#[test]
fn operators() {
    let body = r#"{"name":"Alice","empty":"","nothing":null,"n":100,"yes":true,"list":["a","b"],
        "in":{"side":[{"deep":1},{"deep":2}]},"file":"x.png","place":"us-east-1"}"#;
    let check = |rule: &str, passes| check(&format!(r#"{{"body":{rule}}}"#), body, passes);
    check(r#"{"name":["Alice"]}"#, true);
    check(r#"{"name":["alice"]}"#, false);
    check(r#"{"name":["Bob","Alice"]}"#, true);
    check(r#"{"name":["Alice"],"n":[101]}"#, false);
    check(r#"{"empty":[""]}"#, true);
    check(r#"{"nothing":[null]}"#, true);
    check(r#"{"absent":[null]}"#, false);
    check(r#"{"n":[100]}"#, true);
    check(r#"{"n":[100.0]}"#, false);
    check(r#"{"n":["100"]}"#, false);
    check(r#"{"yes":[true]}"#, true);
    check(r#"{"yes":[false]}"#, false);
    check(r#"{"name":[{"anything-but":["Bob"]}]}"#, true);
    check(r#"{"name":[{"anything-but":["Alice","Bob"]}]}"#, false);
    check(r#"{"name":[{"anything-but":"Alice"}]}"#, false);
    check(r#"{"n":[{"anything-but":[100]}]}"#, false);
    check(r#"{"absent":[{"anything-but":["x"]}]}"#, false);
    check(r#"{"name":[{"anything-but":{"prefix":"Al"}}]}"#, false);
    check(r#"{"name":[{"anything-but":{"suffix":"x"}}]}"#, true);
    check(r#"{"n":[{"numeric":["=",100]}]}"#, true);
    check(r#"{"n":[{"numeric":["=",100.0]}]}"#, true);
    check(r#"{"n":[{"numeric":[">",10,"<=",100]}]}"#, true);
    check(r#"{"n":[{"numeric":[">",10,"<",100]}]}"#, false);
    check(r#"{"name":[{"numeric":["=",100]}]}"#, false);
    check(r#"{"name":[{"exists":true}]}"#, true);
    check(r#"{"name":[{"exists":false}]}"#, false);
    check(r#"{"absent":[{"exists":false}]}"#, true);
    check(r#"{"absent":[{"exists":true}]}"#, false);
    check(r#"{"in":[{"exists":true}]}"#, false);
    check(r#"{"place":[{"prefix":"us-"}]}"#, true);
    check(r#"{"place":[{"prefix":"eu-"}]}"#, false);
    check(r#"{"file":[{"suffix":".png"}]}"#, true);
    check(r#"{"n":[{"prefix":"1"}]}"#, false);
    check(r#"{"name":[{"equals-ignore-case":"aLICE"}]}"#, true);
    check(r#"{"$or":[{"n":[1]},{"name":["Alice"]}]}"#, true);
    check(r#"{"$or":[{"n":[1]},{"name":["Bob"]}]}"#, false);
    check(r#"{"yes":[false],"$or":[{"n":[100]}]}"#, false);
    check(r#"{"list":["b"]}"#, true);
    check(r#"{"list":["c"]}"#, false);
    check(r#"{"in":{"side":{"deep":[2]}}}"#, true);
    check(r#"{"in":{"side":{"deep":[3]}}}"#, false);
    check(r#"{"absent":{"deep":[{"exists":false}]}}"#, true);
}

// Spec: service-api.md §7.6, second table.
#[test]
fn text_and_json_never_match_each_other() {
    check(r#"{"body":["hello"]}"#, "hello", true);
    check(r#"{"body":[{"prefix":"he"}]}"#, "hello", true);
    check(r#"{"body":["hello"]}"#, "bye", false);
    check(r#"{"body":{"a":["b"]}}"#, "hello", false);
    check(r#"{"body":{"a":["b"]}}"#, r#"{"a":"b""#, false);
    check(r#"{"body":[{"prefix":"{"}]}"#, r#"{"a":"b"}"#, false);
    check(r#"{"body":{"a":["b"]}}"#, r#" [{"a":"b"}]"#, true);
    check(r#"{"body":["123"]}"#, "123", true);
}

#[test]
fn metadata_are_matched_beside_the_body() {
    check("{}", "anything", true);
    check(r#"{"attributes":{"SenderId":["me"]}}"#, "anything", true);
    check(r#"{"attributes":{"SenderId":["you"]}}"#, "anything", false);
    check(r#"{"eventSource":["aws:sqs"],"body":["x"]}"#, "y", false);
    check(r#"{"eventSource":["aws:sqs"],"body":["x"]}"#, "x", true);
}

#[test]
fn what_is_no_pattern_is_refused() {
    let refused = |pattern: &str| {
        assert_eq!(Pattern::parse(pattern, DataField::of(None)), Err(InvalidPattern), "{pattern}");
    };
    for pattern in [
        "",
        "no json",
        "[]",
        "1",
        r#"{"body":"text"}"#,
        r#"{"body":[]}"#,
        r#"{"a":1}"#,
        r#"{"a":null}"#,
        r#"{"a":[[1]]}"#,
        r#"{"a":[{"wildcard":"*"}]}"#,
        r#"{"a":[{"cidr":"10.0.0.0/8"}]}"#,
        r#"{"a":[{"prefix":1}]}"#,
        r#"{"a":[{"prefix":"a","suffix":"b"}]}"#,
        r#"{"a":[{}]}"#,
        r#"{"a":[{"exists":"yes"}]}"#,
        r#"{"a":[{"numeric":[]}]}"#,
        r#"{"a":[{"numeric":["="]}]}"#,
        r#"{"a":[{"numeric":["~",1]}]}"#,
        r#"{"a":[{"numeric":["=",6e9]}]}"#,
        r#"{"a":[{"numeric":[">",1,"<",2,"<",3]}]}"#,
        r#"{"a":[{"anything-but":[]}]}"#,
        r#"{"a":[{"anything-but":{"exists":true}}]}"#,
        r#"{"$or":[1]}"#,
        r#"{"$or":[]}"#,
    ] {
        refused(pattern);
    }
    refused(&format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100)));
    // Duplicate keys: the last wins.
    check(r#"{"body":["x"],"body":["y"]}"#, "y", true);
}
