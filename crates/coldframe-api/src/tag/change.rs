//! `TagResource` and `UntagResource` (service-api.md §2.13).

use std::collections::BTreeMap;
use std::sync::Arc;

use coldframe_core::FunctionArn;
use hyper::StatusCode;

use super::{add, tagged};
use crate::{Call, Error, Reply, Service, empty};

impl Service {
    pub(crate) async fn tag_resource(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let arn = tagged(&call)?;
        let given = call.json["Tags"].clone();
        if given.as_object().is_none_or(serde_json::Map::is_empty) {
            return Err(Error::invalid("An error occurred and the request cannot be processed."));
        }
        self.change_tags(arn, move |tags| add(tags, &given)).await
    }

    /// Keys that aren't there are as good as removed.
    pub(crate) async fn untag_resource(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let arn = tagged(&call)?;
        let keys: Vec<String> = call
            .query
            .iter()
            .filter(|(name, _)| name == "tagKeys")
            .map(|(_, key)| key.clone())
            .collect();
        let remove = move |tags: &mut BTreeMap<String, String>| {
            tags.retain(|key, _| !keys.contains(key));
            Ok(())
        };
        self.change_tags(arn, remove).await
    }

    async fn change_tags(
        self: &Arc<Self>,
        arn: FunctionArn,
        change: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), Error> + Send + 'static,
    ) -> Result<Reply, Error> {
        let absent = arn.to_string();
        let changed = self.change_there(
            &arn,
            |function| change(&mut Arc::make_mut(&mut function.settings).tags),
            move || Error::not_found(&absent),
        );
        changed.await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }
}
