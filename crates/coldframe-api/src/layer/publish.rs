//! `PublishLayerVersion` (service-api.md §2.11).

use std::sync::Arc;

use coldframe_store::LayerRecord;
use hyper::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use super::own;
use crate::function::{last_modified, package_error};
use crate::{Call, Error, Reply, Service, blocking, code, json};

impl Service {
    pub(crate) async fn publish_layer_version(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let arn = own(&call)?;
        let zip = self.zip_of(&call, &call.json["Content"]).await?;
        let texts = |key: &str| {
            let given = call.json[key].as_array()?;
            Some(given.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        };
        let text = |key: &str| call.json[key].as_str().map(str::to_owned);
        let mut record = LayerRecord {
            description: text("Description").unwrap_or_default(),
            created: last_modified(),
            sha256: String::new(),
            code_size: 0,
            unzipped_size: 0,
            architectures: texts("CompatibleArchitectures"),
            runtimes: texts("CompatibleRuntimes"),
            license: text("LicenseInfo"),
            policy: Vec::new(),
            revision_id: Uuid::new_v4().to_string(),
        };
        let (service, of, caller) = (self.clone(), arn.clone(), call.caller.clone());
        let mut upload = self.storage.upload().await;
        let published = blocking(move || {
            let package = service.packages.admit(&zip).map_err(package_error)?;
            record.sha256 = code::hex(&package.sha256);
            record.code_size = package.zipped_bytes;
            record.unzipped_size = package.unzipped_bytes;
            upload.made([service.tree_of_layer(&record)]);
            let record = Arc::new(record);
            let published = service.store.change_layer(&of, |layer| {
                service.check_code_storage(&caller, record.code_size, 0)?;
                layer.last_version += 1;
                layer.versions.insert(layer.last_version, record.clone());
                Ok::<_, Error>((layer.last_version, record))
            })?;
            upload.keep();
            Ok(published)
        });
        let (number, record) = published.await?;
        Ok(json(StatusCode::CREATED, &self.whole(&call, &arn, number, &record)))
    }
}
