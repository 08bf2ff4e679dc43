use coldframe_core::identity::Session;
use coldframe_core::sigv4::{Credentials, Request, sign};
use coldframe_store::KeyRecord;

use super::*;

/// One environment lives.
struct One(Session);

impl Sessions for One {
    fn session(&self, access_key: &str) -> Option<Session> {
        (access_key == self.0.access_key).then(|| self.0.clone())
    }
}

fn living() -> Session {
    let account = AccountId::parse("123456789012").unwrap();
    let principal = Principal::Role { role: "r".into(), session: "f".into() };
    Session {
        access_key: "ASIALIVING".into(),
        secret_key: "environment's".into(),
        session_token: "token".into(),
        identity: Identity { account, principal },
    }
}

fn door(authentication: Authentication) -> (Access, Store) {
    let store = Store::open(None).unwrap();
    let record = KeyRecord {
        account: "123456789012".into(),
        user: "ann".into(),
        secret_key: "ann's".into(),
        created: String::new(),
    };
    store.create_key("AKIAANN", record).unwrap();
    let sessions = Arc::new(One(living()));
    (Access { authentication, sessions, default_region: "us-east-1".into() }, store)
}

/// A request for this path and query, signed or not.
fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = hyper::Request::builder().method("POST").uri(uri).header("host", "h");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn signed(access_key: &str, secret_key: &str, token: Option<&str>, at: u64) -> Parts {
    let request = Request { method: "POST", path: "/p", query: "", headers: &[("host", "h")] };
    let credentials = Credentials { access_key, secret_key, session_token: token };
    let hash = sigv4::sha256_hex(b"body");
    let added = sign(&request, &hash, &credentials, ("eu-west-1", "lambda"), at);
    let added: Vec<(&str, &str)> = added.iter().map(|(key, value)| (*key, &**value)).collect();
    parts("/p", &added)
}

async fn enter(
    access: &(Access, Store),
    parts: &Parts,
    body: &'static [u8],
) -> Result<Caller, Denied> {
    let (access, store) = access;
    access.admit(store, parts)?.verify(parts, &Bytes::from_static(body)).await
}

#[tokio::test]
async fn open_takes_account_and_region_from_the_scope() {
    let door = door(Authentication::Open);
    let check = async |uri: &str, authorization: &str, arn: &str, region: &str| {
        let headers = [("authorization", authorization), ("x-amz-date", "20261121T101112Z")];
        let headers = if authorization.is_empty() { &headers[..0] } else { &headers };
        let caller = enter(&door, &parts(uri, headers), b"").await.unwrap();
        assert_eq!(
            (&*caller.identity.to_string(), &*caller.region),
            (arn, region),
            "{uri} {authorization}"
        );
    };
    let scope = |key: &str, region: &str| {
        format!(
            "AWS4-HMAC-SHA256 Credential={key}/20261121/{region}/lambda/aws4_request, SignedHeaders=host, Signature=00"
        )
    };
    let (default, other) = ("arn:aws:iam::000000000000:root", "arn:aws:iam::123456789012:root");
    check("/p", &scope("AKIAEXAMPLE", "eu-west-1"), default, "eu-west-1").await;
    check("/p", &scope("123456789012", "eu-west-1"), other, "eu-west-1").await;
    check("/p", &scope("AKIA", "etc.passwd"), default, "us-east-1").await;
    check("/p", &scope("AKIAANN", "eu-west-1"), "arn:aws:iam::123456789012:user/ann", "eu-west-1")
        .await;
    check("/p?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=123456789012%2F20261121%2Feu-north-1%2Flambda%2Faws4_request&X-Amz-Date=20261121T101112Z&X-Amz-SignedHeaders=host&X-Amz-Signature=00", "", other, "eu-north-1").await;
    check("/p", "Bearer x", default, "us-east-1").await;
    check("/p", "", default, "us-east-1").await;
}

#[tokio::test]
async fn the_role_of_an_environment_is_known_where_nothing_is_checked() {
    let door = door(Authentication::Open);
    let caller = enter(&door, &signed("ASIALIVING", "any", Some("token"), 0), b"").await.unwrap();
    assert_eq!(caller.identity, living().identity);
    let caller = enter(&door, &signed("ASIADEAD", "any", Some("token"), 0), b"").await.unwrap();
    assert_eq!(caller.account, AccountId::default_account());
}

#[tokio::test]
async fn only_good_signatures_come_in() {
    let door = door(Authentication::Sigv4);
    let check = async |parts: &Parts, body: &'static [u8], expected: Result<&str, (&str, &str)>| {
        let entered = enter(&door, parts, body).await;
        let entered = entered.as_ref().map(|caller| caller.identity.to_string());
        match (entered, expected) {
            (Ok(arn), Ok(expected)) => assert_eq!(arn, expected),
            (Err(denied), Err((code, text))) => {
                assert_eq!(denied.codes().0, code, "{denied}");
                assert!(denied.to_string().starts_with(text), "{denied}");
            }
            (entered, expected) => panic!("{entered:?} is not {expected:?}"),
        }
    };
    let ann = Ok("arn:aws:iam::123456789012:user/ann");
    let role = Ok("arn:aws:sts::123456789012:assumed-role/r/f");
    let unknown = Err((
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
    ));
    let wrong =
        Err(("InvalidSignatureException", "The request signature we calculated does not match"));
    check(&signed("AKIAANN", "ann's", None, now()), b"body", ann).await;
    check(&signed("ASIALIVING", "environment's", Some("token"), now()), b"body", role).await;
    check(&signed("AKIAANN", "ben's", None, now()), b"body", wrong).await;
    check(&signed("AKIAANN", "ann's", None, now()), b"else", wrong).await;
    check(&signed("AKIABEN", "ann's", None, now()), b"body", unknown).await;
    check(&signed("AKIAANN", "ann's", Some("token"), now()), b"body", unknown).await;
    check(&signed("ASIALIVING", "environment's", None, now()), b"body", unknown).await;
    check(&signed("ASIALIVING", "environment's", Some("else"), now()), b"body", unknown).await;
    check(
        &signed("AKIAANN", "ann's", None, now() - 400),
        b"body",
        Err(("InvalidSignatureException", "Signature expired: ")),
    )
    .await;
    check(
        &signed("AKIAANN", "ann's", None, now() + 400),
        b"body",
        Err(("InvalidSignatureException", "Signature not yet current: ")),
    )
    .await;
    check(
        &parts("/p", &[]),
        b"",
        Err(("MissingAuthenticationTokenException", "Missing Authentication Token")),
    )
    .await;
    check(
        &parts("/p", &[("authorization", "AWS4-HMAC-SHA256 x")]),
        b"",
        Err(("IncompleteSignatureException", "'x' not a valid key=value pair")),
    )
    .await;
}

#[tokio::test]
async fn a_signature_holds_for_its_service() {
    let (access, store) = door(Authentication::Sigv4);
    let admitted = access.admit(&store, &signed("AKIAANN", "ann's", None, now())).unwrap();
    assert!(admitted.check_service("lambda").is_ok());
    assert_eq!(
        admitted.check_service("sts").unwrap_err().to_string(),
        "Credential should be scoped to correct service: 'sts'. "
    );
}

#[test]
fn long_bodies_have_the_same_hash() {
    let body = Bytes::from(vec![b'x'; HASHED_AT_ONCE_BYTES_MAX]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(sha256(&body)), sigv4::sha256_hex(&body));
}
