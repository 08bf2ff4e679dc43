//! `GetPolicy` (service-api.md §2.12).

use hyper::StatusCode;
use serde_json::json;

use super::subject;
use crate::function::{Named, named};
use crate::policy::not_found;
use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) fn get_policy(&self, call: &Call) -> Result<Reply, Error> {
        self.policy_shown(&named(call)?)
    }

    /// The policy of what is named, as an answer.
    pub(crate) fn policy_shown(&self, named: &Named) -> Result<Reply, Error> {
        let absent = || not_found("The resource you requested does not exist.");
        let mut function = (*self.store.function(&named.arn).ok_or_else(absent)?).clone();
        let subject = subject(&mut function, named).map_err(|_| absent())?;
        if subject.statements.is_empty() {
            return Err(absent());
        }
        let body = json!({ "Policy": subject.document(), "RevisionId": subject.revision_id });
        Ok(crate::json(StatusCode::OK, &body))
    }
}
