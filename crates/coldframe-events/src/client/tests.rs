use hyper::StatusCode;
use hyper::header::HeaderMap;

use super::*;

fn answer(status: u16, location: Option<&'static str>) -> Error {
    let mut headers = HeaderMap::new();
    if let Some(location) = location {
        headers.insert(LOCATION, location.parse().unwrap());
    }
    let status = StatusCode::from_u16(status).unwrap();
    refused(&Answer { status, headers, body: Bytes::from_static(b"why") })
}

#[test]
fn what_another_try_may_change_is_not_final() {
    let check =
        |status, is_final| assert_eq!(answer(status, None).is_final(), is_final, "{status}");
    for status in [400, 403, 404, 409] {
        check(status, true);
    }
    for status in [301, 302, 307, 308, 408, 429, 500, 503] {
        check(status, false);
    }
}

#[test]
fn redirections_say_where_to() {
    let to = "https://bucket.s3.eu-west-1.amazonaws.com/key";
    assert_eq!(
        answer(307, Some(to)).to_string(),
        format!("the service answered 307, which sends to {to}: why")
    );
    let nowhere = answer(301, None).to_string();
    assert_eq!(nowhere, "the service answered 301, which sends to nowhere: why");
}
