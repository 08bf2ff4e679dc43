//! `UpdateAlias` (service-api.md §2.10).

use std::sync::Arc;

use hyper::StatusCode;
use uuid::Uuid;

use super::{check_version, configuration, weights};
use crate::function::{check_revision, named};
use crate::{Call, Error, Reply, Service, json};

impl Service {
    pub(crate) async fn update_alias(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let arn = named(&call)?.arn;
        let name = call.label("Name").to_owned();
        let (of, body) = (arn.clone(), call.json);
        let absent = {
            let shown = arn.qualified(&name);
            move || Error::new("ResourceNotFoundException", format!("Alias not found: {shown}"))
        };
        let updated = self.change_there(
            &arn,
            {
                let absent = absent.clone();
                move |function| {
                    let current = function.aliases.get(&name).ok_or_else(absent)?;
                    check_revision(
                        &body["RevisionId"],
                        &current.revision_id,
                        "GetFunction/GetAlias",
                    )?;
                    let mut alias = (**current).clone();
                    if let Some(version) = body["FunctionVersion"].as_str() {
                        check_version(&of, function, version)?;
                        version.clone_into(&mut alias.version);
                    }
                    if let Some(description) = body["Description"].as_str() {
                        description.clone_into(&mut alias.description);
                    }
                    if !body["RoutingConfig"].is_null() {
                        alias.weights =
                            weights(&of, function, &alias.version, &body["RoutingConfig"])?;
                    } else if alias.weights.contains_key(&alias.version) {
                        // Moved to where a share went already: all goes there now.
                        alias.weights.clear();
                    }
                    alias.revision_id = Uuid::new_v4().to_string();
                    let shown = configuration(&of, &name, &alias);
                    function.aliases.insert(name, Arc::new(alias));
                    Ok(shown)
                }
            },
            absent,
        );
        Ok(json(StatusCode::OK, &updated.await?))
    }
}
