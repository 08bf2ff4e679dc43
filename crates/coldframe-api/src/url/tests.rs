use bytes::Bytes;
use coldframe_core::identity::{Identity, Principal};
use coldframe_core::invoke::{
    Answer, ResponseStream, StreamEnd, StreamError, StreamPart, StreamedAnswer,
};
use coldframe_core::{AccountId, RequestId};
use http_body_util::BodyExt;
use hyper::HeaderMap;
use uuid::Uuid;

use super::event::{Origin, event};
use super::*;
use crate::Caller;

const ID: &str = "0123456789abcdef0123456789abcdef";

fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

#[test]
fn urls_are_told_by_host_or_path() {
    let check = |host: &str, uri: &str, place: Option<(&str, &str)>| {
        let headers = [("host", host)];
        let headers = if host.is_empty() { &headers[..0] } else { &headers };
        let found = Place::of(&request("GET", uri, headers));
        let found = found.as_ref().map(|place| (place.id.as_str(), place.path.as_str()));
        assert_eq!(found, place, "{host} {uri}");
    };
    let host = format!("{ID}.lambda-url.us-east-1.localhost:4566");
    check(&host, "/a%2Fb/../c", Some((ID, "/a%2Fb/../c")));
    check(&host.to_uppercase().replace(".LAMBDA-URL", ".lambda-url"), "/", Some((ID, "/")));
    check("", &format!("http://{host}/x"), Some((ID, "/x")));
    check("127.0.0.1:4566", &format!("/_url/{ID}/a/b"), Some((ID, "/a/b")));
    check("127.0.0.1:4566", &format!("/_url/{ID}"), Some((ID, "/")));
    check("unknown.lambda-url.us-east-1.on.aws", "/", Some(("unknown", "/")));
    check("lambda-url.us-east-1.localhost", "/", None);
    check("127.0.0.1:4566", "/2015-03-31/functions", None);
}

fn event_of(request: Request<()>, body: &[u8], caller: Option<&Caller>) -> Value {
    let origin = Origin {
        id: ID,
        path: request.uri().path(),
        domain: "ID.lambda-url.us-east-1.localhost",
        port: "4566",
        peer: Some([127, 0, 0, 1].into()),
        trace: "Root=1-2-3",
        request_id: RequestId::from(Uuid::nil()),
        caller,
        at: jiff::Timestamp::from_millisecond(1_764_025_865_123).unwrap(),
    };
    let path = origin.path.to_owned();
    let parts = request.clone().into_parts().0;
    event(&parts, body, &Origin { path: &path, ..origin })
}

// Spec: service-api.md §6.2.
#[test]
fn a_request_as_an_event() {
    let headers = [
        ("Host", "h"),
        ("Content-Type", "application/json"),
        ("X-Twice", "a"),
        ("X-Twice", "With WeiRd CapS"),
        ("Cookie", "a=1; b=2"),
        ("Connection", "keep-alive"),
        ("User-Agent", "test/1"),
        ("Authorization", "Bearer mine"),
    ];
    let uri = "/pa2%25th/1?q=query&multiQuery=foo&multiQuery=%2Fbar";
    let seen = event_of(request("POST", uri, &headers), br#"{"foo":"bar"}"#, None);
    let expected = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/pa2%25th/1",
        "rawQueryString": "q=query&multiQuery=foo&multiQuery=%2Fbar",
        "cookies": ["a=1", "b=2"],
        "headers": {
            "host": "h",
            "content-type": "application/json",
            "content-length": "13",
            "x-twice": "a,With WeiRd CapS",
            "user-agent": "test/1",
            "authorization": "Bearer mine",
            "x-amzn-trace-id": "Root=1-2-3",
            "x-forwarded-for": "127.0.0.1",
            "x-forwarded-port": "4566",
            "x-forwarded-proto": "http",
        },
        "queryStringParameters": { "q": "query", "multiQuery": "foo,/bar" },
        "requestContext": {
            "accountId": "anonymous",
            "apiId": ID,
            "domainName": "ID.lambda-url.us-east-1.localhost",
            "domainPrefix": ID,
            "http": {
                "method": "POST",
                "path": "/pa2%25th/1",
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "test/1",
            },
            "requestId": "00000000-0000-0000-0000-000000000000",
            "routeKey": "$default",
            "stage": "$default",
            "time": "24/Nov/2025:23:11:05 +0000",
            "timeEpoch": 1_764_025_865_123_u64,
        },
        "body": "{\"foo\":\"bar\"}",
        "isBase64Encoded": false,
    });
    assert_eq!(seen, expected);
}

#[test]
fn bodies_are_text_or_base64() {
    let check = |kind: &str, body: &[u8], expected: Value, is_base64: bool| {
        let headers = [("content-type", kind)];
        let headers = if kind.is_empty() { &headers[..0] } else { &headers };
        let seen = event_of(request("POST", "/", headers), body, None);
        assert_eq!(seen["body"], expected, "{kind}");
        assert_eq!(seen["isBase64Encoded"], json!(is_base64), "{kind}");
        assert!(seen.get("queryStringParameters").is_none() && seen.get("cookies").is_none());
    };
    check("text/plain; charset=utf-8", "ü".as_bytes(), json!("ü"), false);
    check("application/vnd.api+json", b"{}", json!("{}"), false);
    check("multipart/form-data; boundary=x", b"ab", json!("YWI="), true);
    check("application/x-www-form-urlencoded", b"ab", json!("YWI="), true);
    check("", b"ab", json!("YWI="), true);
    check("text/plain", b"\xff", json!("/w=="), true);
    check("", b"", Value::Null, false);
}

#[test]
fn who_has_signed_is_in_the_event() {
    let account = AccountId::parse("123456789012").unwrap();
    let principal = Principal::Role { role: "r".into(), session: "s".into() };
    let identity = Identity { account: account.clone(), principal };
    let user = identity.user_id();
    let caller = Caller {
        account,
        region: "us-east-1".into(),
        identity,
        access_key: "ASIAKEY".into(),
        service: "lambda".into(),
    };
    let headers = [("authorization", "AWS4-HMAC-SHA256 Credential=A")];
    let seen = event_of(request("GET", "/", &headers), b"", Some(&caller));
    assert_eq!(
        seen["requestContext"]["authorizer"],
        json!({ "iam": {
            "accessKey": "ASIAKEY",
            "accountId": "123456789012",
            "callerId": user,
            "cognitoIdentity": null,
            "principalOrgId": null,
            "userArn": "arn:aws:sts::123456789012:assumed-role/r/s",
            "userId": user,
        } })
    );
    assert_eq!(seen["requestContext"]["accountId"], "123456789012");
    assert!(seen["headers"].get("authorization").is_none());
}

fn answer(payload: &[u8]) -> Answer {
    Answer {
        payload: Bytes::copy_from_slice(payload),
        content_type: None,
        function_error: false,
        log_tail: None,
    }
}

async fn shown(reply: crate::Reply) -> (u16, HeaderMap, String) {
    let (parts, body) = reply.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status.as_u16(), parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

// Spec: service-api.md §6.3.
#[tokio::test]
async fn what_functions_return_as_http() {
    let check = async |payload: &str, status: u16, body: &str| {
        let reply = response::response(&answer(payload.as_bytes()));
        let (seen, headers, text) = shown(reply).await;
        assert_eq!((seen, text.as_str()), (status, body), "{payload}");
        assert_eq!(headers["content-type"], "application/json", "{payload}");
    };
    let bad = "Internal Server Error";
    check(r#"{"statusCode":201,"body":"x"}"#, 201, "x").await;
    check(r#"{"statusCode":200}"#, 200, "").await;
    check(r#"{"statusCode":200,"body":{"a": 1}}"#, 200, r#"{"a":1}"#).await;
    check(r#"{"statusCode":200,"body":"eA==","isBase64Encoded":true}"#, 200, "x").await;
    check(r#"{ "a":  1 }"#, 200, r#"{ "a":  1 }"#).await;
    check(r#""text""#, 200, "text").await;
    check(r#"["hello", 3, true]"#, 200, r#"["hello",3,true]"#).await;
    check("7", 200, "7").await;
    check("null", 200, "null").await;
    for payload in [
        r#"{"statusCode":"x"}"#,
        r#"{"statusCode":99}"#,
        r#"{"statusCode":101}"#,
        r#"{"statusCode":600}"#,
        r#"{"statusCode":-1}"#,
        r#"{"statusCode":200,"headers":7}"#,
        r#"{"statusCode":200,"headers":{"a b":"c"}}"#,
        r#"{"statusCode":200,"headers":{"a":"b\nc"}}"#,
        r#"{"statusCode":200,"headers":{"a":["b"]}}"#,
        r#"{"statusCode":200,"cookies":"a=1"}"#,
        r#"{"statusCode":200,"body":"!","isBase64Encoded":true}"#,
        "no json",
    ] {
        check(payload, 502, bad).await;
    }
    let failed = Answer { function_error: true, ..answer(b"{}") };
    assert_eq!(shown(response::response(&failed)).await.0, 502);
}

#[tokio::test]
async fn headers_and_cookies_of_a_function() {
    let payload = json!({
        "statusCode": 302,
        "headers": {
            "Location": "/x", "X-Count": 3, "Content-Type": "text/html", "Content-Length": "9",
            "Connection": "close", "Date": "then", "Server": "mine", "X-Amzn-RequestId": "mine",
        },
        "cookies": ["a=1; Path=/", "b=2"],
    });
    let reply = response::response(&answer(payload.to_string().as_bytes()));
    let (status, headers, _) = shown(reply).await;
    assert_eq!(status, 302);
    let mut seen: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    seen.sort_unstable();
    let expected = [
        ("content-type", "text/html"),
        ("location", "/x"),
        ("set-cookie", "a=1; Path=/"),
        ("set-cookie", "b=2"),
        ("x-amzn-remapped-date", "then"),
        ("x-amzn-remapped-server", "mine"),
        ("x-amzn-remapped-x-amzn-requestid", "mine"),
        ("x-count", "3"),
    ];
    assert_eq!(seen, expected);
}

/// Chunks that are there, and the end.
struct Parts(std::collections::VecDeque<StreamPart>);

impl ResponseStream for Parts {
    fn poll_part(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<StreamPart> {
        std::task::Poll::Ready(self.0.pop_front().expect("polled no further than its end"))
    }
}

fn streamed(chunks: &[&[u8]], kind: Option<&str>, fails: bool) -> StreamedAnswer {
    let chunks = chunks.iter().map(|chunk| StreamPart::Chunk(Bytes::copy_from_slice(chunk)));
    let error = fails.then(|| StreamError { code: "Unhandled".into(), details: String::new() });
    let end = StreamPart::Complete(StreamEnd { error, log_tail: None });
    let stream = Box::new(Parts(chunks.chain([end]).collect()));
    StreamedAnswer { content_type: kind.map(str::to_owned), stream }
}

// Spec: service-api.md §6.4.
#[tokio::test]
async fn streams_may_begin_with_status_and_headers() {
    let prelude = Some("application/vnd.awslambda.http-integration-response");
    let check = async |answer: StreamedAnswer, expected: (u16, &str, &str)| {
        let (status, headers, body) = shown(response::streamed(answer).await).await;
        let kind = headers["content-type"].to_str().unwrap();
        assert_eq!((status, kind, body.as_str()), expected);
    };
    let bad = (502, "application/json", "Internal Server Error");
    let head = b"{\"statusCode\":201,\"headers\":{\"Content-Type\":\"text/plain\"}}";
    let whole = [&head[..], &[0; 8], b"body"].concat();
    check(streamed(&[&whole, b" and more"], prelude, false), (201, "text/plain", "body and more"))
        .await;
    let bytes: Vec<&[u8]> = whole.chunks(1).collect();
    check(streamed(&bytes, prelude, false), (201, "text/plain", "body")).await;
    let octets = "application/octet-stream";
    check(streamed(&[b"{}", &[0; 8]], prelude, false), (200, octets, "")).await;
    check(streamed(&[b"{}"], prelude, false), bad).await;
    check(streamed(&[b"{\"statusCode\":1}", &[0; 8]], prelude, false), bad).await;
    check(streamed(&[&[b' '; 2_000_000]], prelude, false), bad).await;
    check(streamed(&[b"raw", b"er"], Some(octets), false), (200, octets, "rawer")).await;
    check(streamed(&[], Some("text/html"), false), (200, "text/html", "")).await;
    check(streamed(&[], Some(octets), true), bad).await;
    // What has begun when it fails ends there.
    check(streamed(&[b"half"], Some(octets), true), (200, octets, "half")).await;
    check(streamed(&[b"{\"status", b"Code\":202}"], None, false), (202, "application/json", ""))
        .await;
    check(streamed(&[b"{}"], Some("application/json"), true), bad).await;
}

// Spec: service-api.md §6.6.
#[test]
fn cors_is_the_platforms() {
    let cors = json!({
        "AllowOrigins": ["https://a.example", "https://*.b.example"],
        "AllowMethods": ["GET", "PUT"],
        "AllowHeaders": ["x-own"],
        "ExposeHeaders": ["x-shown", "date"],
        "AllowCredentials": true,
        "MaxAge": 300,
    });
    let preflight = |cors: &Value, method: &str, origin: &str| {
        let headers = [("origin", origin), ("access-control-request-method", "PUT")];
        let parts = request(method, "/", &headers).into_parts().0;
        cors::preflight(Some(cors), &parts.method, &parts.headers)
    };
    let text = |headers: &HeaderMap, name: &str| {
        headers.get(name).map(|value| value.to_str().unwrap().to_owned())
    };
    let reply = preflight(&cors, "OPTIONS", "https://x.b.example").unwrap();
    let check = |name: &str, value: Option<&str>| {
        let name = format!("access-control-{name}");
        assert_eq!(text(reply.headers(), &name).as_deref(), value, "{name}");
    };
    assert_eq!(reply.status(), 200);
    check("allow-origin", Some("https://x.b.example"));
    check("allow-methods", Some("GET,PUT"));
    check("allow-headers", Some("x-own"));
    check("allow-credentials", Some("true"));
    check("max-age", Some("300"));
    check("expose-headers", None);
    let refused = preflight(&cors, "OPTIONS", "https://c.example").unwrap();
    assert_eq!((refused.status().as_u16(), refused.headers().len()), (200, 0));
    assert!(preflight(&cors, "GET", "https://a.example").is_none());
    assert!(cors::preflight(None, &hyper::Method::OPTIONS, &HeaderMap::new()).is_none());

    let apply = |cors: &Value, origin: &str| {
        let headers = [("origin", origin)];
        let parts = request("GET", "/", &headers).into_parts().0;
        let mut out = HeaderMap::new();
        out.insert("access-control-allow-origin", "the function's".parse().unwrap());
        cors::apply(Some(cors), &parts.headers, &mut out);
        let allowed = text(&out, "access-control-allow-origin");
        (allowed.unwrap(), text(&out, "access-control-expose-headers"))
    };
    let exposed = Some("x-shown,date".to_owned());
    assert_eq!(apply(&cors, "https://a.example"), ("https://a.example".to_owned(), exposed));
    assert_eq!(apply(&cors, "https://c.example"), ("the function's".to_owned(), None));
    let any = json!({ "AllowOrigins": ["*"] });
    assert_eq!(apply(&any, "https://c.example"), ("*".to_owned(), None));
}
