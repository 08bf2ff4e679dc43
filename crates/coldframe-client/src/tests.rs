use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;

const LIMITS: Limits = Limits { time: Duration::from_secs(20), answer_bytes: 1 << 16 };

/// An authority of the test's own.
struct Ca {
    certificate: Certificate,
    key: KeyPair,
}

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        Self { certificate: params.self_signed(&key).unwrap(), key }
    }

    /// A server's, for this name.
    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> ServerConfig {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        server_config(&params.signed_by(&key, &self.certificate, &self.key).unwrap(), &key)
    }

    fn write(&self, path: &Path) {
        std::fs::write(path, self.certificate.pem()).unwrap();
    }
}

fn server_config(certificate: &Certificate, key: &KeyPair) -> ServerConfig {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap()
}

/// Answers each request with its method, path and body; tells how many connections it has had.
async fn server(tls: Option<ServerConfig>) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let (counted, tls) = (connections.clone(), tls.map(Arc::new).map(TlsAcceptor::from));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let tls = tls.clone();
            tokio::spawn(async move {
                let service = service_fn(echo);
                match tls {
                    None => {
                        let stream = TokioIo::new(stream);
                        let _ = http1::Builder::new().serve_connection(stream, service).await;
                    }
                    Some(tls) => {
                        let Ok(stream) = tls.accept(stream).await else { return };
                        let stream = TokioIo::new(stream);
                        let _ = http1::Builder::new().serve_connection(stream, service).await;
                    }
                }
            });
        }
    });
    (port, connections)
}

async fn echo(
    request: hyper::Request<hyper::body::Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let host = head.headers["host"].to_str().unwrap();
    let said = format!("{} {host} {} ", head.method, head.uri).into_bytes();
    Ok(hyper::Response::new(Full::new([said, body.to_vec()].concat().into())))
}

fn endpoint(text: &str) -> Endpoint {
    text.parse().unwrap()
}

fn request(endpoint: &Endpoint, limits: Limits) -> Request<'_> {
    Request {
        endpoint,
        method: Method::POST,
        target: "/a%20b?c=d",
        headers: &[("x-one", "1")],
        body: Bytes::from_static(b"body"),
        signature: None,
        limits,
    }
}

async fn ask(client: &Client, endpoint: &Endpoint, limits: Limits) -> Result<Answer, Error> {
    let request = request(endpoint, limits);
    tokio::time::timeout(Duration::from_secs(30), client.send(request)).await.unwrap()
}

async fn error(client: &Client, url: &str) -> String {
    let error = ask(client, &endpoint(url), LIMITS).await.unwrap_err();
    error.chain().replace(url, "URL")
}

/// One request of [`ask`].
async fn arrived(stream: &mut TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"body") {
        assert!(stream.read_buf(&mut request).await.unwrap() > 0);
    }
}

/// A connection waits, a moment after its answer.
async fn kept(client: &Client) {
    let kept = async {
        while client.inner.pool.len() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), kept).await.unwrap();
}

fn trusting(path: &Path) -> Client {
    Client::new(Trust::File { variable: "AWS_CA_BUNDLE", path: path.to_owned() })
}

#[test]
fn endpoints_are_read() {
    let check = |text: &str, expected: Result<&str, ()>| {
        let read = text.parse::<Endpoint>().map(|endpoint| endpoint.to_string());
        assert_eq!(read.as_deref().map_err(|_| ()), expected, "{text}");
    };
    for good in [
        "http://127.0.0.1:5000",
        "http://minio",
        "http://[::1]",
        "https://[::1]:9000",
        "https://sqs.eu-west-1.amazonaws.com",
    ] {
        check(good, Ok(good));
    }
    check("https://minio:9000/", Ok("https://minio:9000"));
    for bad in [
        "http://host/path",
        "http://user@host",
        "http://user:password@host:80",
        "http://host:80@host:80",
        "http://@host:80",
        "http://host%2f",
        "http://host:80:80",
        "http://::1",
        "http://[::1",
        "http://host:port",
        "http://host:70000",
        "http://host:0",
        "http://host?a",
        "http://host/#a",
        "http://",
        "https:///",
        "ftp://host",
        "127.0.0.1:5000",
        "",
    ] {
        check(bad, Err(()));
    }
    for zone in ["http://[fe80::1%eth0]:80", "https://[fe80::1%25eth0]"] {
        assert_eq!(zone.parse::<Endpoint>(), Err(EndpointError::Zone));
    }
    let (endpoint, path) = Endpoint::split("https://host:1/a/b").unwrap();
    assert_eq!((endpoint.to_string().as_str(), path), ("https://host:1", "/a/b"));
}

#[tokio::test]
async fn plain_http_reuses_its_connection_and_makes_nothing_of_tls() {
    let (port, connections) = server(None).await;
    let client = Client::default();
    let url = format!("http://localhost:{port}");
    for _ in 0..3 {
        let answer = ask(&client, &endpoint(&url), LIMITS).await.unwrap();
        kept(&client).await;
        assert_eq!(answer.status, StatusCode::OK);
        let said = format!("POST localhost:{port} /a%20b?c=d body");
        assert_eq!(answer.body, said.as_bytes());
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    assert!(client.inner.tls.lock().await.is_none());
}

#[tokio::test]
async fn what_is_signed_says_so() {
    let endpoint = endpoint("https://localhost:1");
    let credentials = Credentials {
        access_key: "AKID".to_owned(),
        secret_key: "secret".to_owned(),
        session_token: None,
    };
    let signature = Signature { credentials: &credentials, region: "eu-west-1", service: "sqs" };
    let request = Request {
        endpoint: &endpoint,
        method: Method::GET,
        target: "/",
        headers: &[],
        body: Bytes::new(),
        signature: Some(signature),
        limits: LIMITS,
    };
    let made = make(&request).unwrap();
    let authorization = made.headers()["authorization"].to_str().unwrap();
    assert!(authorization.contains("/eu-west-1/sqs/aws4_request"), "{authorization}");
    assert!(!format!("{request:?}").contains("secret\""));
}

#[tokio::test]
async fn tls_reuses_its_connection() {
    let (ca, directory) = (Ca::new("ours"), tempfile::tempdir().unwrap());
    let bundle = directory.path().join("ca.pem");
    ca.write(&bundle);
    for host in ["localhost", "127.0.0.1"] {
        let (port, connections) = server(Some(ca.issue(host, |_| {}))).await;
        let client = trusting(&bundle);
        let url = format!("https://{host}:{port}");
        for _ in 0..3 {
            let answer = ask(&client.clone(), &endpoint(&url), LIMITS).await.unwrap();
            kept(&client).await;
            let said = format!("POST {host}:{port} /a%20b?c=d body");
            assert_eq!(answer.body, said.as_bytes());
        }
        assert_eq!(connections.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn certificates_that_are_not_good_are_told() {
    let (ca, directory) = (Ca::new("ours"), tempfile::tempdir().unwrap());
    let bundle = directory.path().join("ca.pem");
    ca.write(&bundle);
    let of = format!("AWS_CA_BUNDLE ({})", bundle.display());
    let client = trusting(&bundle);
    let check = async |config, expected: &str| {
        let (port, _) = server(Some(config)).await;
        let told = error(&client, &format!("https://localhost:{port}")).await;
        let expected = format!("no answer came from URL: {expected}");
        assert!(told.starts_with(&expected), "{told}");
    };
    let other = Ca::new("theirs");
    check(
        other.issue("localhost", |_| {}),
        &format!("its certificate is signed by no authority of {of}"),
    )
    .await;
    check(ca.issue("example.com", |_| {}), "its certificate is for example.com, not for this host")
        .await;
    let old = |params: &mut CertificateParams| params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    check(
        ca.issue("localhost", old),
        "its certificate is not valid: invalid peer certificate: certificate expired",
    )
    .await;
    // As `openssl req -x509` makes them.
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let itself = params.self_signed(&key).unwrap();
    let both = directory.path().join("both.pem");
    std::fs::write(&both, itself.pem()).unwrap();
    let (port, _) = server(Some(server_config(&itself, &key))).await;
    let told = error(&trusting(&both), &format!("https://localhost:{port}")).await;
    assert!(told.contains("its certificate is one of an authority itself"), "{told}");
}

#[tokio::test]
async fn who_is_trusted_is_read_again_when_it_was_wrong() {
    let (ca, directory) = (Ca::new("ours"), tempfile::tempdir().unwrap());
    let bundle = directory.path().join("ca.pem");
    let (port, _) = server(Some(ca.issue("localhost", |_| {}))).await;
    let (client, url) = (trusting(&bundle), format!("https://localhost:{port}"));
    let told = error(&client, &url).await;
    assert!(told.contains("the certificates of AWS_CA_BUNDLE"), "{told}");
    assert!(told.contains("No such file"), "{told}");
    std::fs::write(&bundle, "no certificate").unwrap();
    let told = error(&client, &url).await;
    assert!(told.contains("they hold no certificate"), "{told}");
    Ca::new("theirs").write(&bundle);
    let told = error(&client, &url).await;
    assert!(told.contains("is signed by no authority"), "{told}");
    ca.write(&bundle);
    ask(&client, &endpoint(&url), LIMITS).await.unwrap();
}

#[tokio::test]
async fn who_speaks_no_tls_is_told() {
    let (port, _) = server(None).await;
    let (ca, directory) = (Ca::new("ours"), tempfile::tempdir().unwrap());
    let bundle = directory.path().join("ca.pem");
    ca.write(&bundle);
    let told = error(&trusting(&bundle), &format!("https://localhost:{port}")).await;
    assert!(told.contains("it does not speak TLS: is it http?"), "{told}");
}

#[tokio::test]
async fn who_is_not_there_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let told = error(&Client::default(), &format!("http://127.0.0.1:{port}")).await;
    assert!(
        told.starts_with("no answer came from URL: it cannot be reached: Connection refused"),
        "{told}"
    );
    let told = error(&Client::default(), "http://absent.invalid").await;
    assert!(told.contains("it cannot be reached: failed to lookup address"), "{told}");
}

#[tokio::test]
async fn answers_have_an_end_in_time_and_in_bytes() {
    // It listens and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = endpoint(&format!("http://{}", listener.local_addr().unwrap()));
    let short = Limits { time: Duration::from_millis(50), ..LIMITS };
    let told = ask(&Client::default(), &silent, short).await.unwrap_err();
    assert!(matches!(told.why, Why::Timeout(_)), "{told:?}");
    // Nor by TLS.
    let (ca, directory) = (Ca::new("ours"), tempfile::tempdir().unwrap());
    let bundle = directory.path().join("ca.pem");
    ca.write(&bundle);
    let silent = endpoint(&format!("https://{}", listener.local_addr().unwrap()));
    let told = ask(&trusting(&bundle), &silent, short).await.unwrap_err();
    assert!(matches!(told.why, Why::Timeout(_)), "{told:?}");
    let (port, _) = server(None).await;
    let talks = endpoint(&format!("http://localhost:{port}"));
    let few = Limits { answer_bytes: 10, ..LIMITS };
    let told = ask(&Client::default(), &talks, few).await.unwrap_err();
    assert!(matches!(told.why, Why::TooLong(10)), "{told:?}");
}

#[tokio::test]
async fn bodies_are_read_into_one_piece_of_their_size() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let talks = endpoint(&format!("http://{}", listener.local_addr().unwrap()));
    let check = async |answer: &str, bytes_max: usize, expected: Result<&str, &str>| {
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            arrived(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream
        };
        let limits = Limits { answer_bytes: bytes_max, ..LIMITS };
        let client = Client::default();
        let (told, _stream) = tokio::join!(ask(&client, &talks, limits), serve);
        let told = told.map(|answer| String::from_utf8(answer.body.into()).unwrap());
        let told = told.as_deref().map_err(|error| error.why.to_string());
        assert_eq!(told, expected.map_err(str::to_owned), "{answer}");
    };
    let length = |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n";
    let long = Err("its answer is longer than 4 bytes");
    check(&format!("{}abcd", length(4)), 4, Ok("abcd")).await;
    // Refused by what it says: it says no more.
    check(&length(5), 4, long).await;
    check(&length(1 << 40), 4, long).await;
    check(&format!("{chunks}0\r\n\r\n"), 5, Ok("abcde")).await;
    check(chunks, 4, long).await;
    check(&length(0), 0, Ok("")).await;
    check("HTTP/1.1 204 No Content\r\n\r\n", 0, Ok("")).await;
}

#[tokio::test]
async fn who_takes_nothing_keeps_no_connection() {
    let (ca, directory) = (Ca::new("ours"), tempfile::tempdir().unwrap());
    let bundle = directory.path().join("ca.pem");
    ca.write(&bundle);
    let tls = TlsAcceptor::from(Arc::new(ca.issue("localhost", |_| {})));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let endpoint = endpoint(&format!("https://localhost:{port}"));
    let client = trusting(&bundle);
    let request = Request {
        endpoint: &endpoint,
        method: Method::POST,
        target: "/",
        headers: &[],
        // More than the kernel holds for a peer that doesn't read.
        body: vec![0; 64 << 20].into(),
        signature: None,
        limits: Limits { time: Duration::from_secs(1), ..LIMITS },
    };
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        tls.accept(stream).await.unwrap()
    };
    let (told, stream) = tokio::join!(client.send(request), serve);
    assert!(matches!(told.unwrap_err().why, Why::Timeout(_)));
    let metrics = tokio::runtime::Handle::current().metrics();
    let ended = async {
        while metrics.num_alive_tasks() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the task still waits");
    drop(stream);
}

#[tokio::test]
async fn a_connection_given_up_while_it_waited_costs_a_second_try_only() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let talks = endpoint(&format!("http://{}", listener.local_addr().unwrap()));
    // One connection, closed after the last of its requests, answered or not.
    let serve = async |answers: &[bool]| {
        let (mut stream, _) = listener.accept().await.unwrap();
        for answered in answers {
            arrived(&mut stream).await;
            if *answered {
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            }
        }
    };
    let client = Client::default();
    let ask = async |method| {
        let request = Request { method, ..request(&talks, LIMITS) };
        client.send(request).await.map(|answer| answer.status)
    };
    let (told, ()) = tokio::join!(ask(Method::PUT), serve(&[false]));
    assert!(matches!(told.unwrap_err().why, Why::Closed), "it was a new one");
    let twice = async |method| {
        ask(Method::POST).await.unwrap();
        kept(&client).await;
        ask(method).await
    };
    let served = async {
        serve(&[true, false]).await;
        serve(&[true]).await;
    };
    let both = async { tokio::join!(twice(Method::PUT), served).0 };
    let answer = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
    assert_eq!(answer.unwrap(), StatusCode::NO_CONTENT);
    // What the server may have done already is not asked again.
    client.inner.pool.abort();
    let both = async { tokio::join!(twice(Method::POST), serve(&[true, false])).0 };
    let told = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
    assert!(matches!(told.unwrap_err().why, Why::Closed));
    // What it can't have done is.
    let unwritten = async {
        ask(Method::POST).await.unwrap();
        kept(&client).await;
        // The task ends before it takes the next request.
        client.inner.pool.abort();
        ask(Method::POST).await
    };
    let served = async {
        // It stays open, and nothing more comes by it.
        let (mut first, _) = listener.accept().await.unwrap();
        arrived(&mut first).await;
        first.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        serve(&[true]).await;
        assert_eq!(first.read(&mut [0]).await.unwrap(), 0);
    };
    let both = async { tokio::join!(unwritten, served).0 };
    let answer = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
    assert_eq!(answer.unwrap(), StatusCode::NO_CONTENT);
}
