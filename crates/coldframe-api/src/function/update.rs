//! `UpdateFunctionCode` and `UpdateFunctionConfiguration` (service-api.md §2.6).

use std::sync::Arc;

use coldframe_core::FunctionArn;
use coldframe_store::{FunctionRecord, State, Update};
use hyper::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use super::create::architectures;
use super::{
    Named, Which, apply, check_changeable, check_revision, configuration, last_modified, named,
    package_error,
};
use crate::layer::{check_unzipped, hashes};
use crate::storage::code_size;
use crate::version::publish;
use crate::{Call, Caller, Error, Reply, Service, blocking, code, json};

impl Service {
    pub(crate) async fn update_function_code(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let named = named_latest(&call)?;
        let current = self.find(&named)?.record;
        check(&named.arn, &current, &call.json)?;
        if !call.json["ImageUri"].is_null() {
            return Err(Error::invalid(
                "Please don't provide ImageUri when updating a function with packageType Zip.",
            ));
        }
        let zip = self.zip_of(&call, &call.json).await?;
        let dry_run = call.json["DryRun"].as_bool() == Some(true);
        let mut upload = self.storage.upload().await;
        let service = self.clone();
        let package = blocking(move || {
            let packages = &service.packages;
            let package = if dry_run { packages.examine(&zip) } else { packages.admit(&zip) };
            package.map_err(package_error)
        });
        let package = package.await?;
        upload.made([self.packages.tree(&package.sha256)]);
        let architectures = architectures(&call.json);
        let new_code = move |record: &mut FunctionRecord| {
            if let Some(architectures) = architectures {
                record.architectures = architectures;
            }
            record.code_sha256 = code::hex(&package.sha256);
            record.code_size = package.zipped_bytes;
            record.unzipped_size = package.unzipped_bytes;
            check_unzipped(&record.layers, record.unzipped_size)
        };
        if dry_run {
            let mut record = FunctionRecord::clone(&current);
            new_code(&mut record)?;
            let shown = configuration(&named.arn.to_string(), "$LATEST", &record, false);
            return Ok(json(StatusCode::OK, &shown));
        }
        let updated = self.update(named, call.caller, call.json, new_code).await?;
        upload.keep();
        Ok(updated)
    }

    pub(crate) async fn update_function_configuration(
        self: Arc<Self>,
        call: Call,
    ) -> Result<Reply, Error> {
        let named = named_latest(&call)?;
        let current = self.find(&named)?.record;
        check(&named.arn, &current, &call.json)?;
        // No layer goes between the look at it and its use.
        let mut upload = self.storage.upload().await;
        let layers = self.layers_of(&call.caller, &call.json["Layers"])?;
        if let Some(layers) = layers.clone().filter(|layers| !layers.is_empty()) {
            upload.made([self.packages.merged(&hashes(&layers))]);
            let service = self.clone();
            blocking(move || {
                let mut code_bytes = current.unzipped_size;
                if code_bytes == 0 {
                    // Deployed before sizes were kept.
                    let sha256 = code::parse_hex(&current.code_sha256).unwrap_or_default();
                    let zip = service.packages.zip(&sha256).map_err(package_error)?;
                    let package = service.packages.examine(&zip).map_err(package_error)?;
                    code_bytes = package.unzipped_bytes;
                }
                service.lay(&layers, code_bytes)
            })
            .await?;
        }
        let (body, name) = (call.json.clone(), named.arn.name.clone());
        let configure = move |record: &mut FunctionRecord| {
            if let Some(layers) = layers {
                record.layers = layers;
            }
            apply(record, &body, &name)
        };
        let updated = self.update(named, call.caller, call.json, configure).await?;
        upload.keep();
        Ok(updated)
    }

    /// Stores what `change` makes of `$LATEST` as being updated; it serves once settled. The answer
    /// is the version, if one is to be published.
    async fn update(
        self: &Arc<Self>,
        named: Named,
        caller: Caller,
        body: Value,
        change: impl FnOnce(&mut FunctionRecord) -> Result<(), Error> + Send + 'static,
    ) -> Result<Reply, Error> {
        let (arn, shown) = (named.arn.clone(), named.shown());
        let service = self.clone();
        let updated = self.change_there(
            &named.arn,
            move |function| {
                check(&arn, &function.latest, &body)?;
                let before = code_size(function);
                let record = Arc::make_mut(&mut function.latest);
                change(record)?;
                record.last_modified = last_modified();
                record.revision_id = Uuid::new_v4().to_string();
                record.generation = Uuid::new_v4().to_string();
                record.update = Some(Update::InProgress);
                let shown = if body["Publish"].as_bool() == Some(true) {
                    let (number, record) = publish(function, None, State::Pending);
                    let number = number.to_string();
                    configuration(&arn.qualified(&number), &number, &record, false)
                } else {
                    configuration(&arn.to_string(), "$LATEST", record, false)
                };
                service.check_code_storage(&caller, code_size(function), before)?;
                Ok((shown, function.latest.revision_id.clone()))
            },
            move || Error::not_found(&shown),
        );
        let (shown, revision) = updated.await?;
        self.settle_later(named.arn, revision);
        Ok(json(StatusCode::OK, &shown))
    }
}

/// The function of an update: only `$LATEST` can be changed.
fn named_latest(call: &Call) -> Result<Named, Error> {
    let named = named(call)?;
    if named.which() == Which::Latest {
        return Ok(named);
    }
    Err(Error::invalid(
        "Versions are immutable and aliases point to them. Please specify a function name or an unqualified function ARN.",
    ))
}

/// Whether the record may be changed now.
fn check(arn: &FunctionArn, current: &FunctionRecord, body: &Value) -> Result<(), Error> {
    check_revision(&body["RevisionId"], &current.revision_id, "GetFunction/GetAlias")?;
    check_changeable(arn, current)
}
