//! Drives a Lambda endpoint by AWS's Rust SDK and prints what it saw as one JSON object.
//!
//! ```text
//! rust-sdk life ENDPOINT NAME ZIP OTHER_ZIP
//! rust-sdk throttled ENDPOINT NAME
//! rust-sdk stream ENDPOINT NAME EVENT
//! rust-sdk script ENDPOINT NAME ONE_ZIP TWO_ZIP LAYER_ZIP
//! ```
//! A stream's events are printed one a line, as they come.
//! What must have come out is `test_tools.py`'s matter, and `test_script.py`'s: it is the same for
//! every SDK.

mod script;

use std::time::Duration;

use aws_sdk_lambda::client::Waiters;
use aws_sdk_lambda::config::retry::RetryConfig;
use aws_sdk_lambda::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_lambda::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_lambda::operation::get_function::GetFunctionError;
use aws_sdk_lambda::operation::invoke::{InvokeError, InvokeOutput};
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{
    FunctionCode, InvokeWithResponseStreamResponseEvent, LogType, Runtime,
};
use aws_sdk_lambda::{Client, Config};
use serde_json::{Value, json};

type Error = Box<dyn std::error::Error>;

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let seen = match words[..] {
        ["life", endpoint, name, zip, other] => {
            let (zip, other) = (std::fs::read(zip)?, std::fs::read(other)?);
            life(&client(endpoint), name, Blob::new(zip), Blob::new(other)).await?
        }
        ["throttled", endpoint, name] => throttled(&client(endpoint), name).await,
        ["stream", endpoint, name, event] => return stream(&client(endpoint), name, event).await,
        ["script", endpoint, name, one, two, layer] => {
            let zips = [std::fs::read(one)?, std::fs::read(two)?, std::fs::read(layer)?];
            script::Script::new(endpoint, name, zips).run().await?
        }
        _ => {
            return Err(
                "usage: life ENDPOINT NAME ZIP OTHER_ZIP | throttled ENDPOINT NAME | stream ENDPOINT NAME EVENT | script ENDPOINT NAME ONE_ZIP TWO_ZIP LAYER_ZIP"
                    .into(),
            );
        }
    };
    println!("{seen}");
    Ok(())
}

fn client(endpoint: &str) -> Client {
    client_of(endpoint, None)
}

/// Signs with the key of the environment, but perhaps with another secret.
fn client_of(endpoint: &str, secret: Option<&str>) -> Client {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let secret = secret.map_or_else(|| variable("AWS_SECRET_ACCESS_KEY"), str::to_owned);
    let credentials = Credentials::new(variable("AWS_ACCESS_KEY_ID"), secret, None, None, "test");
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new("us-east-1"))
        .credentials_provider(credentials)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .retry_config(RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

async fn life(client: &Client, name: &str, zip: Blob, other: Blob) -> Result<Value, Error> {
    let create = |name: String, zip: Blob| {
        client
            .create_function()
            .function_name(name)
            .runtime(Runtime::from(runtime().as_str()))
            .handler("app.handler")
            .role("arn:aws:iam::123456789012:role/any")
            .code(FunctionCode::builder().zip_file(zip).build())
            .tags("made-by", "rust")
            .send()
    };
    let created = create(name.to_owned(), zip.clone()).await?;
    let active = client.wait_until_function_active_v2().function_name(name);
    active.wait(PATIENCE).await?;

    let invoked = invoke(client, name, json!({ "name": "SDK" })).await?;
    let failed = invoke(client, name, json!({ "fail": true })).await?;

    let updated = client.update_function_code().function_name(name).zip_file(other).send().await?;
    wait_updated(client, name).await?;
    let invoked_anew = invoke(client, name, json!({})).await?;
    let configure = client.update_function_configuration().function_name(name);
    let configured = configure.memory_size(256).description("by an SDK").send().await?;
    wait_updated(client, name).await?;

    let function = client.get_function().function_name(name).send().await?;
    let shown = function.configuration().ok_or("no configuration")?;
    let plain = client.get_function_configuration().function_name(name).send().await?;

    for letter in ["b", "c"] {
        create(format!("{name}-{letter}"), zip.clone()).await?;
    }
    let pages = client.list_functions().into_paginator().page_size(1).send();
    let pages: Vec<_> = pages.collect::<Result<_, _>>().await?;
    let listed: Vec<&str> = pages
        .iter()
        .flat_map(|page| page.functions())
        .filter_map(|function| function.function_name())
        .collect();

    let errors = json!({
        "notFound": error(
            client.get_function().function_name("absent").send().await,
            GetFunctionError::is_resource_not_found_exception,
        ),
        "invokeNotFound": error(
            client.invoke().function_name("absent").send().await,
            InvokeError::is_resource_not_found_exception,
        ),
        "conflict": error(
            create(name.to_owned(), zip.clone()).await,
            |error| error.is_resource_conflict_exception(),
        ),
        "invalid": error(
            create(format!("{name}-d"), Blob::new("no zip")).await,
            |error| error.is_invalid_parameter_value_exception(),
        ),
        "precondition": error(
            client
                .update_function_configuration()
                .function_name(name)
                .revision_id("00000000-0000-0000-0000-000000000000")
                .send()
                .await,
            |error| error.is_precondition_failed_exception(),
        ),
        "content": error(
            client.invoke().function_name(name).payload(Blob::new("{")).send().await,
            InvokeError::is_invalid_request_content_exception,
        ),
        "unimplemented": error(
            client.list_code_signing_configs().send().await,
            |error| error.meta().code() == Some("NotImplementedException"),
        ),
    });

    let deleted = client.delete_function().function_name(name).send().await?;
    for letter in ["b", "c"] {
        let active = client.wait_until_function_active_v2();
        active.function_name(format!("{name}-{letter}")).wait(PATIENCE).await?;
        client.delete_function().function_name(format!("{name}-{letter}")).send().await?;
    }
    Ok(json!({
        "created": {
            "State": created.state().map(|state| state.as_str()),
            "StateReasonCode": created.state_reason_code().map(|code| code.as_str()),
            "FunctionArn": created.function_arn(),
            "CodeSize": created.code_size(),
        },
        "invoked": invoked,
        "failed": failed,
        "updated": {
            "LastUpdateStatus": updated.last_update_status().map(|status| status.as_str()),
            "State": updated.state().map(|state| state.as_str()),
        },
        "invokedAnew": invoked_anew,
        "configured": {
            "LastUpdateStatus": configured.last_update_status().map(|status| status.as_str()),
            "MemorySize": configured.memory_size(),
        },
        "function": {
            "State": shown.state().map(|state| state.as_str()),
            "LastUpdateStatus": shown.last_update_status().map(|status| status.as_str()),
            "Description": shown.description(),
            "MemorySize": shown.memory_size(),
            "CodeSha256": shown.code_sha256(),
            "RepositoryType": function.code().and_then(|code| code.repository_type()),
            "Tags": function.tags(),
        },
        "sameConfiguration": plain.revision_id() == shown.revision_id(),
        "pages": pages.iter().filter(|page| !page.functions().is_empty()).count(),
        "listed": listed,
        "errors": errors,
        "deleted": deleted.status_code(),
    }))
}

fn runtime() -> String {
    std::env::var("RUNTIME").unwrap_or_default()
}

async fn wait_updated(client: &Client, name: &str) -> Result<(), Error> {
    client.wait_until_function_updated_v2().function_name(name).wait(PATIENCE).await?;
    Ok(())
}

async fn invoke(client: &Client, name: &str, event: Value) -> Result<Value, Error> {
    let invoke = client.invoke().function_name(name).log_type(LogType::Tail);
    let answer: InvokeOutput = invoke.payload(Blob::new(event.to_string())).send().await?;
    let payload = answer.payload().map(|payload| serde_json::from_slice::<Value>(payload.as_ref()));
    Ok(json!({
        "status": answer.status_code(),
        "error": answer.function_error(),
        "version": answer.executed_version(),
        "payload": payload.transpose()?,
        "log": answer.log_result(),
    }))
}

async fn throttled(client: &Client, name: &str) -> Value {
    let answer = client.invoke().function_name(name).send().await;
    let reason = match &answer {
        Err(SdkError::ServiceError(error)) => match error.err() {
            InvokeError::TooManyRequestsException(error) => {
                error.reason().map(|reason| reason.as_str().to_owned())
            }
            _ => None,
        },
        _ => None,
    };
    let mut seen = error(answer, InvokeError::is_too_many_requests_exception);
    seen["reason"] = json!(reason);
    seen
}

async fn stream(client: &Client, name: &str, event: &str) -> Result<(), Error> {
    let call = client.invoke_with_response_stream().function_name(name);
    let mut answer = call.payload(Blob::new(event)).send().await?;
    while let Some(event) = answer.event_stream.recv().await? {
        let shown = match event {
            InvokeWithResponseStreamResponseEvent::PayloadChunk(chunk) => {
                let payload = chunk.payload().map(|payload| String::from_utf8_lossy(payload.as_ref()));
                json!({ "PayloadChunk": payload })
            }
            InvokeWithResponseStreamResponseEvent::InvokeComplete(end) => {
                let mut complete = json!({});
                for (member, value) in [
                    ("ErrorCode", end.error_code()),
                    ("ErrorDetails", end.error_details()),
                    ("LogResult", end.log_result()),
                ] {
                    if let Some(value) = value {
                        complete[member] = json!(value);
                    }
                }
                json!({ "InvokeComplete": complete })
            }
            other => return Err(format!("an unknown event: {other:?}").into()),
        };
        println!("{shown}");
    }
    Ok(())
}

/// What a caller can tell of an error: whether it is the SDK's type, its code, text and status.
fn error<T, E: ProvideErrorMetadata>(
    answer: Result<T, SdkError<E>>,
    is_typed: impl FnOnce(&E) -> bool,
) -> Value {
    match answer {
        Ok(_) => json!({ "code": null }),
        Err(SdkError::ServiceError(error)) => json!({
            "typed": is_typed(error.err()),
            "code": error.err().code(),
            "message": error.err().message(),
            "status": error.raw().status().as_u16(),
        }),
        Err(other) => json!({ "code": null, "message": other.to_string() }),
    }
}
