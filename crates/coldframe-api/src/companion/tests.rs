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
