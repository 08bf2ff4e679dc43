//! `AddLayerVersionPermission`, `GetLayerVersionPolicy` and `RemoveLayerVersionPermission`
//! (service-api.md §2.11).

use std::sync::Arc;

use coldframe_core::LayerArn;
use coldframe_store::LayerRecord;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::{number, own, version_absent};
use crate::function::check_revision;
use crate::policy::{Statement, Subject, document, not_found, principal};
use crate::{Call, Error, Reply, Service, blocking, empty};

impl Service {
    pub(crate) async fn add_layer_version_permission(
        self: Arc<Self>,
        call: Call,
    ) -> Result<Reply, Error> {
        let (arn, number) = (own(&call)?, number(&call)?);
        let resource = arn.version(number);
        let body = call.json.clone();
        let changed = self.change_policy(&call, arn, number, move |subject| {
            let text = |key: &str| body[key].as_str().unwrap_or_default();
            let organization = body["OrganizationId"].as_str();
            subject.add(&Statement {
                sid: text("StatementId"),
                effect: "Allow",
                principal: principal(text("Principal"), "aws").ok_or_else(|| {
                    Error::invalid(
                        "The provided principal was invalid. Please check the principal and try again.",
                    )
                })?,
                action: text("Action"),
                resource,
                condition: organization.map_or(Value::Null, |organization| {
                    json!({ "StringEquals": { "aws:PrincipalOrgID": organization } })
                }),
            })
        });
        let (statement, revision) = changed.await?;
        let body = json!({ "Statement": statement, "RevisionId": revision });
        Ok(crate::json(StatusCode::CREATED, &body))
    }

    pub(crate) fn get_layer_version_policy(&self, call: &Call) -> Result<Reply, Error> {
        let (arn, number) = (own(call)?, number(call)?);
        let layer = self.store.layer(&arn);
        let record = layer.as_ref().and_then(|layer| layer.versions.get(&number));
        let record = record.ok_or_else(|| version_absent(&arn.version(number)))?;
        if record.policy.is_empty() {
            return Err(not_found("No policy is associated with the given resource."));
        }
        let body =
            json!({ "Policy": document(&record.policy, None), "RevisionId": record.revision_id });
        Ok(crate::json(StatusCode::OK, &body))
    }

    pub(crate) async fn remove_layer_version_permission(
        self: Arc<Self>,
        call: Call,
    ) -> Result<Reply, Error> {
        let (arn, number) = (own(&call)?, number(&call)?);
        let id = call.label("StatementId").to_owned();
        self.change_policy(&call, arn, number, move |subject| subject.remove(&id)).await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// Changes the policy of a layer version; gives what the change gives, and the new revision.
    async fn change_policy<T: Send + 'static>(
        self: &Arc<Self>,
        call: &Call,
        arn: LayerArn,
        number: u64,
        change: impl FnOnce(Subject<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<(T, String), Error> {
        let given = call.query("RevisionId").map_or(Value::Null, Value::from);
        let service = self.clone();
        let changed = blocking(move || {
            service.store.change_layer(&arn, |layer| {
                let record = layer.versions.get_mut(&number);
                let record = record.ok_or_else(|| version_absent(&arn.version(number)))?;
                check_revision(&given, &record.revision_id, "GetLayerPolicy")?;
                let LayerRecord { policy: statements, revision_id, .. } = Arc::make_mut(record);
                let changed = change(Subject { statements, head: &mut None, revision_id })?;
                Ok((changed, record.revision_id.clone()))
            })
        });
        changed.await
    }
}
