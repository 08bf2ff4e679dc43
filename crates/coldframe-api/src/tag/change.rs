//! `TagResource` and `UntagResource` (service-api.md §2.13).

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::StatusCode;

use super::{Tagged, add, no_mapping, tagged};
use crate::{Call, Error, Reply, Service, blocking, empty};

impl Service {
    pub(crate) async fn tag_resource(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let of = tagged(&self, &call)?;
        let given = call.json["Tags"].clone();
        if given.as_object().is_none_or(serde_json::Map::is_empty) {
            return Err(Error::invalid("An error occurred and the request cannot be processed."));
        }
        self.change_tags(of, &call, move |tags| add(tags, &given)).await
    }

    /// Keys that aren't there are as good as removed.
    pub(crate) async fn untag_resource(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let of = tagged(&self, &call)?;
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
        self.change_tags(of, &call, remove).await
    }

    async fn change_tags(
        self: &Arc<Self>,
        of: Tagged,
        call: &Call,
        change: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), Error> + Send + 'static,
    ) -> Result<Reply, Error> {
        match of {
            Tagged::Function(arn) => {
                let absent = arn.to_string();
                let changed = self.change_there(
                    &arn,
                    |function| change(&mut Arc::make_mut(&mut function.settings).tags),
                    move || Error::not_found(&absent),
                );
                changed.await?;
            }
            Tagged::Mapping(id) => {
                let (service, arn) = (self.clone(), call.label("Resource").to_owned());
                let changed = blocking(move || {
                    service.store.change_mapping(id, |mapping, _| {
                        change(&mut mapping.as_mut().ok_or_else(|| no_mapping(&arn))?.tags)
                    })
                });
                changed.await?;
            }
        }
        Ok(empty(StatusCode::NO_CONTENT))
    }
}
