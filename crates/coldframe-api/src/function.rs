//! Functions: what their operations share (service-api.md §2.1–2.8).

mod create;
mod delete;
mod get;
mod list;
mod update;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use coldframe_core::limits::ZIPPED_BYTES_MAX;
use coldframe_core::objects::{Object, ObjectError};
use coldframe_core::packages::PackageError;
use coldframe_core::{
    FunctionArn, FunctionVersion, LogFormat, LogLevel, MemorySize, Runtime, Tracing,
};
use coldframe_store::{Function, FunctionRecord, State, Update};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::layer::hashes;
use crate::{Call, Error, Service, blocking, code, model};

/// A function as a request names it.
#[derive(Clone)]
pub(crate) struct Named {
    pub(crate) arn: FunctionArn,
    pub(crate) qualifier: Option<String>,
}

impl Named {
    /// The ARN as the request's answer and its errors show it.
    pub(crate) fn shown(&self) -> String {
        match &self.qualifier {
            Some(qualifier) => self.arn.qualified(qualifier),
            None => self.arn.to_string(),
        }
    }

    pub(crate) fn which(&self) -> Which<'_> {
        Which::of(self.qualifier.as_deref())
    }
}

/// What a qualifier means. A number is never the name of an alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which<'a> {
    Latest,
    Version(u64),
    Alias(&'a str),
}

/// Between attempts to settle a change.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);

/// No version has this number: they count from one.
const NO_VERSION: u64 = 0;

impl<'a> Which<'a> {
    pub(crate) fn of(qualifier: Option<&'a str>) -> Self {
        match qualifier {
            None | Some("$LATEST") => Self::Latest,
            Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                // `007` is no version's number.
                let number = text.parse().ok().filter(|number: &u64| number.to_string() == text);
                Self::Version(number.unwrap_or(NO_VERSION))
            }
            Some(text) => Self::Alias(text),
        }
    }

    /// The version of this name, `$LATEST` or a number.
    pub(crate) fn record(self, function: &Function) -> Option<Arc<FunctionRecord>> {
        match self {
            Self::Latest => Some(function.latest.clone()),
            Self::Version(number) => function.versions.get(&number).cloned(),
            Self::Alias(alias) => {
                let version = &function.aliases.get(alias)?.version;
                Which::of(Some(version)).record(function)
            }
        }
    }
}

/// A version that a request names, by itself or by an alias.
pub(crate) struct Found {
    pub(crate) function: Arc<Function>,
    pub(crate) record: Arc<FunctionRecord>,
    /// `$LATEST` or a number.
    pub(crate) version: String,
}

/// Reads `FunctionName` and `Qualifier` of a request (§2.1, in the order of its table).
pub(crate) fn named(call: &Call) -> Result<Named, Error> {
    resolve(call, call.label("FunctionName"))
}

pub(crate) fn resolve(call: &Call, text: &str) -> Result<Named, Error> {
    // What doesn't parse has been refused by the model's pattern already.
    let identifier =
        model::name::parse(text).map_err(|_| Error::invalid("the function name is malformed"))?;
    let asked = call.query("Qualifier").map(str::to_owned);
    let qualifier = match (identifier.qualifier, asked) {
        (Some(own), Some(asked)) if own != asked => {
            return Err(Error::invalid(
                "The derived qualifier from the function name does not match the specified qualifier.",
            ));
        }
        (own, asked) => own.or(asked),
    };
    let here = &call.caller.region;
    if let Some(other) = identifier.region.filter(|region| **region != **here) {
        return Err(Error::new(
            "ResourceNotFoundException",
            format!("Functions from '{other}' are not reachable in this region ('{here}')"),
        ));
    }
    let arn = call.caller.arn(&identifier.name);
    if identifier.account.is_some_and(|account| account != call.caller.account.as_str()) {
        let operation = &call.route.operation.name;
        return Err(Error::new(
            "AccessDeniedException",
            format!(
                "User: {} is not authorized to perform: lambda:{operation} on resource: {text} because no resource-based policy allows the lambda:{operation} action",
                call.caller.identity
            ),
        ));
    }
    Ok(Named { arn, qualifier })
}

impl Service {
    /// The version that is named.
    pub(crate) fn find(&self, named: &Named) -> Result<Found, Error> {
        let absent = || Error::not_found(&named.shown());
        let function = self.store.function(&named.arn).ok_or_else(absent)?;
        let record = named.which().record(&function).ok_or_else(absent)?;
        let version = match named.which() {
            Which::Latest => "$LATEST".to_owned(),
            Which::Version(number) => number.to_string(),
            Which::Alias(alias) => function.aliases.get(alias).ok_or_else(absent)?.version.clone(),
        };
        Ok(Found { function, record, version })
    }

    /// The zip that a request brings, or names. Container images are told apart from none.
    pub(crate) async fn zip_of(&self, call: &Call, code: &Value) -> Result<Bytes, Error> {
        let text = |key: &str| code[key].as_str().map(str::to_owned);
        if text("ImageUri").is_some() {
            return Err(Error::not_implemented("Code.ImageUri"));
        }
        match (text("ZipFile"), text("S3Bucket"), text("S3Key")) {
            (Some(zip), None, None) => {
                let zip = base64::engine::general_purpose::STANDARD.decode(zip);
                let zip =
                    zip.map_err(|_| Error::new("SerializationException", "ZipFile is not base64"))?;
                if zip.len() > ZIPPED_BYTES_MAX {
                    return Err(package_error(PackageError::ZippedTooLarge));
                }
                Ok(zip.into())
            }
            (None, Some(bucket), Some(key)) => {
                let region = call.caller.region.to_string();
                let version = text("S3ObjectVersion");
                let objects = self.objects.as_ref().ok_or(ObjectError::NoEndpoint);
                let object = Object { bucket, key, version, region };
                let fetched = match objects {
                    Ok(objects) => objects.get(object).await,
                    Err(error) => Err(error),
                };
                match fetched {
                    Ok(zip) => Ok(zip),
                    Err(ObjectError::TooLarge) => {
                        Err(package_error(PackageError::UnzippedTooLarge))
                    }
                    Err(error) => {
                        Err(Error::invalid(format!("Error occurred while GetObject. {error}")))
                    }
                }
            }
            _ => Err(Error::invalid("Please provide a source for function code.")),
        }
    }

    /// Changes a function and what invocations run, together. Blocks for the disk.
    pub(crate) fn change<T>(
        &self,
        arn: &FunctionArn,
        decide: impl FnOnce(&mut Option<Function>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _together = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.store.function(arn);
        let decided = self.store.change(arn, decide)?;
        self.serve(arn);
        self.suspect_left(old.as_deref(), self.store.function(arn).as_deref());
        Ok(decided)
    }

    /// As [`Service::change`], off the event loop, of a function that must be there.
    pub(crate) async fn change_there<T: Send + 'static>(
        self: &Arc<Self>,
        arn: &FunctionArn,
        change: impl FnOnce(&mut Function) -> Result<T, Error> + Send + 'static,
        absent: impl FnOnce() -> Error + Send + 'static,
    ) -> Result<T, Error> {
        let (service, arn) = (self.clone(), arn.clone());
        blocking(move || {
            service.change(&arn, |function| change(function.as_mut().ok_or_else(absent)?))
        })
        .await
    }

    /// The end of `Pending` or `InProgress`: the new code and configuration serve. Blocks.
    pub(crate) fn settle(&self, arn: &FunctionArn, revision: &str) -> Result<(), Error> {
        self.change(arn, |function| {
            // Deleted or changed meanwhile: that change settles.
            let function = function.as_mut().filter(|found| found.latest.revision_id == revision);
            let Some(function) = function else { return Ok(()) };
            settled(Arc::make_mut(&mut function.latest));
            for record in function.versions.values_mut().filter(|found| !is_settled(found)) {
                settled(Arc::make_mut(record));
            }
            Ok(())
        })
    }

    /// Settles behind the answer, so that the caller sees the state before; again and again while
    /// the disk doesn't take it.
    pub(crate) fn settle_later(self: &Arc<Self>, arn: FunctionArn, revision: String) {
        let service = self.clone();
        tokio::spawn(async move {
            loop {
                let settle = {
                    let (service, arn, revision) = (service.clone(), arn.clone(), revision.clone());
                    blocking(move || service.settle(&arn, &revision))
                };
                match settle.await {
                    Ok(()) => return,
                    Err(error) => tracing::error!(%error, function = %arn, "not settled yet"),
                }
                tokio::time::sleep(SETTLE_AGAIN).await;
            }
        });
    }

    /// What environments are made from.
    pub(crate) fn version(
        &self,
        arn: &FunctionArn,
        version: String,
        record: &FunctionRecord,
    ) -> FunctionVersion {
        let sha256 = code::parse_hex(&record.code_sha256).unwrap_or_default();
        let json = record.logging.format == "JSON";
        let level = |level: &Option<String>| level.as_deref().and_then(LogLevel::parse);
        FunctionVersion {
            arn: arn.clone(),
            version,
            revision: record.generation.clone(),
            runtime: Runtime::parse(record.runtime.as_deref().unwrap_or_default()),
            handler: record.handler.clone().unwrap_or_default(),
            role: record.role.clone(),
            memory: MemorySize::from_mb(record.memory_mb),
            timeout: Duration::from_secs(record.timeout_s.into()),
            ephemeral_storage_mb: record.ephemeral_storage_mb,
            environment: record.environment.clone().unwrap_or_default(),
            code: self.packages.tree(&sha256),
            layers: (!record.layers.is_empty())
                .then(|| self.packages.merged(&hashes(&record.layers))),
            tracing: if record.tracing == "Active" {
                Tracing::Active
            } else {
                Tracing::PassThrough
            },
            log_format: if json { LogFormat::Json } else { LogFormat::Text },
            application_log_level: level(&record.logging.application_level),
            system_log_level: level(&record.logging.system_level),
            tenant_isolation: record
                .echoed
                .get("TenancyConfig")
                .is_some_and(|config| config["TenantIsolationMode"] == "PER_TENANT"),
            log_group: record.logging.group.clone(),
        }
    }
}

/// Nothing of it is on its way.
pub(crate) fn is_settled(record: &FunctionRecord) -> bool {
    record.state == State::Active && record.update != Some(Update::InProgress)
}

fn settled(record: &mut FunctionRecord) {
    record.state = State::Active;
    record.update = Some(Update::Successful);
    record.revision_id = Uuid::new_v4().to_string();
}

/// Refuses a change of a record that somebody else has changed since (§2.8).
pub(crate) fn check_revision(given: &Value, current: &str, api: &str) -> Result<(), Error> {
    if given.as_str().is_none_or(|given| given == current) {
        return Ok(());
    }
    Err(Error::new(
        "PreconditionFailedException",
        format!(
            "The Revision Id provided does not match the latest Revision Id. Call the {api} API to retrieve the latest Revision Id"
        ),
    ))
}

/// Refuses a change while another is on its way (§2.3).
pub(crate) fn check_changeable(arn: &FunctionArn, record: &FunctionRecord) -> Result<(), Error> {
    if record.state == State::Pending {
        return Err(Error::new(
            "ResourceConflictException",
            "The operation cannot be performed at this time. The function is currently in the following state: Pending",
        ));
    }
    if record.update == Some(Update::InProgress) {
        return Err(Error::new(
            "ResourceConflictException",
            format!(
                "The operation cannot be performed at this time. An update is in progress for resource: {arn}"
            ),
        ));
    }
    Ok(())
}

/// Now, as `LastModified` writes it.
pub(crate) fn last_modified() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string()
}

/// `FunctionConfiguration` (§2.3). Lists leave the states out.
pub(crate) fn configuration(
    arn: &str,
    version: &str,
    record: &FunctionRecord,
    in_list: bool,
) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| {
        out.insert(key.to_owned(), value);
    };
    let region = arn.split(':').nth(3).unwrap_or_default();
    put("FunctionName", json!(arn.split(':').nth(6).unwrap_or_default()));
    put("FunctionArn", json!(arn));
    for (key, value) in [("Runtime", &record.runtime), ("Handler", &record.handler)] {
        if let Some(value) = value {
            put(key, json!(value));
        }
    }
    put("Role", json!(record.role));
    put("CodeSize", json!(record.code_size));
    put("Description", json!(record.description));
    put("Timeout", json!(record.timeout_s));
    put("MemorySize", json!(record.memory_mb));
    put("LastModified", json!(record.last_modified));
    put("CodeSha256", json!(code_sha256(record)));
    put("Version", json!(version));
    if let Some(environment) = &record.environment {
        put("Environment", json!({ "Variables": environment }));
    }
    if !record.layers.is_empty() {
        let layers = record.layers.iter();
        let layers = layers.map(|layer| json!({ "Arn": layer.arn, "CodeSize": layer.code_size }));
        put("Layers", layers.collect());
    }
    put("TracingConfig", json!({ "Mode": record.tracing }));
    put("RevisionId", json!(record.revision_id));
    put("PackageType", json!(record.package_type));
    put("Architectures", json!(record.architectures));
    put("EphemeralStorage", json!({ "Size": record.ephemeral_storage_mb }));
    let mut logging =
        json!({ "LogFormat": record.logging.format, "LogGroup": record.logging.group });
    if record.logging.format == "JSON" {
        let level = |level: &Option<String>| level.clone().unwrap_or_else(|| "INFO".to_owned());
        logging["ApplicationLogLevel"] = json!(level(&record.logging.application_level));
        logging["SystemLogLevel"] = json!(level(&record.logging.system_level));
    }
    put("LoggingConfig", logging);
    put("SnapStart", json!({ "ApplyOn": "None", "OptimizationStatus": "Off" }));
    for (key, value) in &record.echoed {
        put(key, value.clone());
    }
    if in_list {
        return Value::Object(out);
    }
    if let Some(runtime) = &record.runtime {
        let hash = <sha2::Sha256 as sha2::Digest>::digest(runtime);
        let hash = code::hex(&hash);
        let version = format!("arn:aws:lambda:{region}::runtime:{hash}");
        put("RuntimeVersionConfig", json!({ "RuntimeVersionArn": version }));
    }
    let reason = "The function is being created.";
    match record.state {
        State::Active => put("State", json!("Active")),
        State::Pending => {
            put("State", json!("Pending"));
            put("StateReason", json!(reason));
            put("StateReasonCode", json!("Creating"));
        }
    }
    match record.update {
        None => {}
        Some(Update::Successful) => put("LastUpdateStatus", json!("Successful")),
        // AWS's reason of an update is that of a creation.
        Some(Update::InProgress) => {
            put("LastUpdateStatus", json!("InProgress"));
            put("LastUpdateStatusReason", json!(reason));
            put("LastUpdateStatusReasonCode", json!("Creating"));
        }
    }
    Value::Object(out)
}

/// `CodeSha256`.
pub(crate) fn code_sha256(record: &FunctionRecord) -> String {
    code::base64_of_hex(&record.code_sha256)
}

pub(crate) fn package_error(error: PackageError) -> Error {
    match error {
        PackageError::ZippedTooLarge => {
            Error::new("RequestEntityTooLargeException", error.to_string())
        }
        PackageError::Io(_) => Error::service(&error),
        error => Error::invalid(error.to_string()),
    }
}

/// Members that are stored and echoed, without effect here.
const ECHOED: [&str; 5] =
    ["DeadLetterConfig", "KMSKeyArn", "VpcConfig", "FileSystemConfigs", "SnapStart"];

/// Takes the members of a request that CreateFunction and UpdateFunctionConfiguration share.
pub(crate) fn apply(record: &mut FunctionRecord, body: &Value, name: &str) -> Result<(), Error> {
    let text = |key: &str| body[key].as_str().map(str::to_owned);
    let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
    if let Some(runtime) = text("Runtime") {
        check_runtime(&runtime)?;
        record.runtime = Some(runtime);
    }
    if let Some(handler) = text("Handler") {
        record.handler = Some(handler);
    }
    if let Some(role) = text("Role") {
        record.role = role;
    }
    if let Some(description) = text("Description") {
        record.description = description;
    }
    if let Some(timeout) = number(&body["Timeout"]) {
        check_range("timeout", timeout, 1, 900)?;
        record.timeout_s = timeout;
    }
    if let Some(memory) = number(&body["MemorySize"]) {
        check_range("memorySize", memory, 128, 10_240)?;
        record.memory_mb = memory;
    }
    if let Some(size) = number(&body["EphemeralStorage"]["Size"]) {
        check_range("ephemeralStorage.size", size, 512, 10_240)?;
        record.ephemeral_storage_mb = size;
    }
    if let Some(mode) = body["TracingConfig"]["Mode"].as_str() {
        mode.clone_into(&mut record.tracing);
    }
    if let Some(variables) = body["Environment"].as_object() {
        record.environment = Some(environment(variables)?);
    }
    logging(record, &body["LoggingConfig"], name)?;
    for key in ECHOED {
        match &body[key] {
            Value::Null => {}
            value if is_cleared(value) => {
                record.echoed.remove(key);
            }
            value => {
                record.echoed.insert(key.to_owned(), echo(key, value));
            }
        }
    }
    Ok(())
}

/// `""`, `{"TargetArn":""}` and lists that are empty take a setting back.
fn is_cleared(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(is_cleared),
        _ => false,
    }
}

fn echo(key: &str, value: &Value) -> Value {
    let mut value = value.clone();
    match key {
        "SnapStart" => value["OptimizationStatus"] = json!("Off"),
        "VpcConfig" => {
            value["VpcId"] = json!("");
            value["Ipv6AllowedForDualStack"] = json!(false);
        }
        _ => {}
    }
    value
}

/// On-demand functions have narrower bounds than the model, which knows managed instances too.
fn check_range(member: &str, value: u32, min: u32, max: u32) -> Result<(), Error> {
    let constraint = match value {
        _ if value < min => format!("greater than or equal to {min}"),
        _ if value > max => format!("less than or equal to {max}"),
        _ => return Ok(()),
    };
    Err(Error::new(
        "ValidationException",
        format!(
            "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: Member must have value {constraint}"
        ),
    ))
}

/// Runtimes accepted for create (§2.4).
const RUNTIMES: [&str; 31] = [
    "nodejs16.x",
    "nodejs18.x",
    "nodejs20.x",
    "nodejs22.x",
    "nodejs24.x",
    "nodejs26.x",
    "python3.8",
    "python3.9",
    "python3.10",
    "python3.11",
    "python3.12",
    "python3.13",
    "python3.14",
    "python3.15",
    "java8.al2",
    "java11",
    "java17",
    "java21",
    "java25",
    "java8.al2023",
    "java11.al2023",
    "java17.al2023",
    "dotnet6",
    "dotnet8",
    "dotnet10",
    "ruby3.2",
    "ruby3.3",
    "ruby3.4",
    "ruby4.0",
    "provided.al2",
    "provided.al2023",
];

/// Known, and refused by AWS (§2.4).
const RETIRED: [&str; 8] = [
    "dotnetcore3.1",
    "go1.x",
    "java8",
    "nodejs12.x",
    "nodejs14.x",
    "provided",
    "python3.7",
    "ruby2.7",
];

fn check_runtime(runtime: &str) -> Result<(), Error> {
    if RUNTIMES.contains(&runtime) {
        return Ok(());
    }
    if RETIRED.contains(&runtime) {
        return Err(Error::invalid(format!(
            "The runtime parameter of {runtime} is no longer supported for creating or updating AWS Lambda functions. We recommend you use a supported runtime while creating or updating functions."
        )));
    }
    Err(Error::invalid(format!(
        "Value {runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [{}] or be a valid ARN",
        RUNTIMES.join(", ")
    )))
}

fn environment(given: &Map<String, Value>) -> Result<BTreeMap<String, String>, Error> {
    let failed = "Lambda was unable to configure your environment variables because the environment variables you have provided";
    let variables: BTreeMap<String, String> = given
        .get("Variables")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    let reserved: Vec<&str> = variables
        .keys()
        .map(String::as_str)
        .filter(|key| coldframe_core::config::RESERVED_VARIABLES.contains(key))
        .collect();
    if !reserved.is_empty() {
        return Err(Error::invalid(format!(
            "{failed} contains reserved keys that are currently not supported for modification. Reserved keys used in this request: {}",
            reserved.join(", ")
        )));
    }
    let measured = json!(variables).to_string();
    if measured.len() > coldframe_core::limits::ENVIRONMENT_VARIABLES_BYTES_MAX {
        return Err(Error::invalid(format!(
            "{failed} exceeded the 4KB limit. String measured: {measured}"
        )));
    }
    Ok(variables)
}

fn logging(record: &mut FunctionRecord, given: &Value, name: &str) -> Result<(), Error> {
    if given.is_null() {
        return Ok(());
    }
    let text = |key: &str| given[key].as_str().map(str::to_owned);
    let logging = &mut record.logging;
    if let Some(format) = text("LogFormat") {
        logging.format = format;
    }
    let (application, system) = (text("ApplicationLogLevel"), text("SystemLogLevel"));
    if logging.format != "JSON" {
        if application.is_some() || system.is_some() {
            return Err(Error::invalid(
                "LogLevel is not supported when LogFormat is set to \"Text\". Remove LogLevel from your request or change the LogFormat to \"JSON\" and try again.",
            ));
        }
        (logging.application_level, logging.system_level) = (None, None);
    } else {
        logging.application_level = application.or(logging.application_level.take());
        logging.system_level = system.or(logging.system_level.take());
        logging.application_level.get_or_insert_with(|| "INFO".to_owned());
        logging.system_level.get_or_insert_with(|| "INFO".to_owned());
    }
    if let Some(group) = text("LogGroup") {
        logging.group = if group.is_empty() { format!("/aws/lambda/{name}") } else { group };
    }
    Ok(())
}
