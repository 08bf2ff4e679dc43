//! `UpdateFunctionCode` and `UpdateFunctionConfiguration` (service-api.md §2.6).

use std::sync::Arc;

use coldframe_store::{FunctionRecord, Update};
use hyper::StatusCode;
use uuid::Uuid;

use super::create::architectures;
use super::{Named, apply, configuration, last_modified, named, package_error, zip_file};
use crate::{Call, Error, Reply, Service, blocking, json};

impl Service {
    pub(crate) async fn update_function_code(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let named = named(&call)?;
        let current = self.updatable(&named, &call)?;
        if !call.json["ImageUri"].is_null() {
            return Err(Error::invalid(
                "Please don't provide ImageUri when updating a function with packageType Zip.",
            ));
        }
        if call.json["Publish"].as_bool() == Some(true) {
            return Err(Error::not_implemented("Publish"));
        }
        let zip = zip_file(&call.json)?;
        let dry_run = call.json["DryRun"].as_bool() == Some(true);
        let mut record = FunctionRecord::clone(&current);
        if let Some(architectures) = architectures(&call.json) {
            record.architectures = architectures;
        }
        let service = self.clone();
        let record = blocking(move || {
            let packages = &service.packages;
            let package = if dry_run { packages.examine(&zip) } else { packages.admit(&zip) };
            let package = package.map_err(package_error)?;
            record.code_sha256 = package.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
            record.code_size = package.zipped_bytes;
            Ok(record)
        });
        let record = record.await?;
        if dry_run {
            return Ok(json(
                StatusCode::OK,
                &configuration(&named.arn.to_string(), &record, false),
            ));
        }
        self.update(named, &current, record).await
    }

    pub(crate) async fn update_function_configuration(
        self: Arc<Self>,
        call: Call,
    ) -> Result<Reply, Error> {
        let named = named(&call)?;
        let current = self.updatable(&named, &call)?;
        let mut record = FunctionRecord::clone(&current);
        apply(&mut record, &call.json, &named.arn.name)?;
        self.update(named, &current, record).await
    }

    /// The record, if it may be changed now.
    fn updatable(&self, named: &Named, call: &Call) -> Result<Arc<FunctionRecord>, Error> {
        let current = self.find(named)?;
        if call.json["RevisionId"].as_str().is_some_and(|given| given != current.revision_id) {
            return Err(Error::new(
                "PreconditionFailedException",
                "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id",
            ));
        }
        if current.state == coldframe_store::State::Pending {
            return Err(Error::new(
                "ResourceConflictException",
                "The operation cannot be performed at this time. The function is currently in the following state: Pending",
            ));
        }
        if current.update == Some(Update::InProgress) {
            return Err(Error::new(
                "ResourceConflictException",
                format!(
                    "The operation cannot be performed at this time. An update is in progress for resource: {}",
                    named.arn
                ),
            ));
        }
        Ok(current)
    }

    /// Stores the new record as being updated; it serves once settled.
    async fn update(
        self: &Arc<Self>,
        named: Named,
        current: &FunctionRecord,
        mut record: FunctionRecord,
    ) -> Result<Reply, Error> {
        record.last_modified = last_modified();
        record.revision_id = Uuid::new_v4().to_string();
        record.generation = Uuid::new_v4().to_string();
        record.update = Some(Update::InProgress);
        let (service, arn) = (self.clone(), named.arn.clone());
        let revision = current.revision_id.clone();
        let stored = blocking(move || Ok(service.store.replace(&arn, &revision, record)));
        let record = match stored.await? {
            Err(coldframe_store::Error::Absent) => return Err(Error::not_found(&named.shown())),
            result => result?,
        };
        self.settle_later(named.arn.clone(), record.revision_id.clone());
        Ok(json(StatusCode::OK, &configuration(&named.arn.to_string(), &record, false)))
    }
}
