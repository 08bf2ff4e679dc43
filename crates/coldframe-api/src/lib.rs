//! The Lambda service API over HTTP (service-api.md): rest-json, routed and checked by a data file
//! of facts, one file an operation.
//!
//! ```text
//! request ─► access (whose key) ─► model.route ─► body, bounded ─► signature ─► model.check ─► operation
//! ```
//! **Invariant:** doesn't know environments or sandboxes. It asks [`Invoker`] to run functions,
//! [`AsyncInvoker`] to run them some time soon, [`EventSources`] to poll queues for them, and
//! [`Packages`] to keep code; the binary hands them over.

mod access;
mod account;
mod alias;
mod authorize;
mod body;
mod caller;
mod code;
mod code_signing;
mod companion;
mod concurrency;
mod error;
mod event_invoke;
mod event_source;
mod event_stream;
mod function;
mod invoke;
mod invoke_async;
mod invoke_with_response_stream;
mod layer;
pub mod model;
mod page;
mod permission;
mod policy;
mod provisioned;
mod recursion;
mod resource_policy;
mod runtime_management;
mod serving;
mod storage;
mod tag;
mod url;
mod version;

use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use coldframe_core::asynchronous::AsyncInvoker;
use coldframe_core::identity::Sessions;
use coldframe_core::invoke::Invoker;
use coldframe_core::limits::{
    CREATE_REQUEST_BYTES_MAX, INVOKE_ASYNC_PAYLOAD_BYTES_MAX, REQUEST_PAYLOAD_BYTES_MAX,
};
use coldframe_core::objects::Objects;
use coldframe_core::packages::Packages;
use coldframe_core::source::EventSources;
use coldframe_core::{FunctionArn, RequestId};
use coldframe_store::Store;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use serde_json::Value;
use uuid::Uuid;

pub use self::access::{Authentication, Denied};
pub use self::body::Body;
pub(crate) use self::body::whole;
pub use self::caller::Caller;
pub use self::error::Error;
use self::invoke::plain::Plain;
use self::model::{Input, Model, Route};
pub use self::url::{Place, UrlServed};

/// An answer on the wire.
pub type Reply = Response<Body>;

/// What the service may be told.
#[derive(Clone, Debug)]
pub struct Options {
    pub authentication: Authentication,
    /// The region of requests that are not signed.
    pub default_region: String,
    /// What the hosts of function URLs end with, as `localhost:4566`.
    pub url_domain: String,
    /// Zips of an account's functions and layers together, bytes.
    pub code_storage: u64,
}

/// Whom a connection comes from: an extension of its requests.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub std::net::IpAddr);

/// The service. Cheap to share.
pub struct Service {
    store: Store,
    packages: Arc<dyn Packages>,
    invoker: Arc<dyn Invoker>,
    objects: Option<Arc<dyn Objects>>,
    events: Arc<dyn AsyncInvoker>,
    sources: Arc<dyn EventSources>,
    access: access::Access,
    serving: serving::Catalogue,
    urls: url::Urls,
    url_domain: String,
    /// Held while the catalogue and what serves change together.
    settling: Mutex<()>,
    code_key: code::Key,
    code_storage: u64,
    storage: Arc<storage::Storage>,
}

/// One request of an operation, read and checked.
pub(crate) struct Call {
    pub(crate) route: Route,
    pub(crate) caller: Caller,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Bytes,
    /// The body as JSON; an empty object if there was none, or if it isn't JSON by nature.
    pub(crate) json: Value,
    pub(crate) request_id: RequestId,
}

impl Call {
    pub(crate) fn label(&self, name: &str) -> &str {
        let found = self.route.labels.iter().find(|(label, _)| *label == name);
        found.map_or("", |(_, value)| value)
    }

    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The endpoint as the caller knows it.
    pub(crate) fn host(&self) -> &str {
        self.header("host").unwrap_or("localhost")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Service {
    /// Takes the store over and brings what was cut off by the last end to its end.
    ///
    /// # Errors
    /// If the store can't be written.
    pub fn new(
        store: Store,
        packages: Arc<dyn Packages>,
        invoker: Arc<dyn Invoker>,
        events: Arc<dyn AsyncInvoker>,
        sources: Arc<dyn EventSources>,
        sessions: Arc<dyn Sessions>,
        options: &Options,
    ) -> Result<Self, Error> {
        let service = Self {
            store,
            packages,
            invoker,
            objects: None,
            events,
            sources,
            access: access::Access {
                authentication: options.authentication,
                sessions,
                default_region: options.default_region.as_str().into(),
            },
            serving: serving::Catalogue::default(),
            urls: url::Urls::default(),
            url_domain: options.url_domain.clone(),
            settling: Mutex::new(()),
            code_key: code::Key::new(),
            code_storage: options.code_storage,
            storage: Arc::default(),
        };
        for (arn, function) in service.store.all() {
            if function::is_settled(&function.latest) {
                service.serve(&arn);
            } else {
                service.settle(&arn, &function.latest.revision_id)?;
            }
        }
        Ok(service)
    }

    /// From where packages come that requests name and don't bring.
    pub fn fetch_from(&mut self, objects: Arc<dyn Objects>) {
        self.objects = Some(objects);
    }

    /// Answers one request that isn't a function URL's. Never fails: what goes wrong is an answer.
    pub async fn handle(self: &Arc<Self>, request: Request<Incoming>) -> Reply {
        let request_id = RequestId::from(Uuid::new_v4());
        if companion::is_query(&request) {
            return self.companion(request, request_id).await;
        }
        let reply = match companion::absent::refusal(&request, request_id) {
            Some(refusal) => Ok(refusal),
            None => self.answer(request, request_id).await,
        };
        of_request(request_id, reply)
    }

    /// Answers an invocation that has come whole, as [`Service::handle`] would; `None` if it must go
    /// there.
    pub fn handle_plain<'a>(
        self: &'a Arc<Self>,
        parts: &'a Parts,
        body: &'a [u8],
    ) -> Option<impl Future<Output = Reply> + Send + 'a> {
        let plain = Plain::of(parts)?;
        Some(async move {
            let request_id = RequestId::from(Uuid::new_v4());
            let body = std::future::ready(Ok(Bytes::copy_from_slice(body)));
            of_request(request_id, self.invoke_plain(plain, parts, body, request_id).await)
        })
    }

    async fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        request_id: RequestId,
    ) -> Result<Reply, Error> {
        let (parts, body) = request.into_parts();
        let query = parts.uri.query().unwrap_or_default();
        if let Some(plain) = Plain::of(&parts) {
            let body = read(body, REQUEST_PAYLOAD_BYTES_MAX);
            return self.invoke_plain(plain, &parts, body, request_id).await;
        }
        if let Some(place) = parts.uri.path().strip_prefix(code::PATH) {
            return self.code(place, query);
        }
        let admitted = self.access.admit(&self.store, &parts)?;
        admitted.check_service("lambda")?;
        let route = Model::get().route(parts.method.as_str(), parts.uri.path(), query)?;
        let query = model::query_pairs(query)?;
        let operation = route.operation.name.as_str();
        let limit = match operation {
            "Invoke" | "InvokeWithResponseStream" => REQUEST_PAYLOAD_BYTES_MAX,
            "InvokeAsync" => INVOKE_ASYNC_PAYLOAD_BYTES_MAX,
            _ => CREATE_REQUEST_BYTES_MAX,
        };
        let read_error = |error: ReadError| error.of(operation, limit);
        let body = read(body, limit).await.map_err(read_error)?;
        let caller = admitted.verify(&parts, &body).await?;
        let body = inflate(body, &parts.headers, limit).map_err(read_error)?;
        let mut call = Call {
            route,
            caller,
            query,
            headers: parts.headers,
            body,
            json: Value::Object(serde_json::Map::new()),
            request_id,
        };
        let is_payload = matches!(operation, "Invoke" | "InvokeAsync" | "InvokeWithResponseStream");
        if !is_payload && !call.body.is_empty() {
            call.json = serde_json::from_slice(&call.body).map_err(|error| {
                Error::new("SerializationException", format!("the body is no JSON: {error}"))
            })?;
        }
        check(&call)?;
        self.authorize(&mut call)?;
        match operation {
            "Invoke" => self.invoke(call).await,
            "InvokeWithResponseStream" => self.invoke_with_response_stream(call).await,
            "CreateFunction" => self.to_its_end(|service| service.create_function(call)).await,
            "GetFunction" => self.get_function(&call),
            "GetFunctionConfiguration" => self.get_function_configuration(&call),
            "UpdateFunctionCode" => {
                self.to_its_end(|service| service.update_function_code(call)).await
            }
            "UpdateFunctionConfiguration" => {
                self.to_its_end(|service| service.update_function_configuration(call)).await
            }
            "DeleteFunction" => self.to_its_end(|service| service.delete_function(call)).await,
            "ListFunctions" => self.list_functions(&call),
            "PublishVersion" => self.to_its_end(|service| service.publish_version(call)).await,
            "ListVersionsByFunction" => self.list_versions_by_function(&call),
            "CreateAlias" => self.to_its_end(|service| service.create_alias(call)).await,
            "GetAlias" => self.get_alias(&call),
            "UpdateAlias" => self.to_its_end(|service| service.update_alias(call)).await,
            "DeleteAlias" => self.to_its_end(|service| service.delete_alias(call)).await,
            "ListAliases" => self.list_aliases(&call),
            "PublishLayerVersion" => {
                self.to_its_end(|service| service.publish_layer_version(call)).await
            }
            "GetLayerVersion" => self.get_layer_version(&call),
            "GetLayerVersionByArn" => self.get_layer_version_by_arn(&call),
            "ListLayers" => self.list_layers(&call),
            "ListLayerVersions" => self.list_layer_versions(&call),
            "DeleteLayerVersion" => {
                self.to_its_end(|service| service.delete_layer_version(call)).await
            }
            "AddLayerVersionPermission" => {
                self.to_its_end(|service| service.add_layer_version_permission(call)).await
            }
            "GetLayerVersionPolicy" => self.get_layer_version_policy(&call),
            "RemoveLayerVersionPermission" => {
                self.to_its_end(|service| service.remove_layer_version_permission(call)).await
            }
            "AddPermission" => self.to_its_end(|service| service.add_permission(call)).await,
            "GetPolicy" => self.get_policy(&call),
            "PutResourcePolicy" => {
                self.to_its_end(|service| service.put_resource_policy(call)).await
            }
            "GetResourcePolicy" => self.get_resource_policy(&call),
            "DeleteResourcePolicy" => {
                self.to_its_end(|service| service.delete_resource_policy(call)).await
            }
            "RemovePermission" => self.to_its_end(|service| service.remove_permission(call)).await,
            "TagResource" => self.to_its_end(|service| service.tag_resource(call)).await,
            "UntagResource" => self.to_its_end(|service| service.untag_resource(call)).await,
            "ListTags" => self.list_tags(&call),
            "PutFunctionConcurrency" => {
                self.to_its_end(|service| service.put_function_concurrency(call)).await
            }
            "GetFunctionConcurrency" => self.get_function_concurrency(&call),
            "DeleteFunctionConcurrency" => {
                self.to_its_end(|service| service.delete_function_concurrency(call)).await
            }
            "PutProvisionedConcurrencyConfig" => {
                self.to_its_end(|service| service.put_provisioned_concurrency_config(call)).await
            }
            "GetProvisionedConcurrencyConfig" => self.get_provisioned_concurrency_config(&call),
            "DeleteProvisionedConcurrencyConfig" => {
                self.to_its_end(|service| service.delete_provisioned_concurrency_config(call)).await
            }
            "ListProvisionedConcurrencyConfigs" => self.list_provisioned_concurrency_configs(&call),
            "GetAccountSettings" => self.get_account_settings(&call),
            "GetFunctionRecursionConfig" => self.get_function_recursion_config(&call),
            "PutFunctionRecursionConfig" => {
                self.to_its_end(|service| service.put_function_recursion_config(call)).await
            }
            "GetRuntimeManagementConfig" => self.get_runtime_management_config(&call),
            "PutRuntimeManagementConfig" => {
                self.to_its_end(|service| service.put_runtime_management_config(call)).await
            }
            "GetFunctionCodeSigningConfig" => self.get_function_code_signing_config(&call),
            "PutFunctionCodeSigningConfig" => self.put_function_code_signing_config(&call),
            "DeleteFunctionCodeSigningConfig" => self.delete_function_code_signing_config(&call),
            "InvokeAsync" => self.invoke_async(call).await,
            "PutFunctionEventInvokeConfig" => {
                self.to_its_end(|service| service.put_event_invoke(call)).await
            }
            "UpdateFunctionEventInvokeConfig" => {
                self.to_its_end(|service| service.update_event_invoke(call)).await
            }
            "DeleteFunctionEventInvokeConfig" => {
                self.to_its_end(|service| service.delete_event_invoke(call)).await
            }
            "GetFunctionEventInvokeConfig" => self.get_event_invoke(&call),
            "ListFunctionEventInvokeConfigs" => self.list_event_invokes(&call),
            "CreateFunctionUrlConfig" => {
                self.to_its_end(|service| service.create_function_url_config(call)).await
            }
            "GetFunctionUrlConfig" => self.get_function_url_config(&call),
            "UpdateFunctionUrlConfig" => {
                self.to_its_end(|service| service.update_function_url_config(call)).await
            }
            "DeleteFunctionUrlConfig" => {
                self.to_its_end(|service| service.delete_function_url_config(call)).await
            }
            "ListFunctionUrlConfigs" => self.list_function_url_configs(&call),
            "CreateEventSourceMapping" => {
                self.to_its_end(|service| service.create_event_source_mapping(call)).await
            }
            "GetEventSourceMapping" => self.get_event_source_mapping(&call),
            "UpdateEventSourceMapping" => {
                self.to_its_end(|service| service.update_event_source_mapping(call)).await
            }
            "DeleteEventSourceMapping" => {
                self.to_its_end(|service| service.delete_event_source_mapping(call)).await
            }
            "ListEventSourceMappings" => self.list_event_source_mappings(&call),
            other => Err(Error::not_implemented(other)),
        }
    }
}

impl Service {
    /// Carries a change out even if the caller hangs up in the middle: half a change, stored and not
    /// settled, would stay.
    async fn to_its_end<F>(
        self: &Arc<Self>,
        change: impl FnOnce(Arc<Self>) -> F,
    ) -> Result<Reply, Error>
    where
        F: Future<Output = Result<Reply, Error>> + Send + 'static,
    {
        let ended = tokio::spawn(change(self.clone())).await;
        ended.unwrap_or_else(|error| Err(Error::service(&error)))
    }

    /// The log group of a function; `None` if there is no such function.
    pub fn log_group(&self, arn: &FunctionArn) -> Option<String> {
        self.store.get(arn).map(|record| record.logging.group.clone())
    }

    /// Who sends a request for a service of this signing name.
    ///
    /// # Errors
    /// If he must sign and hasn't, or not well.
    pub async fn caller(
        &self,
        service: &str,
        parts: &Parts,
        body: &Bytes,
    ) -> Result<Caller, Denied> {
        let admitted = self.access.admit(&self.store, parts)?;
        admitted.check_service(service)?;
        admitted.verify(parts, body).await
    }

    /// What is kept.
    pub fn store(&self) -> &Store {
        &self.store
    }
}

/// An answer with the id of its request.
fn of_request(request_id: RequestId, reply: Result<Reply, Error>) -> Reply {
    let mut reply = reply.unwrap_or_else(|error| error.reply());
    let headers = reply.headers_mut();
    if !headers.contains_key("x-amzn-requestid") {
        set(headers, "x-amzn-requestid", &request_id.to_string());
    }
    reply
}

/// All modelled constraints at once, as AWS's front end does (service-api.md §2.2).
fn check(call: &Call) -> Result<(), Error> {
    // Their refusals have texts of their own (§2.1, §2.4).
    let skip: &[&str] = match call.route.operation.name.as_str() {
        "CreateFunction" | "UpdateFunctionConfiguration" => &["runtime"],
        _ => &[],
    };
    let headers: Vec<(&str, &str)> = call
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    let is_json = call.json.as_object().is_none_or(|object| !object.is_empty());
    let input = Input {
        labels: &call.route.labels,
        query: &call.query,
        headers: headers.iter().copied(),
        body: (is_json || call.body.is_empty()).then_some(&call.json),
    };
    let violations = Model::get()
        .check(call.route.operation, &input, skip)
        .map_err(|unreadable| Error::new("SerializationException", unreadable.to_string()))?;
    if violations.is_empty() {
        return Ok(());
    }
    Err(Error::new("ValidationException", model::message(&violations)))
}

enum ReadError {
    TooLarge,
    Cut,
    NoGzip,
}

impl ReadError {
    /// What the caller of an operation is told, whose body may have so many bytes.
    fn of(self, operation: &str, limit: usize) -> Error {
        let broken = |text| Error::new("SerializationException", text);
        match self {
            Self::TooLarge => Error::too_large(operation, limit),
            Self::Cut => broken("the request body ended early"),
            Self::NoGzip => broken("the request body is no gzip"),
        }
    }
}

/// Undoes `Content-Encoding: gzip`; the limit counts what comes out.
fn inflate(body: Bytes, headers: &hyper::HeaderMap, limit: usize) -> Result<Bytes, ReadError> {
    use std::io::Read;
    if headers.get("content-encoding").is_none_or(|encoding| encoding != "gzip") {
        return Ok(body);
    }
    let mut inflated = Vec::new();
    let mut limited = flate2::read::GzDecoder::new(&*body).take(limit as u64 + 1);
    limited.read_to_end(&mut inflated).map_err(|_| ReadError::NoGzip)?;
    if inflated.len() > limit { Err(ReadError::TooLarge) } else { Ok(inflated.into()) }
}

async fn read(mut body: Incoming, limit: usize) -> Result<Bytes, ReadError> {
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| ReadError::Cut)?.into_data() else { continue };
        if first.len() + all.len() + data.len() > limit {
            return Err(ReadError::TooLarge);
        }
        if first.is_empty() && all.is_empty() {
            // Most requests come in one piece, which is passed on as it is.
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// Sets a header; a value that HTTP can't carry is left out.
pub(crate) fn set(headers: &mut hyper::HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: &Value) -> Reply {
    let mut reply = Response::new(whole(body.to_string()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(whole(Bytes::new()));
    *reply.status_mut() = status;
    reply
}

/// Runs what waits for the disk off the event loop.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Error::service(&error)))
}
