use serde_json::{Value, json};

use super::{Input, Unreadable};
use crate::model::{Model, message, query_pairs};

/// Sends a request through the route and the check; an empty `body` is none.
fn run(
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &Value,
    skip: &[&str],
) -> Result<String, Unreadable> {
    let model = Model::get();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let route = model.route(method, path, query).unwrap();
    let query = query_pairs(query).unwrap();
    let body = (!body.is_null()).then_some(body);
    let input =
        Input { labels: &route.labels, query: &query, headers: headers.iter().copied(), body };
    let violations = model.check(route.operation, &input, skip)?;
    Ok(if violations.is_empty() { String::new() } else { message(&violations) })
}

/// `broken` are the parts of the message; none if the request is sound.
#[track_caller]
fn check(method: &str, target: &str, body: Value, broken: &[&str]) {
    check_all(method, target, &[], body, &[], broken);
}

#[track_caller]
fn check_all(
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: Value,
    skip: &[&str],
    broken: &[&str],
) {
    let expected = match broken {
        [] => String::new(),
        [one] => format!("1 validation error detected: {one}"),
        many => format!("{} validation errors detected: {}", many.len(), many.join("; ")),
    };
    assert_eq!(run(method, target, headers, &body, skip).as_deref(), Ok(expected.as_str()));
}

#[track_caller]
fn check_unreadable(method: &str, target: &str, body: Value, text: &str) {
    let error = run(method, target, &[], &body, &[]).unwrap_err();
    assert_eq!(error.to_string(), text);
}

const FUNCTIONS: &str = "/2015-03-31/functions";
const FUNCTION: &str = "/2015-03-31/functions/f";
const CONFIGURATION: &str = "/2015-03-31/functions/f/configuration";
const ROLE: &str = "arn:aws:iam::123456789012:role/r";

fn function(more: Value) -> Value {
    let mut body = json!({"FunctionName": "f", "Role": ROLE, "Code": {"ZipFile": "UEsFBg=="}});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// Spec: service API, section 2.2, examples recorded.
#[test]
fn recorded_messages() {
    check(
        "PUT",
        "/2019-09-30/functions/f/provisioned-concurrency?Qualifier=1",
        json!({"ProvisionedConcurrentExecutions": 0}),
        &["Value '0' at 'provisionedConcurrentExecutions' failed to satisfy constraint: \
           Member must have value greater than or equal to 1"],
    );
    check(
        "POST",
        FUNCTIONS,
        function(json!({"Role": "r1"})),
        &[
            r"Value 'r1' at 'role' failed to satisfy constraint: Member must satisfy regular expression pattern: arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+",
        ],
    );
    check(
        "POST",
        FUNCTIONS,
        function(json!({"Architectures": ["x86_64", "arm64"]})),
        &["Value '[x86_64, arm64]' at 'architectures' failed to satisfy constraint: \
           Member must have length less than or equal to 1"],
    );
    check(
        "POST",
        FUNCTIONS,
        function(json!({"Architectures": ["X86_64"]})),
        &[
            "Value '[X86_64]' at 'architectures' failed to satisfy constraint: Member must satisfy constraint: \
           [Member must satisfy enum value set: [x86_64, arm64], Member must not be null]",
        ],
    );
    check(
        "PUT",
        "/2015-03-31/functions/f/aliases/a",
        json!({"RoutingConfig": {"AdditionalVersionWeights": {"2": -1.0}}}),
        &[
            "Value '{2=-1.0}' at 'routingConfig.additionalVersionWeights' failed to satisfy constraint: \
           Map value must satisfy constraint: [Member must have value less than or equal to 1.0, \
           Member must have value greater than or equal to 0.0, Member must not be null]",
        ],
    );
    check(
        "DELETE",
        "/2017-03-31/tags/arn:aws:lambda:us-east-1:123456789012:function:f",
        Value::Null,
        &["Value null at 'tagKeys' failed to satisfy constraint: Member must not be null"],
    );
}

/// Spec: service API, section 2.1, rules.
#[test]
fn names_and_qualifiers() {
    let name = Model::get()
        .shape_named("NamespacedFunctionName")
        .unwrap()
        .pattern
        .as_ref()
        .unwrap()
        .text();
    check(
        "GET",
        "/2015-03-31/functions/invalid%3Afunction%3Aname",
        Value::Null,
        &[&format!(
            "Value 'invalid:function:name' at 'functionName' failed to satisfy constraint: \
             Member must satisfy regular expression pattern: {name}"
        )],
    );
    let arn = format!("arn:aws:lambda:us-east-1:123456789012:function:{}", "f".repeat(100));
    let long = format!(
        "Value '{arn}' at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 140"
    );
    check("POST", FUNCTIONS, function(json!({"FunctionName": arn})), &[&long]);
    check("GET", &format!("{FUNCTIONS}/{}", "f".repeat(140)), Value::Null, &[]);
    check(
        "GET",
        &format!("{FUNCTION}?Qualifier=a%20b"),
        Value::Null,
        &[
            r"Value 'a b' at 'qualifier' failed to satisfy constraint: Member must satisfy regular expression pattern: \$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+",
        ],
    );
    let qualifier = "q".repeat(129);
    let long = format!(
        "Value '{qualifier}' at 'qualifier' failed to satisfy constraint: Member must have length less than or equal to 128"
    );
    check("GET", &format!("{FUNCTION}?Qualifier={qualifier}"), Value::Null, &[&long]);
    check("GET", &format!("{FUNCTION}?Qualifier=%24latest"), Value::Null, &[]);
}

#[test]
fn several_errors_are_one_message() {
    check(
        "POST",
        "/2015-03-31/functions/f/aliases",
        json!({"Name": ""}),
        &[
            "Value null at 'functionVersion' failed to satisfy constraint: Member must not be null",
            "Value '' at 'name' failed to satisfy constraint: Member must have length greater than or equal to 1",
            "Value '' at 'name' failed to satisfy constraint: \
             Member must satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)",
        ],
    );
    check(
        "POST",
        FUNCTIONS,
        Value::Null,
        &[
            "Value null at 'code' failed to satisfy constraint: Member must not be null",
            "Value null at 'functionName' failed to satisfy constraint: Member must not be null",
            "Value null at 'role' failed to satisfy constraint: Member must not be null",
        ],
    );
}

#[test]
fn sound_requests() {
    check("POST", FUNCTIONS, function(json!({})), &[]);
    check(
        "POST",
        FUNCTIONS,
        function(json!({"Unknown": {"A": 1}, "Description": null, "Handler": null})),
        &[],
    );
    check(
        "POST",
        FUNCTIONS,
        function(json!({"MemorySize": 128, "Timeout": 900, "Layers": []})),
        &[],
    );
    check("PUT", CONFIGURATION, json!({"Environment": {"Variables": {"AB": "v", "C_1": ""}}}), &[]);
    check("GET", &format!("{FUNCTIONS}?MaxItems=10000&Marker=m"), Value::Null, &[]);
    // A body where none belongs is not read.
    check("GET", FUNCTION, json!([1]), &[]);
    check("POST", "/2015-03-31/functions/f/invocations", Value::Null, &[]);
    check(
        "DELETE",
        "/2017-03-31/tags/arn:aws:lambda:us-east-1:123456789012:function:f?tagKeys=a&tagKeys=b",
        Value::Null,
        &[],
    );
    check(
        "POST",
        "/2015-03-31/event-source-mappings",
        json!({"FunctionName": "f", "StartingPositionTimestamp": 1.5, "BatchSize": 10}),
        &[],
    );
    check(
        "POST",
        "/2015-03-31/event-source-mappings",
        json!({"FunctionName": "f", "StartingPositionTimestamp": "2025-01-01T00:00:00Z"}),
        &[],
    );
}

#[test]
fn nested_members() {
    check(
        "PUT",
        CONFIGURATION,
        json!({"SnapStart": {"ApplyOn": "Always"}}),
        &["Value 'Always' at 'snapStart.applyOn' failed to satisfy constraint: \
           Member must satisfy enum value set: [PublishedVersions, None]"],
    );
    check(
        "PUT",
        "/2019-09-25/functions/f/event-invoke-config",
        json!({"DestinationConfig": {"OnFailure": {"Destination": "x"}}}),
        &[&format!(
            "Value 'x' at 'destinationConfig.onFailure.destination' failed to satisfy constraint: \
             Member must satisfy regular expression pattern: {}",
            Model::get().shape_named("DestinationArn").unwrap().pattern.as_ref().unwrap().text()
        )],
    );
    check(
        "PUT",
        CONFIGURATION,
        json!({"EphemeralStorage": {}}),
        &[
            "Value null at 'ephemeralStorage.size' failed to satisfy constraint: Member must not be null",
        ],
    );
    check(
        "PUT",
        CONFIGURATION,
        json!({"FileSystemConfigs": [{"LocalMountPath": "/mnt/a"}]}),
        &[
            "Value null at 'fileSystemConfigs.1.member.arn' failed to satisfy constraint: Member must not be null",
        ],
    );
    check(
        "PUT",
        CONFIGURATION,
        json!({"FileSystemConfigs": [null]}),
        &[
            "Value null at 'fileSystemConfigs.1.member' failed to satisfy constraint: Member must not be null",
        ],
    );
    check(
        "PUT",
        CONFIGURATION,
        json!({"KMSKeyArn": "k"}),
        &["Value 'k' at 'kMSKeyArn' failed to satisfy constraint: \
           Member must satisfy regular expression pattern: (arn:(aws[a-zA-Z-]*)?:[a-z0-9-.]+:.*)|()"],
    );
}

#[test]
fn lists_and_maps() {
    check(
        "PUT",
        CONFIGURATION,
        json!({"VpcConfig": {"SubnetIds": ["subnet-1", null]}}),
        &["Value '[subnet-1, null]' at 'vpcConfig.subnetIds' failed to satisfy constraint: \
           Member must satisfy constraint: [Member must have length less than or equal to 1024, \
           Member must have length greater than or equal to 0, \
           Member must satisfy regular expression pattern: subnet-[0-9a-z]*, Member must not be null]"],
    );
    check(
        "PUT",
        "/2015-03-31/functions/f/aliases/a",
        json!({"RoutingConfig": {"AdditionalVersionWeights": {"a": 2}}}),
        &[
            "Value '{a=2.0}' at 'routingConfig.additionalVersionWeights' failed to satisfy constraint: \
             Map keys must satisfy constraint: [Member must have length less than or equal to 1024, \
             Member must have length greater than or equal to 1, \
             Member must satisfy regular expression pattern: [0-9]+, Member must not be null]",
            "Value '{a=2.0}' at 'routingConfig.additionalVersionWeights' failed to satisfy constraint: \
             Map value must satisfy constraint: [Member must have value less than or equal to 1.0, \
             Member must have value greater than or equal to 0.0, Member must not be null]",
        ],
    );
    check(
        "POST",
        "/2015-03-31/event-source-mappings",
        json!({"FunctionName": "f", "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": []}}}),
        &[
            "Value '{KAFKA_BOOTSTRAP_SERVERS=[]}' at 'selfManagedEventSource.endpoints' failed to satisfy constraint: \
           Map value must satisfy constraint: [Member must have length less than or equal to 10, \
           Member must have length greater than or equal to 1, Member must satisfy constraint: \
           [Member must have length less than or equal to 300, Member must have length greater than or equal to 1, \
           Member must satisfy regular expression pattern: \
           (([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\\-]*[a-zA-Z0-9])\\.)*([A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9\\-]*[A-Za-z0-9]):[0-9]{1,5}, \
           Member must not be null], Member must not be null]",
        ],
    );
    check(
        "DELETE",
        "/2017-03-31/tags/arn:aws:lambda:us-east-1:123456789012:function:f?tagKeys=a&tagKeys=b!",
        Value::Null,
        &[
            "Value '[a, b!]' at 'tagKeys' failed to satisfy constraint: Member must satisfy constraint: \
           [Member must have length less than or equal to 128, Member must have length greater than or equal to 1, \
           Member must satisfy regular expression pattern: ([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*), Member must not be null]",
        ],
    );
}

/// Spec: service API, appendix C.
#[test]
fn values_of_appendix_c() {
    let range = |member: &str, value: i64, broken: &str| {
        let text = format!(
            "Value '{value}' at '{}' failed to satisfy constraint: Member must have value {broken}",
            {
                let (first, rest) = member.split_at(1);
                first.to_lowercase() + rest
            }
        );
        let broken: &[&str] = if broken.is_empty() { &[] } else { &[&text] };
        let target = "/2015-03-31/event-source-mappings/12345678-1234-1234-1234-123456789012";
        let configuration = ["Timeout", "MemorySize"].contains(&member);
        check(
            "PUT",
            if configuration { CONFIGURATION } else { target },
            json!({member: value}),
            broken,
        );
    };
    range("Timeout", 0, "greater than or equal to 1");
    range("Timeout", 1, "");
    range("Timeout", 5400, "");
    range("Timeout", 5401, "less than or equal to 5400");
    range("MemorySize", 127, "greater than or equal to 128");
    range("MemorySize", 32769, "less than or equal to 32768");
    range("BatchSize", 10_001, "less than or equal to 10000");
    range("MaximumRecordAgeInSeconds", -1, "");
    range("MaximumRecordAgeInSeconds", -2, "greater than or equal to -1");
    range("ParallelizationFactor", 11, "less than or equal to 10");
    range("TumblingWindowInSeconds", 901, "less than or equal to 900");
    check(
        "GET",
        &format!("{FUNCTIONS}?MaxItems=0"),
        Value::Null,
        &[
            "Value '0' at 'maxItems' failed to satisfy constraint: Member must have value greater than or equal to 1",
        ],
    );
    // Length counts characters, not bytes.
    check("PUT", CONFIGURATION, json!({"Description": "é".repeat(256)}), &[]);
    let description = "é".repeat(257);
    let long = format!(
        "Value '{description}' at 'description' failed to satisfy constraint: Member must have length less than or equal to 256"
    );
    check("PUT", CONFIGURATION, json!({"Description": description}), &[&long]);
}

#[test]
fn headers_are_members() {
    let invoke = "/2015-03-31/functions/f/invocations";
    let broken = "Value 'Sync' at 'invocationType' failed to satisfy constraint: \
                  Member must satisfy enum value set: [Event, RequestResponse, DryRun]";
    check_all("POST", invoke, &[("x-amz-invocation-type", "Event")], Value::Null, &[], &[]);
    check_all("POST", invoke, &[("X-Amz-Invocation-Type", "Sync")], Value::Null, &[], &[broken]);
    check_all("POST", invoke, &[("x-other", "Sync")], Value::Null, &[], &[]);
}

#[test]
fn a_payload_is_the_body() {
    let stop = "/2025-12-01/durable-executions/arn:aws:lambda:us-east-1:123456789012:function:f:1/durable-execution/n/i/stop";
    check("POST", stop, json!({"ErrorMessage": "m", "StackTrace": ["a"]}), &[]);
    check_unreadable(
        "POST",
        stop,
        json!({"ErrorMessage": 1}),
        "NUMBER_VALUE can not be converted to a String",
    );
}

#[test]
fn skipped_members_are_not_constrained() {
    let body = function(json!({"Runtime": "cobol", "VpcConfig": {"SubnetIds": ["x"]}}));
    check_all("POST", FUNCTIONS, &[], body.clone(), &["runtime", "vpcConfig"], &[]);
    let error = run("POST", FUNCTIONS, &[], &function(json!({"Runtime": 1})), &["runtime"]);
    assert_eq!(error, Err(Unreadable::Scalar("NUMBER_VALUE", "a String")));
    let text = run("POST", FUNCTIONS, &[], &body, &["vpcConfig.subnetIds"]).unwrap();
    assert!(
        text.starts_with("1 validation error detected: Value 'cobol' at 'runtime' failed"),
        "{text}"
    );
    check_all("POST", FUNCTIONS, &[], Value::Null, &["code", "functionName", "role"], &[]);
}

#[test]
fn sensitive_values_are_not_shown() {
    check(
        "PUT",
        CONFIGURATION,
        json!({"Environment": {"Variables": {"a-b": "secret"}}}),
        &[
            "Value at 'environment.variables' failed to satisfy constraint: Map keys must satisfy constraint: \
           [Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+, Member must not be null]",
        ],
    );
}

#[test]
fn wrong_types() {
    let body = |body: Value, text: &str| check_unreadable("PUT", CONFIGURATION, body, text);
    body(json!({"Timeout": "3"}), "STRING_VALUE can not be converted to an Integer");
    body(json!({"Timeout": 3.5}), "NUMBER_VALUE can not be converted to an Integer");
    body(json!({"Timeout": 4_294_967_296_i64}), "NUMBER_VALUE can not be converted to an Integer");
    body(json!({"Handler": 1}), "NUMBER_VALUE can not be converted to a String");
    body(json!({"Handler": true}), "TRUE_VALUE can not be converted to a String");
    body(json!({"Handler": ["a"]}), "Start of list found where not expected");
    body(json!({"Handler": {}}), "Start of structure or map found where not expected.");
    body(json!({"Layers": "l"}), "Expected list or null");
    body(json!({"Layers": [1]}), "NUMBER_VALUE can not be converted to a String");
    body(json!({"Environment": "e"}), "Expected structure, map or null");
    body(
        json!({"Environment": {"Variables": {"AB": 1}}}),
        "NUMBER_VALUE can not be converted to a String",
    );
    body(json!([]), "Expected structure, map or null");
    body(json!("text"), "Expected structure, map or null");
    let query = |query: &str, text: &str| {
        check_unreadable("GET", &format!("{FUNCTIONS}?{query}"), Value::Null, text);
    };
    query("MaxItems=ten", "STRING_VALUE can not be converted to an Integer");
    query("MaxItems=", "STRING_VALUE can not be converted to an Integer");
    query("MaxItems=3000000000", "NUMBER_VALUE can not be converted to an Integer");
}

/// A long value against a pattern of many states must not take long.
#[test]
fn hopeless_values_skip_their_pattern() {
    let text = run(
        "PUT",
        "/2019-09-25/functions/f/event-invoke-config",
        &[],
        &json!({"DestinationConfig": {"OnFailure": {"Destination": "kafka://".repeat(10_000)}}}),
        &[],
    );
    let text = text.unwrap();
    assert!(text.starts_with("1 validation error detected: "), "{}", &text[..40]);
    assert!(text.ends_with("Member must have length less than or equal to 350"));
}

#[test]
fn base64_lengths() {
    let check = |text: &str, bytes: usize| assert_eq!(super::decoded_len(text), bytes, "{text}");
    check("", 0);
    check("YQ==", 1);
    check("YWI=", 2);
    check("YWJj", 3);
    check("YWJjZA", 4);
}

/// Rules that hold for the facts as a whole, so that a new model does not slip past the check.
mod facts {
    use crate::model::{Kind, Location, Model};

    /// [`super::super::Check::parts`] tells one violation for a whole map, and does not look for
    /// members in it.
    #[test]
    fn no_map_holds_structures() {
        for shape in &Model::get().shapes {
            if let Kind::Map { value, .. } = shape.kind {
                assert!(
                    !matches!(Model::get().shape(value).kind, Kind::Structure(_)),
                    "{}",
                    shape.name
                );
            }
        }
    }

    #[test]
    fn members_outside_of_the_body_are_text() {
        for shape in &Model::get().shapes {
            for member in shape.members() {
                let part = &Model::get().shape(member.shape).kind;
                if matches!(member.location, Location::Uri | Location::Query | Location::Header) {
                    assert!(
                        !matches!(part, Kind::Structure(_) | Kind::Map { .. }),
                        "{}.{}",
                        shape.name,
                        member.name
                    );
                }
            }
        }
    }
}
