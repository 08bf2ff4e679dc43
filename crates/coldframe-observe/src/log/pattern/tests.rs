use super::*;

fn check(pattern: &str, matching: &[&str], other: &[&str]) {
    let parsed = Pattern::parse(pattern).unwrap();
    for message in matching {
        assert!(parsed.matches(message), "{pattern} matches {message}");
    }
    for message in other {
        assert!(!parsed.matches(message), "{pattern} doesn't match {message}");
    }
}

#[test]
fn terms() {
    check("", &["", "anything"], &[]);
    check("ERROR", &["an ERROR here", "xERRORx"], &["an error here", ""]);
    check("ERROR Lambda", &["Lambda: ERROR"], &["ERROR", "Lambda"]);
    check("\"INTERNAL SERVER\"", &["x INTERNAL SERVER y"], &["INTERNAL x SERVER"]);
    check("\"say \\\"hi\\\"\"", &["say \"hi\""], &["say hi"]);
    check("?ERROR ?WARN", &["ERROR", "a WARN"], &["INFO"]);
    check("ERROR -Timeout", &["ERROR"], &["ERROR Timeout"]);
    check("-Timeout", &["ERROR", ""], &["a Timeout"]);
    check("ERROR ?WARN", &["ERROR"], &["WARN"]);
    check("%4\\d\\d%", &["status 404"], &["status 200"]);
}

#[test]
fn selectors() {
    let message = r#"{"level":"ERROR","ms":120,"user":{"name":"Ann Lee","ids":[4,5]},"none":null,"ok":true,"a b":1}"#;
    for good in [
        r#"{ $.level = "ERROR" }"#,
        r#"{$.level="ERR*"}"#,
        "{ $.level = *RO* }",
        "{ $.ms > 100 && $.ms <= 120 }",
        "{ ($.ms > 1000) || ($.level = %^E%) }",
        "{ $.user.ids[1] = 5 }",
        "{ $.user.ids[*] = 5 }",
        "{ $.none IS NULL }",
        "{ $.missing NOT EXISTS }",
        "{ $.ok IS TRUE }",
        "{ $['a b'] = 1 }",
        r#"{ $.level != "WARN" }"#,
    ] {
        check(good, &[message], &["no json", "[1]", "12"]);
    }
    for bad in [
        r#"{ $.level = "WARN" }"#,
        "{ $.missing = 1 }",
        "{ $.missing != 1 }",
        "{ $.ms > 120 }",
        "{ $.level > 1 }",
        "{ $.ok IS FALSE }",
        "{ $.level = \"ERROR\" && $.ms < 100 }",
    ] {
        check(bad, &[], &[message]);
    }
}

#[test]
fn fields() {
    let line = r#"127.0.0.1 - ann [10/Oct/2000:13:55:36 -0700] "GET /x HTTP/1.0" 404 1534"#;
    check("[ip, id, user, time, request, status, bytes]", &[line], &["a b"]);
    check("[ip, ..., status = 4*, bytes > 1000]", &[line], &["a b"]);
    check("[..., request = *x*, status = 404 || status = 500, bytes]", &[line], &[]);
    check("[ip, ..., status = 5*, bytes]", &[], &[line]);
    check("[ip, id, user]", &["1 2 3"], &[line]);
}

#[test]
fn what_is_no_pattern_is_refused() {
    for bad in [
        "{",
        "{ }",
        "{ $.a }",
        "{ $.a = }",
        "{ $.a = 1 } x",
        "[",
        "[a",
        "[a,",
        "\"open",
        "%open",
        "%[%",
        "a/b",
        "?",
        "-",
        "{ $. = 1 }",
        "{ $.a[x] = 1 }",
        "{ $.a ~ 1 }",
    ] {
        assert!(Pattern::parse(bad).is_err(), "{bad}");
    }
    assert!(
        Pattern::parse(&format!("{{ {}$.a = 1{} }}", "(".repeat(5000), ")".repeat(5000))).is_err()
    );
    // Not at the boundary of a character either.
    assert!(Pattern::parse("{ $.a ISß }").is_err());
}
