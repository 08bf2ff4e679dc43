//! `PutResourcePolicy` (service-api.md §2.12).

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::json;

use super::{named, parse};
use crate::function::check_revision;
use crate::permission::subject;
use crate::{Call, Error, Reply, Service};

impl Service {
    /// Nothing here blocks public policies, so `PublicPolicyException` has no reason to come.
    pub(crate) async fn put_resource_policy(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let named = named(&call)?;
        let (head, statements) = parse(call.json["Policy"].as_str().unwrap_or_default())?;
        let given = call.json["RevisionId"].clone();
        let arn = named.arn.clone();
        let absent = named.shown();
        let put = self.change_there(
            &arn,
            move |function| {
                let there = subject(function, &named)?;
                check_revision(&given, there.revision_id, "GetResourcePolicy")?;
                there.replace(head, statements)?;
                let now = subject(function, &named)?;
                Ok(json!({ "Policy": now.document(), "RevisionId": now.revision_id }))
            },
            move || Error::not_found(&absent),
        );
        Ok(crate::json(StatusCode::OK, &put.await?))
    }
}
