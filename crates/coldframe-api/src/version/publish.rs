//! `PublishVersion` (service-api.md §2.9).

use std::sync::Arc;

use coldframe_store::{Function, FunctionRecord, State, Update};
use hyper::StatusCode;
use uuid::Uuid;

use crate::function::{check_changeable, check_revision, code_sha256, configuration, named};
use crate::storage::code_size;
use crate::{Call, Error, Reply, Service, json};

impl Service {
    pub(crate) async fn publish_version(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let arn = named(&call)?.arn;
        let (of, body, caller) = (arn.clone(), call.json, call.caller);
        let service = self.clone();
        let published = self.change_there(
            &arn,
            move |function| {
                let latest = &function.latest;
                check_revision(&body["RevisionId"], &latest.revision_id, "GetFunction/GetAlias")?;
                check_changeable(&of, latest)?;
                let current = code_sha256(latest);
                if let Some(given) = body["CodeSha256"].as_str().filter(|text| !text.is_empty())
                    && given != current
                {
                    return Err(Error::invalid(format!(
                        "CodeSHA256 ({given}) is different from current CodeSHA256 in $LATEST ({current}). Please try again with the CodeSHA256 in $LATEST."
                    )));
                }
                let description = body["Description"].as_str().map(str::to_owned);
                let before = code_size(function);
                let (number, record) = publish(function, description, State::Active);
                let number = number.to_string();
                service.check_code_storage(&caller, code_size(function), before)?;
                Ok(configuration(&of.qualified(&number), &number, &record, false))
            },
            {
                let shown = arn.to_string();
                move || Error::not_found(&shown)
            },
        );
        Ok(json(StatusCode::CREATED, &published.await?))
    }
}

/// Makes a version of `$LATEST` as it stands, unless the last one is still the same.
pub(crate) fn publish(
    function: &mut Function,
    description: Option<String>,
    state: State,
) -> (u64, Arc<FunctionRecord>) {
    let last = function.settings.last_version;
    if let Some(record) = function.versions.get(&last)
        && function.settings.published_description == function.latest.description
        && content(record) == content(&function.latest)
    {
        return (last, record.clone());
    }
    let latest = Arc::make_mut(&mut function.latest);
    latest.revision_id = Uuid::new_v4().to_string();
    let record = Arc::new(FunctionRecord {
        description: description.unwrap_or_else(|| latest.description.clone()),
        state,
        update: (state == State::Active).then_some(Update::Successful),
        revision_id: Uuid::new_v4().to_string(),
        // Its environments are its own.
        generation: Uuid::new_v4().to_string(),
        policy: Vec::new(),
        policy_head: None,
        runtime_update: None,
        ..latest.clone()
    });
    let settings = Arc::make_mut(&mut function.settings);
    settings.last_version += 1;
    settings.published_description.clone_from(&latest.description);
    function.versions.insert(settings.last_version, record.clone());
    (settings.last_version, record)
}

/// Code and configuration, without what changes by itself and what belongs to one version only.
fn content(record: &FunctionRecord) -> FunctionRecord {
    FunctionRecord {
        description: String::new(),
        last_modified: String::new(),
        revision_id: String::new(),
        generation: String::new(),
        state: State::Active,
        update: None,
        policy: Vec::new(),
        policy_head: None,
        runtime_update: None,
        provisioned: None,
        ..record.clone()
    }
}
