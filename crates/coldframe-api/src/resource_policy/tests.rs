use serde_json::json;

use super::*;

#[test]
fn documents_are_read_as_they_are_written() {
    let one = r#"{"Effect":"Allow","Principal":"*","Action":"lambda:*","Resource":"*"}"#;
    let check = |text: &str, version: Option<&str>, id: Option<&str>, statements: &[&str]| {
        let (head, found) = parse(text).unwrap();
        assert_eq!((head.version.as_deref(), head.id.as_deref()), (version, id), "{text}");
        assert_eq!(found, statements, "{text}");
    };
    check(&format!(r#"{{"Statement":{one}}}"#), None, None, &[one]);
    let both = format!(r#"{{"Version":"2012-10-17","Id":"mine","Statement":[{one},{one}]}}"#);
    check(&both, Some("2012-10-17"), Some("mine"), &[one, one]);
    // Order and blanks within texts stay; blanks between tokens go.
    let wide = "{ \"Sid\": \"a\",\n \"Resource\": \"a \\\" b\\\\\", \"Action\": [ \"x\", \"y\" ],
        \"Principal\": { \"AWS\": [ \"123456789012\", \"*\" ] }, \"Effect\": \"Deny\" }";
    let narrow = r#"{"Sid":"a","Resource":"a \" b\\","Action":["x","y"],"Principal":{"AWS":["123456789012","*"]},"Effect":"Deny"}"#;
    check(&format!("{{ \"Statement\" : [ {wide} ] }}"), None, None, &[narrow]);
}

#[test]
fn what_is_no_policy_is_refused() {
    let good = json!({
        "Sid": "s", "Effect": "Allow", "Principal": { "Service": "s3.amazonaws.com" },
        "Action": ["lambda:InvokeFunction"], "Resource": "*",
        "Condition": { "Bool": { "aws:SecureTransport": "true" } },
    });
    let document = |statement: &Value| json!({ "Statement": statement }).to_string();
    assert!(parse(&document(&good)).is_ok());
    for (part, value) in [
        ("Sid", json!("two words")),
        ("Effect", json!("Maybe")),
        ("Principal", json!("somebody")),
        ("Principal", json!({})),
        ("Principal", json!({ "AWS": [] })),
        ("Principal", json!({ "AWS": "s3.amazonaws.com" })),
        ("Principal", json!({ "Service": "123456789012" })),
        ("Principal", json!({ "Robot": "r2" })),
        ("Action", json!([])),
        ("Action", Value::Null),
        ("Resource", json!(1)),
        ("Condition", json!("always")),
        ("NotAction", json!("lambda:*")),
        ("Else", json!(1)),
    ] {
        let mut bad = good.clone();
        bad[part] = value;
        assert!(parse(&document(&bad)).is_err(), "{bad}");
    }
    let deep = format!(r#"{{"Statement":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    let twice = document(&json!([good, good]));
    let version = json!({ "Version": "2013-01-01", "Statement": good }).to_string();
    let unknown = json!({ "Statement": good, "More": 1 }).to_string();
    let none = document(&json!([]));
    for bad in ["", "{}", "[]", "no json", &deep, &twice, &version, &unknown, &none] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}
