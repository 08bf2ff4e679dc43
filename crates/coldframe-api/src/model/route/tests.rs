use super::{Labels, Model, RouteError};

/// `expected` is the operation and its labels, as `Operation Label=value …`.
fn check(method: &str, target: &str, expected: Result<&str, RouteError>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let found = Model::get().route(method, path, query).map(|route| {
        let labels = route.labels.iter().map(|(name, value)| format!(" {name}={value}"));
        route.operation.name.clone() + &labels.collect::<String>()
    });
    assert_eq!(found.as_deref(), expected.as_deref(), "{method} {target}");
}

#[test]
fn every_operation_is_reached_by_its_template() {
    for operation in Model::get().operations() {
        let (path, query) = operation.uri.split_once('?').unwrap_or((&operation.uri, ""));
        let mut path = path.to_owned();
        let mut expected = operation.name.clone();
        for (index, label) in operation.labels.iter().enumerate() {
            path = path.replace(&format!("{{{label}}}"), &format!("v%3A{index}%2F"));
            expected += &format!(" {label}=v:{index}/");
        }
        assert!(!path.contains('{'), "{path}");
        check(&operation.method, &format!("{path}?{query}"), Ok(&expected));
        check(&operation.method, &format!("{path}/?a=b&{query}"), Ok(&expected));
        check("PATCH", &path, Err(RouteError::MethodNotAllowed));
        check(&operation.method, &format!("/v{path}"), Err(RouteError::UnknownPath));
    }
}

#[test]
fn no_path_has_more_labels_than_the_array_holds() {
    let max = Model::get().operations().iter().map(|operation| operation.labels.len()).max();
    assert!(max.unwrap() <= Labels::default().raw.len());
}

/// Spec: service API, section 1, notes.
#[test]
fn collections_with_and_without_slash() {
    check("GET", "/2015-03-31/functions", Ok("ListFunctions"));
    check("GET", "/2015-03-31/functions/", Ok("ListFunctions"));
    check("POST", "/2015-03-31/functions/", Ok("CreateFunction"));
    check("POST", "/2015-03-31/event-source-mappings/", Ok("CreateEventSourceMapping"));
    check("POST", "/2014-11-13/functions/f/invoke-async/", Ok("InvokeAsync FunctionName=f"));
    check("GET", "/2015-03-31/functions//", Err(RouteError::UnknownPath));
}

#[test]
fn labels_are_split_first_and_decoded_after() {
    let invoke = |name: &str| format!("/2015-03-31/functions/{name}/invocations");
    check("POST", &invoke("f"), Ok("Invoke FunctionName=f"));
    check("POST", &invoke("f%3A%24LATEST"), Ok("Invoke FunctionName=f:$LATEST"));
    check("POST", &invoke("f:1"), Ok("Invoke FunctionName=f:1"));
    check("POST", &invoke("a%2Fb"), Ok("Invoke FunctionName=a/b"));
    check("POST", &invoke("a/b"), Err(RouteError::UnknownPath));
    check("POST", &invoke(""), Err(RouteError::UnknownPath));
    check("POST", &invoke("%ff"), Err(RouteError::MalformedEncoding));
    check(
        "DELETE",
        "/2018-10-31/layers/l/versions/3/policy/s%20id",
        Ok("RemoveLayerVersionPermission LayerName=l VersionNumber=3 StatementId=s id"),
    );
}

#[test]
fn shared_paths() {
    let provisioned = "/2019-09-30/functions/f/provisioned-concurrency";
    check("GET", provisioned, Ok("GetProvisionedConcurrencyConfig FunctionName=f"));
    check(
        "GET",
        &format!("{provisioned}?Qualifier=1"),
        Ok("GetProvisionedConcurrencyConfig FunctionName=f"),
    );
    check(
        "GET",
        &format!("{provisioned}?MaxItems=1&List=ALL"),
        Ok("ListProvisionedConcurrencyConfigs FunctionName=f"),
    );
    check("GET", "/2018-10-31/layers", Ok("ListLayers"));
    check("GET", "/2018-10-31/layers?Arn=a&find=LayerVersion", Ok("GetLayerVersionByArn"));
    let config = "/2019-09-25/functions/f/event-invoke-config";
    check("PUT", config, Ok("PutFunctionEventInvokeConfig FunctionName=f"));
    check("POST", config, Ok("UpdateFunctionEventInvokeConfig FunctionName=f"));
    check("GET", &format!("{config}/list"), Ok("ListFunctionEventInvokeConfigs FunctionName=f"));
}

#[test]
fn slashes_may_come_unencoded_in_tags_and_durable_executions() {
    let arn = "arn:aws:lambda:us-east-1:123456789012:function:f:1/durable-execution/n/i";
    let encoded = "arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Af%3A1%2Fdurable-execution%2Fn%2Fi";
    for arn_sent in [arn, encoded] {
        let path = format!("/2025-12-01/durable-executions/{arn_sent}");
        let check = |method: &str, suffix: &str, operation: &str| {
            let expected = format!("{operation} DurableExecutionArn={arn}");
            check(method, &format!("{path}{suffix}"), Ok(&expected));
        };
        check("GET", "", "GetDurableExecution");
        check("GET", "/", "GetDurableExecution");
        check("GET", "/state", "GetDurableExecutionState");
        check("GET", "/history", "GetDurableExecutionHistory");
        check("POST", "/checkpoint", "CheckpointDurableExecution");
        check("POST", "/stop", "StopDurableExecution");
        check("DELETE", "", "DeleteDurableExecution");
    }
    check("GET", "/2017-03-31/tags/arn:a/b", Ok("ListTags Resource=arn:a/b"));
    check("GET", "/2017-03-31/tags/arn%3Aa%2Fb", Ok("ListTags Resource=arn:a/b"));
    check("GET", "/2017-03-31/tags/", Err(RouteError::UnknownPath));
    check(
        "POST",
        "/2025-12-01/durable-execution-callbacks/a//b=/fail",
        Ok("SendDurableExecutionCallbackFailure CallbackId=a//b="),
    );
}

#[test]
fn what_is_no_operation() {
    check("GET", "", Err(RouteError::UnknownPath));
    check("GET", "/", Err(RouteError::UnknownPath));
    check("GET", "2015-03-31/functions", Err(RouteError::UnknownPath));
    check("GET", "//2015-03-31/functions", Err(RouteError::UnknownPath));
    check("GET", "/2015-03-31", Err(RouteError::UnknownPath));
    check("GET", "/2018-10-31/layers/l", Err(RouteError::UnknownPath));
    check("GET", "/2015-03-31/functions/f/nothing", Err(RouteError::UnknownPath));
    check("GET", "/2015-03-31/functions/f/code/x", Err(RouteError::UnknownPath));
    check("PUT", "/2015-03-31/functions", Err(RouteError::MethodNotAllowed));
    check("get", "/2015-03-31/functions", Err(RouteError::MethodNotAllowed));
}
