use std::time::Duration;

use coldframe_core::identity::Identity;
use coldframe_core::{AccountId, FunctionArn, MemorySize, Tracing};

use super::*;

fn variables(runtime: &str, customer: &[(&str, &str)]) -> BTreeMap<String, String> {
    let function = FunctionVersion {
        arn: FunctionArn {
            account: AccountId::default_account(),
            region: "eu-west-1".into(),
            name: "f".into(),
        },
        version: "$LATEST".into(),
        revision: "r".into(),
        runtime: Runtime::parse(runtime),
        handler: "app.handler".into(),
        role: "arn:aws:iam::000000000000:role/r".into(),
        memory: MemorySize::from_mb(256),
        timeout: Duration::from_secs(3),
        ephemeral_storage_mb: 512,
        environment: customer.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        code: "/nowhere".into(),
        layers: None,
        tracing: Tracing::PassThrough,
        log_format: LogFormat::Text,
        application_log_level: None,
        system_log_level: None,
        tenant_isolation: false,
        log_group: "/aws/lambda/f".into(),
    };
    let session = Session {
        access_key: "a".into(),
        secret_key: "s".into(),
        session_token: "t".into(),
        identity: Identity::root(AccountId::default_account()),
    };
    let credentials = Credentials { session: &session, metadata_token: "m".into() };
    of_runtime(&function, "stream", &credentials, "on-demand")
        .iter()
        .map(|variable| variable.split_once('=').unwrap())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

// Spec: execution-environment.md §6.1 and M1.
#[test]
fn ee_m1_reserved_names_are_ours_and_the_rest_is_the_customers() {
    let customer =
        [("AWS_REGION", "mars"), ("_HANDLER", "x"), ("_MINE", "x"), ("TZ", "CET"), ("MY", "1=2")];
    let seen = variables("python3.11", &customer);
    let check = |key: &str, value: Option<&str>| {
        assert_eq!(seen.get(key).map(String::as_str), value, "{key}");
    };
    check("AWS_REGION", Some("eu-west-1"));
    check("_HANDLER", Some("app.handler"));
    check("_MINE", None);
    check("TZ", Some("CET"));
    check("MY", Some("1=2"));
    check("AWS_EXECUTION_ENV", Some("AWS_Lambda_python3.11"));
    check("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", Some("256"));
    check("AWS_LAMBDA_LOG_LEVEL", None);
    check("AWS_LAMBDA_MAX_CONCURRENCY", None);
    check("HOME", None);
    assert!(RESERVED_VARIABLES.iter().filter(|key| seen.contains_key(**key)).count() >= 15);
}

#[test]
fn os_only_runtimes_have_no_execution_env() {
    assert!(!variables("provided.al2023", &[]).contains_key("AWS_EXECUTION_ENV"));
    assert!(variables("nodejs20.x", &[])["NODE_PATH"].starts_with("/opt/nodejs/node20/"));
}

// Spec: execution-environment.md §6.3 and M2.
#[test]
fn ee_m2_extensions_get_less() {
    let list = |variables: BTreeMap<String, String>| -> Vec<String> {
        variables.into_iter().map(|(key, value)| format!("{key}={value}")).collect()
    };
    let runtime = list(variables("python3.12", &[("MINE", "a=b")]));
    let extensions = of_extensions(&runtime);
    let has =
        |key: &str| extensions.iter().any(|variable| variable.starts_with(&format!("{key}=")));
    for key in [
        "MINE",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_REGION",
        "PATH",
        "TZ",
        "AWS_LAMBDA_METADATA_TOKEN",
    ] {
        assert!(has(key), "{key} is missing");
    }
    for key in RUNTIME_ONLY {
        assert!(!has(key), "{key} is for the runtime only");
    }
    assert!(extensions.iter().all(|variable| !variable.starts_with('_')));
    assert!(extensions.contains(&"MINE=a=b".to_owned()));
}

// Spec: execution-environment.md §6.10.
#[test]
fn zones_are_named_by_their_region() {
    for (region, expected) in [
        ("us-east-1", "use1-az1"),
        ("eu-west-3", "euw3-az1"),
        ("ap-southeast-2", "apse2-az1"),
        ("eu-central-1", "euc1-az1"),
        ("us-gov-west-1", "usgw1-az1"),
    ] {
        assert_eq!(zone(region), expected);
    }
}
