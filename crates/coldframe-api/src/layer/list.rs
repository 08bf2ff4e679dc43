//! `ListLayers` and `ListLayerVersions` (service-api.md §2.11).

use std::sync::Arc;

use coldframe_store::{Layer, LayerRecord};
use hyper::StatusCode;
use serde_json::json;

use super::{item, layer_arn, own};
use crate::page::Page;
use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) fn list_layers(&self, call: &Call) -> Result<Reply, Error> {
        let page = Page::of(call)?;
        let after = layer_arn(call.caller.account.clone(), &call.caller.region, &page.after);
        let layers = self.store.list_layers(&after);
        let items = layers.iter().filter_map(|(arn, layer)| {
            let (number, record) = matching(call, layer).next()?;
            let shown = json!({
                "LayerName": &*arn.name,
                "LayerArn": arn.to_string(),
                "LatestMatchingVersion": item(arn, number, record),
            });
            Some((arn.name.to_string(), shown))
        });
        Ok(crate::json(StatusCode::OK, &page.answer("Layers", items)))
    }

    /// The newest first; of a layer that isn't there, none.
    pub(crate) fn list_layer_versions(&self, call: &Call) -> Result<Reply, Error> {
        let arn = own(call)?;
        let page = Page::of(call)?;
        let layer = self.store.layer(&arn).unwrap_or_default();
        let before = page.after.parse().unwrap_or(u64::MAX);
        let items = matching(call, &layer)
            .filter(|(number, _)| *number < before)
            .map(|(number, record)| (number.to_string(), item(&arn, number, record)));
        Ok(crate::json(StatusCode::OK, &page.answer("LayerVersions", items)))
    }
}

/// The versions that suit what the request asks for, the newest first.
fn matching<'a>(
    call: &'a Call,
    layer: &'a Layer,
) -> impl Iterator<Item = (u64, &'a Arc<LayerRecord>)> {
    let suits = |asked: Option<&str>, listed: &Option<Vec<String>>| {
        let has = |asked: &str| listed.iter().flatten().any(|one| one == asked);
        asked.is_none_or(has)
    };
    let versions = layer.versions.iter().rev().map(|(number, record)| (*number, record));
    versions.filter(move |(_, record)| {
        suits(call.query("CompatibleRuntime"), &record.runtimes)
            && suits(call.query("CompatibleArchitecture"), &record.architectures)
    })
}
