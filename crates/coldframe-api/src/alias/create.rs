//! `CreateAlias` (service-api.md §2.10).

use std::sync::Arc;

use coldframe_store::AliasRecord;
use hyper::StatusCode;
use uuid::Uuid;

use super::{check_version, configuration, weights};
use crate::function::named;
use crate::{Call, Error, Reply, Service, json};

impl Service {
    pub(crate) async fn create_alias(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let arn = named(&call)?.arn;
        let (of, body) = (arn.clone(), call.json);
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        let (name, version, description) =
            (text("Name"), text("FunctionVersion"), text("Description"));
        let absent = arn.qualified(&version);
        let created = self.change_there(
            &arn,
            move |function| {
                if function.aliases.contains_key(&name) {
                    return Err(Error::new(
                        "ResourceConflictException",
                        format!("Alias already exists: {}", of.qualified(&name)),
                    ));
                }
                check_version(&of, function, &version)?;
                let weights = weights(&of, function, &version, &body["RoutingConfig"])?;
                let revision_id = Uuid::new_v4().to_string();
                let alias = AliasRecord {
                    version,
                    description,
                    revision_id,
                    weights,
                    ..AliasRecord::default()
                };
                let shown = configuration(&of, &name, &alias);
                function.aliases.insert(name, Arc::new(alias));
                Ok(shown)
            },
            move || Error::not_found(&absent),
        );
        Ok(json(StatusCode::CREATED, &created.await?))
    }
}
