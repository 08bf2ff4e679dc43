//! `CreateFunction` (service-api.md §2.4).

use std::collections::BTreeMap;
use std::sync::Arc;

use coldframe_core::Runtime;
use coldframe_store::{Function, FunctionRecord, Logging, Settings, State};
use hyper::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use super::{apply, configuration, last_modified, package_error, resolve};
use crate::version::publish;
use crate::{Call, Error, Reply, Service, blocking, code, code_signing, json, set, tag};

impl Service {
    pub(crate) async fn create_function(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let body = &call.json;
        let given = body["FunctionName"].as_str().unwrap_or_default();
        let named = resolve(&call, given)?;
        let name = &*named.arn.name;
        if name.len() > 64 {
            return Err(Error::invalid(format!(
                "1 validation error detected: Value '{name}' at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 64"
            )));
        }
        if body["PackageType"].as_str() == Some("Image") {
            if ["Handler", "Runtime", "Layers"].iter().any(|key| !body[key].is_null()) {
                return Err(Error::invalid(
                    "Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image.",
                ));
            }
            return Err(Error::not_implemented("PackageType Image"));
        }
        if body["Runtime"].is_null() || body["Handler"].is_null() {
            return Err(Error::invalid(
                "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
            ));
        }
        if let Some(arn) = body["CodeSigningConfigArn"].as_str() {
            return Err(code_signing::absent(arn));
        }
        let mut record = FunctionRecord {
            runtime: None,
            handler: None,
            role: String::new(),
            description: String::new(),
            memory_mb: 128,
            timeout_s: 3,
            ephemeral_storage_mb: 512,
            environment: None,
            architectures: architectures(body).unwrap_or_else(|| vec!["x86_64".to_owned()]),
            tracing: "PassThrough".to_owned(),
            logging: Logging {
                format: "Text".to_owned(),
                application_level: None,
                system_level: None,
                group: format!("/aws/lambda/{name}"),
            },
            code_sha256: String::new(),
            code_size: 0,
            package_type: "Zip".to_owned(),
            last_modified: last_modified(),
            revision_id: Uuid::new_v4().to_string(),
            generation: Uuid::new_v4().to_string(),
            state: State::Pending,
            update: None,
            echoed: BTreeMap::new(),
            unzipped_size: 0,
            layers: Vec::new(),
            policy: Vec::new(),
            policy_head: None,
            runtime_update: None,
            provisioned: None,
        };
        apply(&mut record, body, name)?;
        // Only here: it cannot be changed.
        if let Some(tenancy) = body.get("TenancyConfig").filter(|config| config.is_object()) {
            record.echoed.insert("TenancyConfig".to_owned(), tenancy.clone());
        }
        let mut settings = Settings::default();
        tag::add(&mut settings.tags, &body["Tags"])?;
        record.layers = self.layers_of(&call.caller, &body["Layers"])?.unwrap_or_default();
        let publishes = body["Publish"].as_bool() == Some(true);
        let exists = {
            let text = format!("Function already exist: {name}");
            move || Error::new("ResourceConflictException", text)
        };
        if self.store.get(&named.arn).is_some() {
            return Err(exists());
        }
        let zip = self.zip_of(&call, &body["Code"]).await?;
        let (service, arn) = (self.clone(), named.arn.clone());
        let runtime = record.runtime.clone().unwrap_or_default();
        let caller = call.caller.clone();
        let mut upload = self.storage.upload().await;
        let created = blocking(move || {
            let package = service.packages.admit(&zip).map_err(package_error)?;
            record.code_sha256 = code::hex(&package.sha256);
            record.code_size = package.zipped_bytes;
            record.unzipped_size = package.unzipped_bytes;
            upload.made(service.trees(&record));
            service.lay(&record.layers, record.unzipped_size)?;
            let created = service.change(&arn, |there| {
                if there.is_some() {
                    return Err(exists());
                }
                let copies = if publishes { 2 } else { 1 };
                service.check_code_storage(&caller, copies * record.code_size, 0)?;
                let mut function = Function::new(record, settings);
                let shown = if publishes {
                    // AWS shows the version under the ARN of the function.
                    let (number, record) = publish(&mut function, None, State::Pending);
                    configuration(&arn.to_string(), &number.to_string(), &record, false)
                } else {
                    configuration(&arn.to_string(), "$LATEST", &function.latest, false)
                };
                let revision = function.latest.revision_id.clone();
                *there = Some(function);
                Ok((shown, revision))
            })?;
            upload.keep();
            Ok(created)
        });
        let (shown, revision) = created.await?;
        let runtime = Runtime::parse(&runtime);
        let service = self.clone();
        let missing = blocking(move || Ok(service.invoker.runtime_missing(&runtime))).await?;
        self.settle_later(named.arn.clone(), revision);
        let mut reply = json(StatusCode::CREATED, &shown);
        if let Some(missing) = missing {
            tracing::warn!(function = %named.arn, "{missing}");
            set(reply.headers_mut(), "warning", &format!("299 coldframe \"{missing}\""));
        }
        Ok(reply)
    }
}

pub(super) fn architectures(body: &Value) -> Option<Vec<String>> {
    let given = body["Architectures"].as_array()?;
    Some(given.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}
