//! The script of twenty steps (`test_script.py`): each reports what the other clients report.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use aws_sdk_lambda::Client;
use aws_sdk_lambda::client::Waiters;
use aws_sdk_lambda::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_lambda::operation::create_function::builders::CreateFunctionFluentBuilder;
use aws_sdk_lambda::operation::invoke::InvokeOutput;
use aws_sdk_lambda::operation::invoke::builders::InvokeFluentBuilder;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{
    AliasRoutingConfiguration, Environment, FunctionCode, FunctionUrlAuthType, InvocationType,
    InvokeWithResponseStreamResponseEvent, LayerVersionContentInput, LogType, Runtime,
};
use serde_json::{Value, json};

use crate::{Error, PATIENCE, client_of, runtime};

const ROLE: &str = "arn:aws:iam::123456789012:role/any";
/// Of the JSON `{"custom": {"by": "ü"}}`, base64.
const CONTEXT: &str = "eyJjdXN0b20iOiB7ImJ5IjogIsO8In19";
const EVENT_DEADLINE: Duration = Duration::from_secs(30);

/// A client, and what it works on.
pub(crate) struct Script<'a> {
    client: Client,
    endpoint: &'a str,
    name: &'a str,
    arn: String,
    zips: [Blob; 3],
}

impl<'a> Script<'a> {
    pub(crate) fn new(endpoint: &'a str, name: &'a str, zips: [Vec<u8>; 3]) -> Self {
        Self {
            client: client_of(endpoint, None),
            endpoint,
            name,
            arn: format!("arn:aws:lambda:us-east-1:000000000000:function:{name}"),
            zips: zips.map(Blob::new),
        }
    }

    pub(crate) async fn run(&self) -> Result<Value, Error> {
        let (create, revision) = self.create().await?;
        Ok(json!({
            "create": create,
            "wait": self.wait().await?,
            "invoke": self.invoke_with_tail().await?,
            "code": self.code(&revision).await?,
            "configuration": self.configuration().await?,
            "publish": self.publish().await?,
            "publishAgain": self.publish_again().await?,
            "alias": self.alias().await?,
            "qualifier": self.qualifier().await?,
            "layer": self.layer().await?,
            "tags": self.tags().await?,
            "policy": self.policy().await?,
            "concurrency": self.concurrency().await?,
            "event": self.event().await?,
            "url": self.url().await?,
            "stream": self.stream().await?,
            "pages": self.pages().await?,
            "errors": self.errors().await,
            "deleteParts": self.delete_parts().await?,
            "delete": self.delete().await?,
        }))
    }

    fn creation(&self) -> CreateFunctionFluentBuilder {
        let [one, ..] = &self.zips;
        let code = FunctionCode::builder().zip_file(one.clone()).build();
        let creation = self.client.create_function().function_name(self.name).code(code);
        let runtime = Runtime::from(runtime().as_str());
        creation.runtime(runtime).handler("app.handler").role(ROLE)
    }

    fn invocation(&self, event: &Value) -> InvokeFluentBuilder {
        let payload = Blob::new(event.to_string());
        self.client.invoke().function_name(self.name).payload(payload)
    }

    async fn plain(&self) -> Result<Value, Error> {
        payload(&self.invocation(&json!({})).send().await?)
    }

    async fn updated(&self) -> Result<(), Error> {
        let waiter = self.client.wait_until_function_updated_v2().function_name(self.name);
        waiter.wait(PATIENCE).await?;
        Ok(())
    }

    async fn create(&self) -> Result<(Value, Option<String>), Error> {
        let variables = Environment::builder().variables("COLOUR", "red").build();
        let creation = self.creation().tags("made by", "script").environment(variables);
        let made = creation.send().await?;
        let seen = json!({
            "arn": made.function_arn(),
            "version": made.version(),
            "state": made.state().map(|state| state.as_str()),
            "reason": made.state_reason_code().map(|code| code.as_str()),
            "sha256": made.code_sha256(),
            "variables": made.environment().and_then(|shown| shown.variables()),
        });
        Ok((seen, made.revision_id))
    }

    async fn wait(&self) -> Result<Value, Error> {
        let active = self.client.wait_until_function_active_v2().function_name(self.name);
        active.wait(PATIENCE).await?;
        let shown =
            self.client.get_function_configuration().function_name(&self.arn).send().await?;
        Ok(json!({
            "state": shown.state().map(|state| state.as_str()),
            "update": shown.last_update_status().map(|status| status.as_str()),
        }))
    }

    async fn invoke_with_tail(&self) -> Result<Value, Error> {
        let call = self.invocation(&json!({ "name": "Zoë" })).log_type(LogType::Tail);
        let answer = call.client_context(CONTEXT).send().await?;
        Ok(json!({
            "status": answer.status_code(),
            "error": answer.function_error(),
            "version": answer.executed_version(),
            "payload": payload(&answer)?,
            "log": answer.log_result(),
        }))
    }

    async fn code(&self, revision: &Option<String>) -> Result<Value, Error> {
        let [_, two, _] = &self.zips;
        let change = self.client.update_function_code().function_name(self.name);
        let changed = change.zip_file(two.clone()).send().await?;
        self.updated().await?;
        Ok(json!({
            "update": changed.last_update_status().map(|status| status.as_str()),
            "sha256": changed.code_sha256(),
            "changed": changed.revision_id() != revision.as_deref(),
        }))
    }

    async fn configuration(&self) -> Result<Value, Error> {
        let variables = Environment::builder().variables("COLOUR", "green").build();
        let change = self.client.update_function_configuration().function_name(self.name);
        let change = change.memory_size(256).description("by a script").environment(variables);
        let changed = change.send().await?;
        self.updated().await?;
        Ok(json!({
            "update": changed.last_update_status().map(|status| status.as_str()),
            "memory": changed.memory_size(),
            "description": changed.description(),
            "variables": changed.environment().and_then(|shown| shown.variables()),
        }))
    }

    async fn publish(&self) -> Result<Value, Error> {
        let publish = self.client.publish_version().function_name(self.name);
        let made = publish.description("the first").send().await?;
        let active = self.client.wait_until_published_version_active().function_name(self.name);
        active.qualifier("1").wait(PATIENCE).await?;
        Ok(json!({
            "version": made.version(),
            "arn": made.function_arn(),
            "description": made.description(),
        }))
    }

    async fn publish_again(&self) -> Result<Value, Error> {
        let publish = self.client.publish_version().function_name(self.name);
        let made = publish.description("the first").send().await?;
        let get = self.client.get_function_configuration().function_name(self.name);
        let shown = get.qualifier("1").send().await?;
        let same = made.revision_id() == shown.revision_id();
        Ok(json!({ "version": made.version(), "same": same }))
    }

    async fn alias(&self) -> Result<Value, Error> {
        let [one, ..] = &self.zips;
        let change = self.client.update_function_code().function_name(self.name);
        change.zip_file(one.clone()).publish(true).send().await?;
        self.updated().await?;
        let create = self.client.create_alias().function_name(self.name).name("live");
        let made = create.function_version("1").routing_config(weight(0.25)).send().await?;
        let routing = made.routing_config();
        Ok(json!({
            "arn": made.alias_arn(),
            "version": made.function_version(),
            "weights": routing.and_then(|routing| routing.additional_version_weights()),
        }))
    }

    async fn qualifier(&self) -> Result<Value, Error> {
        let by_alias = || self.invocation(&json!({})).qualifier("live");
        let drawn = by_alias().send().await?;
        let told = payload(&drawn)?["version"].as_str() == drawn.executed_version();
        let update = self.client.update_alias().function_name(self.name).name("live");
        update.routing_config(weight(1.0)).send().await?;
        let second = by_alias().send().await?;
        let version = second.executed_version();
        Ok(json!({ "told": told, "version": version, "payload": payload(&second)? }))
    }

    async fn layer(&self) -> Result<Value, Error> {
        let [.., layer] = &self.zips;
        let content = LayerVersionContentInput::builder().zip_file(layer.clone()).build();
        let publish = self.client.publish_layer_version().layer_name("words").content(content);
        let publish = publish.compatible_runtimes(Runtime::from(runtime().as_str()));
        let made = publish.send().await?;
        let change = self.client.update_function_configuration().function_name(self.name);
        let arn = made.layer_version_arn().unwrap_or_default();
        let changed = change.layers(arn).send().await?;
        self.updated().await?;
        let runtimes = made.compatible_runtimes().iter().map(Runtime::as_str);
        let layers = changed.layers().iter();
        let layers = layers.map(|one| json!({ "Arn": one.arn(), "CodeSize": one.code_size() }));
        Ok(json!({
            "arn": made.layer_version_arn(),
            "version": made.version(),
            "sha256": made.content().and_then(|content| content.code_sha256()),
            "runtimes": runtimes.collect::<Vec<_>>(),
            "layers": layers.collect::<Vec<_>>(),
            "payload": self.plain().await?,
        }))
    }

    async fn tags(&self) -> Result<Value, Error> {
        let tag = self.client.tag_resource().resource(&self.arn);
        tag.tags("team", "blue = grün").tags("a+b / c", "d=e").send().await?;
        let untag = self.client.untag_resource().resource(&self.arn);
        untag.tag_keys("made by").tag_keys("a+b / c").send().await?;
        let shown = self.client.list_tags().resource(&self.arn).send().await?;
        Ok(json!(shown.tags()))
    }

    async fn policy(&self) -> Result<Value, Error> {
        let add = self.client.add_permission().function_name(self.name).statement_id("bucket");
        let add = add.action("lambda:InvokeFunction").principal("s3.amazonaws.com");
        let add = add.source_arn("arn:aws:s3:::bucket").source_account("123456789012");
        let added = add.send().await?;
        let get = || self.client.get_policy().function_name(self.name).send();
        let shown = get().await?;
        let remove = self.client.remove_permission().function_name(self.name);
        remove.statement_id("bucket").send().await?;
        Ok(json!({
            "statement": serde_json::from_str::<Value>(added.statement().unwrap_or_default())?,
            "policy": serde_json::from_str::<Value>(shown.policy().unwrap_or_default())?,
            "removed": error(get().await),
        }))
    }

    async fn concurrency(&self) -> Result<Value, Error> {
        let reserve = |count| {
            let put = self.client.put_function_concurrency().function_name(self.name);
            put.reserved_concurrent_executions(count).send()
        };
        reserve(0).await?;
        let throttled = error(self.invocation(&json!({})).send().await);
        reserve(1).await?;
        let shown = self.client.get_function_concurrency().function_name(self.name).send().await?;
        let reserved = shown.reserved_concurrent_executions();
        Ok(json!({ "reserved": reserved, "throttled": throttled }))
    }

    async fn event(&self) -> Result<Value, Error> {
        let put = self.client.put_function_event_invoke_config().function_name(self.name);
        let put = put.maximum_retry_attempts(1).maximum_event_age_in_seconds(120);
        let made = put.send().await?;
        let call = self.invocation(&json!({ "remember": "this" }));
        let sent = call.invocation_type(InvocationType::Event).send().await?;
        // One environment is reserved: who asks it after the event is told of it. Who asked all the
        // time would keep the event out.
        let end = Instant::now() + EVENT_DEADLINE;
        let events = loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            match self.invocation(&json!({})).send().await {
                Ok(answer) => {
                    let events = payload(&answer)?["events"].take();
                    if events != json!([]) || Instant::now() > end {
                        break events;
                    }
                }
                Err(SdkError::ServiceError(error))
                    if error.err().is_too_many_requests_exception() => {}
                Err(other) => return Err(other.into()),
            }
        };
        self.client.delete_function_concurrency().function_name(self.name).send().await?;
        let after = self.client.get_function_concurrency().function_name(self.name).send().await?;
        Ok(json!({
            "arn": made.function_arn(),
            "retries": made.maximum_retry_attempts(),
            "age": made.maximum_event_age_in_seconds(),
            "status": sent.status_code(),
            "events": events,
            "reserved": after.reserved_concurrent_executions(),
        }))
    }

    async fn url(&self) -> Result<Value, Error> {
        let none = FunctionUrlAuthType::None;
        let create = self.client.create_function_url_config().function_name(self.name);
        let made = create.auth_type(none.clone()).send().await?;
        let allow = |id| {
            let add = self.client.add_permission().function_name(self.name).statement_id(id);
            add.principal("*")
        };
        let add = allow("url").action("lambda:InvokeFunctionUrl").function_url_auth_type(none);
        add.send().await?;
        let add = allow("by-url").action("lambda:InvokeFunction").invoked_via_function_url(true);
        add.send().await?;
        let shown = self.client.get_function_url_config().function_name(self.name).send().await?;
        let mut seen = self.fetched(made.function_url())?;
        seen["arn"] = json!(made.function_arn());
        seen["auth"] = json!(made.auth_type().as_str());
        seen["mode"] = json!(shown.invoke_mode().map(|mode| mode.as_str()));
        seen["same"] = json!(made.function_url() == shown.function_url());
        Ok(seen)
    }

    /// A plain request, by hand: its answer ends with the connection.
    fn fetched(&self, url: &str) -> Result<Value, Error> {
        let strip = |url: &str| url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        // Hosts below localhost are this machine, whatever the resolver says.
        let mut connection = TcpStream::connect(strip(self.endpoint))?;
        let host = strip(url);
        write!(connection, "GET /a/b?c=d HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no end of the head")?;
        let status: u16 = head.split(' ').nth(1).ok_or("no status")?.parse()?;
        let by = head.lines().find_map(|line| line.strip_prefix("x-by: "));
        Ok(json!({ "status": status, "by": by, "body": body }))
    }

    async fn stream(&self) -> Result<Value, Error> {
        let event = Blob::new(json!({ "name": "stream" }).to_string());
        let call = self.client.invoke_with_response_stream().function_name(self.name);
        let mut answer = call.payload(event).send().await?;
        let (mut chunks, mut complete) = (Vec::new(), Value::Null);
        while let Some(event) = answer.event_stream.recv().await? {
            match event {
                InvokeWithResponseStreamResponseEvent::PayloadChunk(chunk) => {
                    chunks.extend(chunk.payload().map(Blob::as_ref).unwrap_or_default());
                }
                InvokeWithResponseStreamResponseEvent::InvokeComplete(end) => {
                    complete = json!({ "error": end.error_code() });
                }
                other => return Err(format!("an unknown event: {other:?}").into()),
            }
        }
        Ok(json!({
            "version": answer.executed_version,
            "payload": serde_json::from_slice::<Value>(&chunks)?,
            "complete": complete,
        }))
    }

    async fn pages(&self) -> Result<Value, Error> {
        let list = self.client.list_versions_by_function().function_name(self.name);
        let found = list.into_paginator().page_size(1).items().send();
        let found: Vec<_> = found.collect::<Result<_, _>>().await?;
        Ok(json!(found.iter().map(|one| one.version()).collect::<Vec<_>>()))
    }

    async fn errors(&self) -> Value {
        let get = |client: &Client, name: &str| client.get_function().function_name(name).send();
        let publish = self.client.publish_version().function_name(self.name);
        let stale = publish.revision_id("00000000-0000-0000-0000-000000000000");
        let stranger = client_of(self.endpoint, Some("wrong"));
        json!({
            "absent": error(get(&self.client, "absent").await),
            "conflict": error(self.creation().send().await),
            "stale": error(stale.send().await),
            "signature": error(get(&stranger, self.name).await),
        })
    }

    async fn delete_parts(&self) -> Result<Value, Error> {
        let (client, name) = (&self.client, self.name);
        client.delete_function_url_config().function_name(name).send().await?;
        client.delete_function_event_invoke_config().function_name(name).send().await?;
        client.delete_alias().function_name(name).name("live").send().await?;
        client.delete_function().function_name(name).qualifier("1").send().await?;
        client.delete_layer_version().layer_name("words").version_number(1).send().await?;
        let listed = client.list_versions_by_function().function_name(name).send().await?;
        let versions: Vec<_> = listed.versions().iter().map(|one| one.version()).collect();
        let alias = client.get_alias().function_name(name).name("live").send().await;
        let url = client.get_function_url_config().function_name(name).send().await;
        Ok(json!({ "versions": versions, "alias": error(alias), "url": error(url) }))
    }

    async fn delete(&self) -> Result<Value, Error> {
        self.client.delete_function().function_name(self.name).send().await?;
        Ok(error(self.client.get_function().function_name(self.name).send().await))
    }
}

fn weight(of_second: f64) -> AliasRoutingConfiguration {
    AliasRoutingConfiguration::builder().additional_version_weights("2", of_second).build()
}

fn payload(answer: &InvokeOutput) -> Result<Value, Error> {
    let payload = answer.payload().map(Blob::as_ref).unwrap_or_default();
    Ok(serde_json::from_slice(payload)?)
}

/// What is told of a call that must fail.
fn error<T, E>(answer: Result<T, SdkError<E>>) -> Value
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match answer {
        Ok(_) => json!({ "code": null }),
        Err(SdkError::ServiceError(error)) => {
            json!({ "code": error.err().code(), "message": error.err().message() })
        }
        Err(other) => json!({ "code": null, "message": DisplayErrorContext(&other).to_string() }),
    }
}
