//! `GetPolicy` (service-api.md §2.12).

use hyper::StatusCode;
use serde_json::json;

use super::subject;
use crate::function::named;
use crate::policy::{document, not_found};
use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) fn get_policy(&self, call: &Call) -> Result<Reply, Error> {
        let named = named(call)?;
        let absent = || not_found("The resource you requested does not exist.");
        let mut function = (*self.store.function(&named.arn).ok_or_else(absent)?).clone();
        let subject = subject(&mut function, &named).map_err(|_| absent())?;
        if subject.statements.is_empty() {
            return Err(absent());
        }
        let policy = document(subject.statements);
        let body = json!({ "Policy": policy, "RevisionId": subject.revision_id });
        Ok(crate::json(StatusCode::OK, &body))
    }
}
