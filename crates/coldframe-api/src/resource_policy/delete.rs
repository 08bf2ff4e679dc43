//! `DeleteResourcePolicy` (service-api.md §2.12).

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::Value;

use super::named;
use crate::function::check_revision;
use crate::permission::subject;
use crate::policy::not_found;
use crate::{Call, Error, Reply, Service, empty};

impl Service {
    pub(crate) async fn delete_resource_policy(
        self: Arc<Self>,
        call: Call,
    ) -> Result<Reply, Error> {
        let named = named(&call)?;
        let given = call.query("RevisionId").map_or(Value::Null, Value::from);
        let arn = named.arn.clone();
        let absent = named.shown();
        let deleted = self.change_there(
            &arn,
            move |function| {
                let there = subject(function, &named)?;
                if !there.statements.is_empty() {
                    check_revision(&given, there.revision_id, "GetResourcePolicy")?;
                }
                there.clear()
            },
            move || not_found(format!("No policy found for: {absent}")),
        );
        deleted.await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }
}
