use proptest::prelude::*;

use super::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TIME: &str = "20261121T101112Z";
const AS_SENT: [Option<&str>; 3] = [None; 3];

/// A block of `vectors.txt`.
#[derive(Default)]
struct Vector {
    values: Vec<(String, String)>,
    headers: Vec<(String, String)>,
}

impl Vector {
    fn all() -> Vec<Self> {
        let blocks = include_str!("vectors.txt").split("\n\n").skip(1);
        let vectors: Vec<Self> = blocks.map(Self::parse).collect();
        assert_eq!(vectors.len(), 10);
        vectors
    }

    fn parse(block: &str) -> Self {
        let mut vector = Self::default();
        for line in block.lines() {
            let (key, value) = line.split_once(' ').unwrap();
            if key == "header" {
                let (name, value) = value.split_once(": ").unwrap();
                vector.headers.push((name.to_owned(), value.to_owned()));
            } else {
                vector.values.push((key.to_owned(), value.replace("\\n", "\n")));
            }
        }
        vector
    }

    fn find(&self, key: &str) -> Option<&str> {
        self.values.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    fn get(&self, key: &str) -> &str {
        self.find(key).unwrap()
    }

    fn presigned(&self) -> bool {
        self.find("expires").is_some()
    }

    /// What the signer was given.
    fn headers(&self) -> Vec<(&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    fn request<'a>(&'a self, headers: &'a [(&'a str, &'a str)]) -> Request<'a> {
        Request {
            method: self.get("method"),
            path: self.get("path"),
            query: self.get("query"),
            headers,
        }
    }

    fn scope(&self) -> Scope<'_> {
        Scope { date: &TIME[..8], region: self.get("region"), service: self.get("service") }
    }

    /// Checks the signed request as it would come in at `now`, with another method, path or query.
    fn verify_with(
        &self,
        [method, path, query]: [Option<&str>; 3],
        body: &str,
        secret: &str,
        now: u64,
    ) -> Result<(), Refusal> {
        let mut headers = self.headers();
        let hash = sha256_hex(self.get("body").as_bytes());
        if !self.presigned() {
            headers.push(("X-Amz-Date", TIME));
            headers.push(("Authorization", self.get("signed")));
            headers.extend(self.find("token").map(|token| ("X-Amz-Security-Token", token)));
            headers
                .extend((self.get("service") == "s3").then_some(("X-Amz-Content-SHA256", &*hash)));
        }
        let sent = if self.presigned() { "signed" } else { "query" };
        let request = Request {
            method: method.unwrap_or(self.get("method")),
            path: path.unwrap_or(self.get("path")),
            query: query.unwrap_or(self.get(sent)),
            headers: &headers,
        };
        let presented = Presented::read(&request)?.expect("it is signed");
        assert_eq!(presented.access_key, "AKIDEXAMPLE");
        assert_eq!(presented.session_token.as_deref(), self.find("token"));
        assert_eq!(presented.region, self.get("region"));
        assert_eq!(presented.service, self.get("service"));
        presented.verify(&request, secret, &sha256_hex(body.as_bytes()), now)
    }

    fn verify(&self) -> Result<(), Refusal> {
        self.verify_with(AS_SENT, self.get("body"), SECRET, now())
    }
}

fn now() -> u64 {
    parse_time(TIME).unwrap()
}

#[test]
fn we_sign_as_botocore_does() {
    for vector in Vector::all().iter().filter(|vector| !vector.presigned()) {
        let headers = vector.headers();
        let credentials = Credentials {
            access_key: "AKIDEXAMPLE",
            secret_key: SECRET,
            session_token: vector.find("token"),
        };
        let body = sha256_hex(vector.get("body").as_bytes());
        let place = (vector.get("region"), vector.get("service"));
        let added = sign(&vector.request(&headers), &body, &credentials, place, now());
        assert_eq!(added[0], ("x-amz-date", TIME.to_owned()));
        let (name, authorization) = added.last().unwrap();
        assert_eq!((*name, authorization.as_str()), ("authorization", vector.get("signed")));
    }
}

#[test]
fn strings_to_sign_are_botocores() {
    for vector in Vector::all() {
        let string = string_to_sign(TIME, vector.scope(), vector.get("canonical"));
        assert_eq!(string, vector.get("string"));
    }
}

#[test]
fn what_botocore_has_signed_is_let_in() {
    for vector in Vector::all() {
        assert_eq!(vector.verify(), Ok(()), "{}", vector.get("name"));
    }
}

#[test]
fn what_was_changed_on_the_way_is_not() {
    let wrong = |result: Result<(), Refusal>, what: &str| {
        let text = result.unwrap_err().to_string();
        assert!(text.starts_with("The request signature we calculated"), "{what}: {text}");
    };
    for vector in Vector::all() {
        let (name, body) = (vector.get("name"), vector.get("body"));
        wrong(vector.verify_with(AS_SENT, body, "another secret", now()), name);
        wrong(vector.verify_with([Some("PATCH"), None, None], body, SECRET, now()), name);
        wrong(vector.verify_with([None, Some("/else"), None], body, SECRET, now()), name);
        let more = format!("{}&more=1", if vector.presigned() { vector.get("signed") } else { "" });
        wrong(vector.verify_with([None, None, Some(&more)], body, SECRET, now()), name);
        wrong(vector.verify_with(AS_SENT, "another body", SECRET, now()), name);
    }
}

// AWS: "Signature Version 4 test suite", get-vanilla.
#[test]
fn the_published_example_holds() {
    let headers = [("Host", "example.amazonaws.com"), ("X-Amz-Date", "20150830T123600Z")];
    let request = Request { method: "GET", path: "/", query: "", headers: &headers };
    let text = canonical::request(&request, "/", "host;x-amz-date", &sha256_hex(b""));
    assert_eq!(
        sha256_hex(text.as_bytes()),
        "bb579772317eb040ac9ed261061d46c1f17a8133879d6129b6e1c25292927e63"
    );
    let scope = Scope { date: "20150830", region: "us-east-1", service: "service" };
    let string = string_to_sign("20150830T123600Z", scope, &text);
    assert_eq!(
        hex(&mac("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", scope, &string)
            .finalize()
            .into_bytes()),
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    );
}

// Spec: service-api.md §9.5, clock.
#[test]
fn old_and_future_signatures_are_told_so() {
    let vectors = Vector::all();
    let check = |name: &str, now: u64, text: Option<&str>| {
        let vector = vectors.iter().find(|vector| vector.get("name") == name).unwrap();
        let result = vector.verify_with(AS_SENT, vector.get("body"), SECRET, now);
        assert_eq!(result.err().map(|refusal| refusal.to_string()).as_deref(), text);
    };
    check("list", now() + 300, None);
    check(
        "list",
        now() + 301,
        Some(
            "Signature expired: 20261121T101112Z is now earlier than 20261121T101113Z (20261121T101613Z - 5 min.)",
        ),
    );
    check("list", now() - 300, None);
    check(
        "list",
        now() - 301,
        Some(
            "Signature not yet current: 20261121T101112Z is still later than 20261121T101111Z (20261121T100611Z + 5 min.)",
        ),
    );
    check("presigned", now() + 60, None);
    check(
        "presigned",
        now() + 61,
        Some(
            "Signature expired: 20261121T101112Z is now earlier than 20261121T101113Z (20261121T101213Z - 1 min.)",
        ),
    );
    check("presigned with token", now() + 900, None);
}

#[test]
fn what_is_no_signature_is_told_why() {
    let check = |authorization: &str, date: &str, text: &str| {
        let headers = [("host", "h"), ("authorization", authorization), ("x-amz-date", date)];
        let headers = if date.is_empty() { &headers[..2] } else { &headers };
        let request = Request { method: "GET", path: "/", query: "", headers };
        let refusal = Presented::read(&request).and_then(|presented| {
            presented.unwrap().verify(&request, SECRET, &sha256_hex(b""), now())
        });
        assert_eq!(refusal.unwrap_err().to_string(), text);
    };
    check(
        "AWS4-HMAC-SHA256 SignedHeaders=host",
        "",
        "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. Authorization=AWS4-HMAC-SHA256 SignedHeaders=host",
    );
    check("Bearer x", TIME, "Unsupported AWS 'algorithm': 'Bearer'. Authorization=Bearer x");
    check(
        "AWS4-HMAC-SHA256 what",
        TIME,
        "'what' not a valid key=value pair (missing equal-sign) in Authorization header: 'AWS4-HMAC-SHA256 what'.",
    );
    check(
        "AWS4-HMAC-SHA256 Credential=A/20261121/lambda/aws4_request, SignedHeaders=host, Signature=00",
        TIME,
        "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 'A/20261121/lambda/aws4_request'",
    );
    let signed = |date: &str, headers: &str| {
        format!(
            "AWS4-HMAC-SHA256 Credential=A/{date}/us-east-1/lambda/aws4_request, SignedHeaders={headers}, Signature=00"
        )
    };
    check(
        &signed("20261120", "host"),
        TIME,
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20261120' != '20261121', from '20261121T101112Z'.",
    );
    check(
        &signed("20261121", "host"),
        "2026-11-21",
        "Date must be in ISO-8601 'basic format'. Got '2026-11-21'. See http://en.wikipedia.org/wiki/ISO_8601",
    );
    check(
        &signed("20261121", "x-amz-date"),
        TIME,
        "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
    );
}

// Spec: service-api.md §9.2: `Date` stands in where `X-Amz-Date` is absent.
#[test]
fn the_date_of_http_will_do() {
    let scope = Scope { date: &TIME[..8], region: "us-east-1", service: "lambda" };
    let check = |date: &str, more: Option<&str>, refused: Option<&str>| {
        let first = [("host", "h"), ("date", date)];
        let bare = Request { method: "GET", path: "/", query: "", headers: &first };
        let text = canonical::request(&bare, "/", "date;host", &sha256_hex(b""));
        let signature =
            hex(&mac(SECRET, scope, &string_to_sign(TIME, scope, &text)).finalize().into_bytes());
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=A/{scope}, SignedHeaders=date;host, Signature={signature}"
        );
        let mut headers = first.to_vec();
        headers.push(("authorization", authorization.as_str()));
        headers.extend(more.map(|time| ("x-amz-date", time)));
        let request = Request { headers: &headers, ..bare };
        let presented = Presented::read(&request).unwrap().unwrap();
        let verified = presented.verify(&request, SECRET, &sha256_hex(b""), now());
        let why = verified.err().map(|refusal| refusal.to_string());
        match (&why, refused) {
            (None, None) => {}
            (Some(why), Some(text)) => assert!(why.starts_with(text), "{date}: {why}"),
            _ => panic!("{date}: {why:?}"),
        }
    };
    check("Sat, 21 Nov 2026 10:11:12 GMT", None, None);
    check(TIME, None, None);
    // The one that is meant for it goes first.
    check("Sat, 21 Nov 2026 10:11:12 GMT", Some(TIME), None);
    check("Sat, 21 Nov 2026 10:11:12 GMT", Some("20261121T101113Z"), Some("The request signature"));
    check("Sat, 21 Nov 2026 10:11:13 GMT", None, Some("The request signature"));
    check("Sat, 21 Nov 2026 10:01:12 GMT", None, Some("Signature expired"));
    for none in ["", "Sat, 21 Nov 2026 10:11:12 CET", "Sat, 31 Feb 2026 10:11:12 GMT", "today"] {
        check(none, None, Some("Date must be in ISO-8601 'basic format'"));
    }
}

#[test]
fn incomplete_queries_and_unsigned_requests_are_told_apart() {
    let read =
        |query: &str| Presented::read(&Request { method: "GET", path: "/", query, headers: &[] });
    assert_eq!(read("a=b"), Ok(None));
    assert_eq!(
        read("X-Amz-Credential=x&X-Amz-Date=y").unwrap_err().to_string(),
        "AWS query-string parameters must include 'X-Amz-Algorithm'. AWS query-string parameters must include 'X-Amz-Signature'. AWS query-string parameters must include 'X-Amz-SignedHeaders'. Re-examine the query-string parameters."
    );
    let expires = |value: &str| {
        read(&format!(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A/20261121/r/s/aws4_request&X-Amz-Date={TIME}&X-Amz-SignedHeaders=host&X-Amz-Signature=00&X-Amz-Expires={value}"
        ))
    };
    assert!(expires("604800").is_ok());
    for value in ["0", "604801", "x", "-1"] {
        assert!(matches!(expires(value), Err(Refusal::Incomplete(_))), "{value}");
    }
}

#[test]
fn an_unsigned_body_must_say_so_in_a_signed_header() {
    let headers = [("host", "h")];
    let request = Request { method: "POST", path: "/", query: "", headers: &headers };
    let credentials = Credentials { access_key: "A", secret_key: SECRET, session_token: None };
    // What was signed, and a header that somebody adds on the way.
    let check = |signed_body: &str, more: Option<&str>, good: bool| {
        let added = sign(&request, signed_body, &credentials, ("us-east-1", "lambda"), now());
        let mut headers = headers.to_vec();
        headers.extend(added.iter().map(|(name, value)| (*name, value.as_str())));
        headers.extend(more.map(|value| ("x-amz-content-sha256", value)));
        let request = Request { headers: &headers, ..request };
        let presented = Presented::read(&request).unwrap().unwrap();
        let verified = presented.verify(&request, SECRET, &sha256_hex(b"another"), now());
        assert_eq!(verified.is_ok(), good, "{signed_body} {more:?}");
    };
    check(UNSIGNED_PAYLOAD, None, true);
    check(&sha256_hex(b"signed"), None, false);
    check(&sha256_hex(b"signed"), Some(UNSIGNED_PAYLOAD), false);
}

proptest! {
    #[test]
    fn times_read_as_they_are_written(seconds in 0_u64..253_402_300_800) {
        prop_assert_eq!(parse_time(&time(seconds)), Some(seconds));
    }

    #[test]
    fn nothing_that_is_sent_panics(
        authorization in ".{0,80}",
        query in "[X%&=+a-zA-Z0-9-]{0,80}",
        date in "[0-9TZ]{14,17}",
        path in ".{0,40}",
    ) {
        let signed = format!("AWS4-HMAC-SHA256 {authorization}");
        for authorization in [&authorization, &signed] {
            let headers = [("host", "h"), ("x-amz-date", date.as_str()), ("authorization", authorization)];
            for headers in [&headers[..], &headers[..2]] {
                let request = Request { method: "GET", path: &path, query: &query, headers };
                if let Ok(Some(presented)) = Presented::read(&request) {
                    let _ = presented.verify(&request, SECRET, &sha256_hex(b""), now());
                }
            }
        }
    }

    #[test]
    fn what_we_sign_we_let_in(
        path in "/[ -~]{0,30}",
        query in "[ -~]{0,30}",
        value in "[ -~]{0,20}",
        body in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let headers = [("host", "h:1"), ("x-own", value.as_str())];
        let request = Request { method: "PUT", path: &path, query: &query, headers: &headers };
        let credentials =
            Credentials { access_key: "A/B", secret_key: SECRET, session_token: Some("t") };
        let hash = sha256_hex(&body);
        for service in ["lambda", "s3"] {
            let added = sign(&request, &hash, &credentials, ("eu-west-1", service), now());
            let mut headers = headers.to_vec();
            headers.extend(added.iter().map(|(name, value)| (*name, value.as_str())));
            let request = Request { headers: &headers, ..request };
            let presented = Presented::read(&request).unwrap().unwrap();
            prop_assert_eq!(presented.verify(&request, SECRET, &hash, now()), Ok(()));
        }
    }
}

#[test]
fn only_the_same_is_the_same() {
    let check = |one: &str, other: &str| {
        assert_eq!(same(one.as_bytes(), other.as_bytes()), one == other, "{one} {other}");
    };
    for (one, other) in [("", ""), ("a", "a"), ("a", "b"), ("a", ""), ("ab", "abc")] {
        check(one, other);
    }
}

#[test]
fn no_time_is_read_from_what_is_none() {
    for text in [
        "20260231T000000Z",
        "20261301T000000Z",
        "19691231T235959Z",
        "20260101T240000Z",
        "+0260101T000000Z",
        "20260100T000000Z",
        "",
    ] {
        assert_eq!(parse_time(text), None, "{text}");
    }
    assert_eq!(time(0), "19700101T000000Z");
    assert_eq!(parse_time("20240229T000000Z"), Some(1_709_164_800));
}
