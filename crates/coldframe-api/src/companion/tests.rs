use serde_json::json;
use uuid::Uuid;

use super::*;

#[test]
fn forms_are_told_from_lambdas_requests() {
    let check = |method: &str, uri: &str, kind: &str, expected: bool| {
        let request = Request::builder().method(method).uri(uri);
        let request = if kind.is_empty() { request } else { request.header("content-type", kind) };
        assert_eq!(is_query(&request.body(()).unwrap()), expected, "{method} {uri} {kind}");
    };
    let form = "application/x-www-form-urlencoded; charset=utf-8";
    check("POST", "/", form, true);
    check("GET", "/?Action=GetCallerIdentity&Version=2011-06-15", "", true);
    check("GET", "/", "", false);
    check("GET", "/?NoAction=x", "", false);
    check("POST", "/", "application/json", false);
    check("POST", "/2015-03-31/functions", form, false);
}

#[test]
fn answers_are_xml() {
    let id = RequestId::from(Uuid::nil());
    let result = json!({ "A": "<&>\u{1}", "B": [{ "C": 1 }, "d"], "E": null, "F": false, "G": {} });
    assert_eq!(
        xml::answer("ns", "Do", &result, id),
        "<DoResponse xmlns=\"ns\"><DoResult><A>&lt;&amp;&gt;\u{fffd}</A><B><member><C>1</C></member><member>d</member></B><F>false</F><G></G></DoResult><ResponseMetadata><RequestId>00000000-0000-0000-0000-000000000000</RequestId></ResponseMetadata></DoResponse>\n"
    );
    assert!(!xml::answer("ns", "Do", &Value::Null, id).contains("DoResult"));
    assert_eq!(
        xml::problem("ns", StatusCode::NOT_FOUND, "NoSuchEntity", "a<b", id),
        "<ErrorResponse xmlns=\"ns\"><Error><Type>Sender</Type><Code>NoSuchEntity</Code><Message>a&lt;b</Message></Error><RequestId>00000000-0000-0000-0000-000000000000</RequestId></ErrorResponse>\n"
    );
}

#[test]
fn services_that_are_not_here_say_so() {
    let signed = |service: &str| {
        format!(
            "AWS4-HMAC-SHA256 Credential=AK/20260101/eu-west-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
        )
    };
    let check = |method: &str, uri: &str, header: (&str, &str), kind: Option<&str>| {
        let request = Request::builder().method(method).uri(uri).header(header.0, header.1);
        let refusal = absent::refusal(&request.body(()).unwrap(), RequestId::from(Uuid::nil()));
        let found = refusal.map(|refusal| {
            assert_eq!(refusal.status(), 501, "{method} {uri} {header:?}");
            refusal.headers()["content-type"].to_str().unwrap().to_owned()
        });
        assert_eq!(found.as_deref(), kind, "{method} {uri} {header:?}");
    };
    let (json, xml) = (Some("application/json"), Some("application/xml"));
    let target = ("x-amz-target", "AWSEvents.ListRules");
    check("POST", "/", target, json);
    check("POST", "/", ("x-amz-target", ""), json);
    check("GET", "/", target, None);
    check("PUT", "/bucket", ("authorization", &signed("s3")), xml);
    check("GET", "/", ("authorization", &signed("s3")), xml);
    let query =
        "/bucket/key?X-Amz-Credential=AK%2F20260101%2Feu-west-1%2Fs3%2Faws4_request&X-Amz-Date=0";
    check("GET", query, ("host", "x"), xml);
    check("GET", "/restapis", ("authorization", &signed("apigateway")), json);
    check("GET", "/2025-09-09/microvms", ("authorization", &signed("lambda")), json);
    check("GET", "/2026-10-01/runtimes", ("host", "x"), json);
    // Lambda's own, and what nobody can tell.
    check("GET", "/nothing", ("authorization", &signed("lambda")), None);
    check("GET", "/2015-03-31/functions", ("authorization", &signed("s3")), None);
    check("GET", "/nothing", ("host", "x"), None);
    check("GET", "/nothing", ("authorization", "Bearer lambda"), None);
}
