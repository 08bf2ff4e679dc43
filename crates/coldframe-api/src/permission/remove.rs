//! `RemovePermission` (service-api.md §2.12).

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::Value;

use super::subject;
use crate::function::{check_revision, named};
use crate::policy::not_found;
use crate::{Call, Error, Reply, Service, empty};

impl Service {
    pub(crate) async fn remove_permission(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let named = named(&call)?;
        let id = call.label("StatementId").to_owned();
        let given = call.query("RevisionId").map_or(Value::Null, Value::from);
        let arn = named.arn.clone();
        let absent = arn.to_string();
        let removed = self.change_there(
            &arn,
            move |function| {
                let subject = subject(function, &named)?;
                if !subject.statements.is_empty() {
                    check_revision(&given, subject.revision_id, "GetPolicy")?;
                }
                subject.remove(&id)
            },
            move || not_found(format!("No policy found for: {absent}")),
        );
        removed.await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }
}
