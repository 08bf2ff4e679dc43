//! Event source mappings (service-api.md §7.1): their configuration; polling is [`EventSources`]'.
//!
//! ```text
//! Creating ─┬─► Enabled ◄──► Disabled     by Enabling, Disabling, Updating; Deleting ends all
//!           └─► (Disabled)
//! ```
//! A transition is kept before it is answered, and brought to its end behind the answer; what a
//! crash leaves of it, the next start ends.
//!
//! [`EventSources`]: coldframe_core::source::EventSources

mod create;
mod delete;
mod get;
mod list;
mod progress;
mod settings;
mod update;

use std::sync::Arc;
use std::time::Duration;

use coldframe_core::source::{Mapping, Source};
use coldframe_store::{FunctionKey, MappingRecord, Transition};
use serde_json::{Value, json};
use uuid::Uuid;

use self::settings::SourceArn;
use crate::function::{Named, resolve};
use crate::policy::not_found;
use crate::{Call, Caller, Error, Service, blocking};

/// Between attempts to bring a transition to its end.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);

/// `StateTransitionReason`
fn reason(record: &MappingRecord) -> &'static str {
    match SourceArn::parse(&record.source) {
        Some(SourceArn::Stream(_)) => "User action",
        _ => "USER_INITIATED",
    }
}

/// `arn:aws:lambda:REGION:ACCOUNT:event-source-mapping:ID`
fn arn_of(id: Uuid, record: &MappingRecord) -> String {
    let function = record.function.arn();
    let (partition, region) = (function.partition(), &function.region);
    format!("arn:{partition}:lambda:{region}:{}:event-source-mapping:{id}", function.account)
}

/// As the request gave it: with a qualifier or without.
fn function_arn(record: &MappingRecord) -> String {
    let arn = record.function.arn();
    record.qualifier.as_ref().map_or_else(|| arn.to_string(), |of| arn.qualified(of))
}

/// `EventSourceMappingConfiguration`
fn shown(id: Uuid, record: &MappingRecord) -> Value {
    let state = match (record.transition, record.enabled) {
        (Some(Transition::Creating), _) => "Creating",
        (Some(Transition::Enabling), _) => "Enabling",
        (Some(Transition::Disabling), _) => "Disabling",
        (Some(Transition::Updating), _) => "Updating",
        (Some(Transition::Deleting), _) => "Deleting",
        (None, true) => "Enabled",
        (None, false) => "Disabled",
    };
    let mut shown = json!(record.settings);
    shown["UUID"] = json!(id.to_string());
    shown["EventSourceMappingArn"] = json!(arn_of(id, record));
    shown["EventSourceArn"] = json!(record.source);
    shown["FunctionArn"] = json!(function_arn(record));
    // Exact to the millisecond.
    shown["LastModified"] = json!(record.last_modified_ms as f64 / 1000.0);
    shown["State"] = json!(state);
    shown["StateTransitionReason"] = json!(reason(record));
    shown
}

fn absent() -> Error {
    not_found("The resource you requested does not exist.")
}

fn in_use(verb: &str) -> Error {
    Error::new(
        "ResourceInUseException",
        format!("Cannot {verb} the event source mapping because it is in use."),
    )
}

/// The other mapping of the same source and function, if there is one.
fn check_single(
    id: Uuid,
    record: &MappingRecord,
    all: &[(Uuid, Arc<MappingRecord>)],
) -> Result<(), Error> {
    let twin = all.iter().find(|(other, found)| {
        *other != id
            && found.source == record.source
            && found.function == record.function
            && found.qualifier == record.qualifier
    });
    let Some((twin, _)) = twin else { return Ok(()) };
    let (source, name) = (&record.source, &record.function.name);
    let both = match SourceArn::parse(source) {
        Some(SourceArn::Stream(_)) => format!(
            "The event source arn (\" {source} \") and function (\" {name} \") provided mapping already exists."
        ),
        _ => format!(
            "An event source mapping with SQS arn (\" {source} \") and function (\" {name} \") already exists."
        ),
    };
    Err(Error::new(
        "ResourceConflictException",
        format!("{both} Please update or delete the existing mapping with UUID {twin}"),
    ))
}

fn is_of(caller: &Caller, function: &FunctionKey) -> bool {
    function.account == caller.account.as_str() && *function.region == *caller.region
}

/// The mapping whose id the path has; what can't be an id is none's.
fn id_of(call: &Call) -> Result<Uuid, Error> {
    Uuid::parse_str(call.label("UUID")).map_err(|_| absent())
}

/// A mapping's ARN, as tags are by.
pub(crate) fn id_of_arn(arn: &str) -> Option<Uuid> {
    Uuid::parse_str(arn.split(':').nth(6)?).ok()
}

/// What its poller needs; `None` if it isn't polled.
fn polled(id: Uuid, record: &MappingRecord) -> Option<Mapping> {
    let setting = |name: &str| record.settings.get(name).unwrap_or(&Value::Null);
    let number = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok());
    let filters = setting("FilterCriteria")["Filters"].as_array();
    let types = setting("FunctionResponseTypes").as_array();
    if !record.enabled {
        return None;
    }
    let (source, batch_size) = match SourceArn::parse(&record.source)? {
        SourceArn::Queue(queue) => {
            let concurrency_max = number(&setting("ScalingConfig")["MaximumConcurrency"]);
            (Source::Queue { queue, concurrency_max }, settings::queue::BATCH_SIZE)
        }
        SourceArn::Stream(stream) => {
            let reading = settings::stream::reading(&record.settings);
            (Source::Stream { stream, reading }, settings::stream::BATCH_SIZE)
        }
    };
    Some(Mapping {
        id,
        source,
        function: record.function.arn(),
        qualifier: record.qualifier.clone(),
        batch_size: number(setting("BatchSize")).unwrap_or(batch_size),
        window: Duration::from_secs(
            setting("MaximumBatchingWindowInSeconds").as_u64().unwrap_or_default(),
        ),
        reports_failures: types
            .is_some_and(|types| types.iter().any(|one| one == "ReportBatchItemFailures")),
        filters: filters.into_iter().flatten().map(settings::pattern).collect(),
    })
}

impl Service {
    /// From now on the sources of enabled mappings are polled, and what the last end has cut off is
    /// brought to its end. Called once, when functions can run.
    pub fn start_sources(self: &Arc<Self>) {
        for (id, record) in self.store.mappings() {
            if record.transition.is_some() {
                self.settle_mapping_later(id);
            } else if let Some(mapping) = polled(id, &record) {
                self.sources.start_polling(mapping);
            }
        }
    }

    /// The caller's mapping of this id.
    fn mapping(&self, caller: &Caller, id: Uuid) -> Option<Arc<MappingRecord>> {
        self.store.mapping(id).filter(|record| is_of(caller, &record.function))
    }

    /// The caller's mapping that tags are of.
    pub(crate) fn tagged_mapping(
        &self,
        caller: &Caller,
        arn: &str,
    ) -> Option<(Uuid, Arc<MappingRecord>)> {
        let id = id_of_arn(arn)?;
        let record = self.mapping(caller, id)?;
        (arn_of(id, &record) == arn).then_some((id, record))
    }

    /// The function of a request's `FunctionName`, which must be there.
    fn function_of(&self, call: &Call) -> Result<Named, Error> {
        let named = resolve(call, call.json["FunctionName"].as_str().unwrap_or_default())?;
        let found = self.find(&named).map_err(|_| Error::invalid("Function does not exist"))?;
        let tenancy = found.record.echoed.get("TenancyConfig");
        if tenancy.is_some_and(|config| config["TenantIsolationMode"] == "PER_TENANT") {
            // AWS's text isn't known.
            return Err(Error::invalid(
                "Event source mappings are not supported for functions with tenant isolation.",
            ));
        }
        Ok(named)
    }

    /// Changes a mapping of the caller's that isn't in transition, and settles it.
    async fn change_mapping(
        self: &Arc<Self>,
        call: &Call,
        verb: &'static str,
        change: impl FnOnce(&mut MappingRecord) -> Result<(), Error> + Send + 'static,
    ) -> Result<Value, Error> {
        let (id, caller) = (id_of(call)?, call.caller.clone());
        let service = self.clone();
        let changed = blocking(move || {
            service.store.change_mapping(id, |record, all| {
                let record = record.as_mut().filter(|record| is_of(&caller, &record.function));
                let record = record.ok_or_else(absent)?;
                if record.transition.is_some() {
                    return Err(in_use(verb));
                }
                change(record)?;
                check_single(id, record, all)?;
                record.last_modified_ms = now_ms();
                Ok(shown(id, record))
            })
        });
        let shown = changed.await?;
        self.settle_mapping_later(id);
        Ok(shown)
    }

    /// Brings a transition to its end behind the answer; again and again while the disk fails.
    fn settle_mapping_later(self: &Arc<Self>, id: Uuid) {
        let service = self.clone();
        tokio::spawn(async move {
            while let Err(error) = service.settle_mapping(id).await {
                tracing::error!(%error, mapping = %id, "not settled yet");
                tokio::time::sleep(SETTLE_AGAIN).await;
            }
        });
    }

    async fn settle_mapping(self: &Arc<Self>, id: Uuid) -> Result<(), Error> {
        // What is polled and runs as it was before, ends first.
        self.sources.stop_polling(id).await;
        let service = self.clone();
        let settled = blocking(move || {
            service.store.change_mapping(id, |found, _| {
                let deleted =
                    |record: &MappingRecord| record.transition == Some(Transition::Deleting);
                *found = found.take().filter(|record| !deleted(record));
                Ok::<_, Error>(found.as_mut().map(|record| {
                    record.transition = None;
                    record.clone()
                }))
            })
        });
        let Some(mapping) = settled.await?.and_then(|record| polled(id, &record)) else {
            return Ok(());
        };
        self.sources.start_polling(mapping.clone());
        let record = self.store.mapping(id).filter(|record| record.transition.is_none());
        if record.and_then(|record| polled(id, &record)) != Some(mapping) {
            // Another change came before this began, and may have ended before it.
            self.settle_mapping_later(id);
        }
        Ok(())
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
