use super::*;

fn ended<'a>(condition: Condition, response: Option<Response<'a>>) -> Ended<'a> {
    Ended {
        at: 1_764_025_868_123,
        request_id: "c2a4b5d8-0f4a-4f0e-9d6b-5a3f1e0c7b21".to_owned(),
        function_arn: "arn:aws:lambda:us-east-1:123456789012:function:f:$LATEST",
        condition,
        attempts: 3,
        request_payload: b"{\"raise_error\": 1}",
        response,
    }
}

fn text(ended: &Ended<'_>) -> String {
    String::from_utf8(ended.record().to_vec()).unwrap()
}

// Spec: service-api.md §4.3.
#[test]
fn records_are_as_aws_writes_them() {
    let response = Response {
        version: "$LATEST",
        function_error: true,
        payload: b"{\"errorMessage\":\"no\",\"errorType\":\"E\"}",
    };
    let failed = ended(Condition::RetriesExhausted, Some(response));
    let context = r#"{"version":"1.0","timestamp":"2025-11-24T23:11:08.123Z","requestContext":{"requestId":"c2a4b5d8-0f4a-4f0e-9d6b-5a3f1e0c7b21","functionArn":"arn:aws:lambda:us-east-1:123456789012:function:f:$LATEST","condition":"RetriesExhausted","approximateInvokeCount":3},"requestPayload":{"raise_error": 1},"#;
    let answer = r#""responseContext":{"statusCode":200,"executedVersion":"$LATEST","functionError":"Unhandled"},"responsePayload":{"errorMessage":"no","errorType":"E"}}"#;
    assert_eq!(text(&failed), format!("{context}{answer}"));

    let response = Response { version: "7", function_error: false, payload: b"null" };
    let done = text(&ended(Condition::Success, Some(response)));
    let end =
        r#""responseContext":{"statusCode":200,"executedVersion":"7"},"responsePayload":null}"#;
    assert!(done.ends_with(end), "{done}");

    let refused = text(&ended(Condition::ZeroReservedConcurrency, None));
    assert!(refused.ends_with(r#""requestPayload":{"raise_error": 1}}"#), "{refused}");
}

#[test]
fn what_is_no_json_becomes_a_string_of_it() {
    let response = Response { version: "1", function_error: false, payload: b"\xff\"<" };
    let record = text(&ended(Condition::Success, Some(response)));
    assert!(record.ends_with("\"responsePayload\":\"\u{fffd}\\\"<\"}"), "{record}");
}

// Spec: service-api.md §4.4.
#[test]
fn dead_letters_tell_the_first_kilobyte() {
    let check = |payload: &str, code: u16, message: &str| {
        let response = Response { version: "1", function_error: true, payload: payload.as_bytes() };
        let letter = ended(Condition::RetriesExhausted, Some(response)).dead_letter();
        assert_eq!((letter.error_code, letter.error_message.as_str()), (code, message));
    };
    check(r#"{"errorMessage":"no"}"#, 200, "no");
    check(r#"{"other":"no"}"#, 200, "");
    let long = "ä".repeat(600);
    check(&format!(r#"{{"errorMessage":"{long}"}}"#), 200, &"ä".repeat(512));
    let looped = ended(Condition::RecursiveInvocation, None).dead_letter();
    assert_eq!(looped.error_code, 400);
    assert!(looped.error_message.starts_with("Lambda has detected your function"));
    let letter = ended(Condition::EventAgeExceeded, None).dead_letter();
    assert_eq!(letter.error_code, 429);
}
