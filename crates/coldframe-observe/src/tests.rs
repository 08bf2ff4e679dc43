use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use coldframe_core::{FunctionArn, LogFormat, MemorySize, Runtime, Tracing};
use uuid::Uuid;

use super::*;

pub(crate) fn function(name: &str) -> Arc<FunctionVersion> {
    Arc::new(FunctionVersion {
        arn: FunctionArn {
            account: AccountId::default_account(),
            region: "eu-west-1".into(),
            name: name.into(),
        },
        version: "$LATEST".into(),
        revision: "1".into(),
        runtime: Runtime::parse("provided.al2023"),
        handler: "x".into(),
        role: "arn:aws:iam::000000000000:role/r".into(),
        memory: MemorySize::from_mb(128),
        timeout: Duration::from_secs(3),
        ephemeral_storage_mb: 512,
        environment: BTreeMap::new(),
        code: "/code".into(),
        layers: None,
        tracing: Tracing::PassThrough,
        log_format: LogFormat::Text,
        application_log_level: None,
        system_log_level: None,
        tenant_isolation: false,
        log_group: format!("/aws/lambda/{name}"),
    })
}

pub(crate) fn observe(directory: &std::path::Path) -> Observe {
    let stored_bytes_max = 1 << 30;
    let (logs, metrics) = (directory.join("logs"), directory.join("metrics"));
    Observe::start(Options { logs, metrics, stored_bytes_max, otlp: None }).unwrap()
}

fn lines(observe: &Observe) -> Vec<String> {
    let account = AccountId::default_account();
    let (lines, _) = observe.follow(&account, "eu-west-1", "/aws/lambda/f", |_| true);
    lines.into_iter().map(|line| line.text.to_string()).collect()
}

#[tokio::test]
async fn what_is_said_can_be_read_at_once_and_after_a_new_start() {
    let directory = tempfile::tempdir().unwrap();
    let first = observe(directory.path());
    let environment = EnvironmentId::from(Uuid::new_v4());
    let ear = first.environment(&function("f"), environment, "2026/11/21/[$LATEST]a");
    for number in 0..1000 {
        ear.line(SystemTime::now(), &format!("line {number}"));
    }
    first.settle().await;
    let said = lines(&first);
    assert_eq!(said.len(), 1000);
    assert_eq!((said[0].as_str(), said[999].as_str()), ("line 0\n", "line 999\n"));
    ear.line(SystemTime::now(), "last");
    drop(ear);
    first.close().await;
    // Nobody waits for a writer that has ended.
    first.settle().await;
    let second = observe(directory.path());
    second.settle().await;
    assert_eq!(lines(&second).len(), 1001);
    second.close().await;
}

#[tokio::test]
async fn a_line_wakes_a_writer_that_sleeps() {
    let directory = tempfile::tempdir().unwrap();
    let observe = observe(directory.path());
    observe.settle().await;
    let account = AccountId::default_account();
    let (_, mut following) = observe.follow(&account, "eu-west-1", "/aws/lambda/f", |_| true);
    let environment = EnvironmentId::from(Uuid::new_v4());
    let ear = observe.environment(&function("f"), environment, "s");
    for text in ["one", "two"] {
        // Long enough for it to have fallen asleep; that it has isn't needed.
        let _ = tokio::time::timeout(Duration::from_millis(2_500), following.recv()).await;
        ear.line(SystemTime::now(), text);
        let heard = tokio::time::timeout(Duration::from_secs(20), following.recv()).await;
        assert_eq!(&*heard.unwrap().unwrap().text, format!("{text}\n"));
    }
    observe.close().await;
}
