//! `AddPermission` (service-api.md §2.12).

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::subject;
use crate::function::{Which, check_revision, named};
use crate::policy::{Statement, principal};
use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) async fn add_permission(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let named = named(&call)?;
        if named.which() == Which::Latest && named.qualifier.is_some() {
            return Err(Error::invalid("We currently do not support adding policies for $LATEST."));
        }
        let (arn, body) = (named.arn.clone(), call.json);
        let absent = arn.to_string();
        let added = self.change_there(
            &arn,
            move |function| {
                let text = |key: &str| body[key].as_str().unwrap_or_default();
                let resource = named.shown();
                let subject = subject(function, &named)?;
                check_revision(&body["RevisionId"], subject.revision_id, "GetPolicy")?;
                let principal = principal(text("Principal"), named.arn.partition());
                subject.add(&Statement {
                    sid: text("StatementId"),
                    effect: "Allow",
                    principal: principal.ok_or_else(|| {
                        Error::invalid(
                            "The provided principal was invalid. Please check the principal and try again.",
                        )
                    })?,
                    action: text("Action"),
                    resource,
                    condition: condition(&body),
                })
            },
            move || Error::not_found(&absent),
        );
        Ok(crate::json(StatusCode::CREATED, &json!({ "Statement": added.await? })))
    }
}

/// What must be the case besides; null if nothing.
fn condition(body: &Value) -> Value {
    let equal = [
        ("AWS:SourceAccount", "SourceAccount"),
        ("lambda:FunctionUrlAuthType", "FunctionUrlAuthType"),
        ("aws:PrincipalOrgID", "PrincipalOrgID"),
        ("lambda:EventSourceToken", "EventSourceToken"),
    ];
    let mut condition = Map::new();
    let equal: Map<String, Value> = equal
        .iter()
        .filter_map(|(key, member)| Some(((*key).to_owned(), json!(body[member].as_str()?))))
        .collect();
    if !equal.is_empty() {
        condition.insert("StringEquals".to_owned(), Value::Object(equal));
    }
    if let Some(source) = body["SourceArn"].as_str() {
        condition.insert("ArnLike".to_owned(), json!({ "AWS:SourceArn": source }));
    }
    if let Some(by_url) = body["InvokedViaFunctionUrl"].as_bool() {
        let by_url = by_url.to_string();
        condition.insert("Bool".to_owned(), json!({ "lambda:InvokedViaFunctionUrl": by_url }));
    }
    if condition.is_empty() { Value::Null } else { Value::Object(condition) }
}
