//! `CreateEventSourceMapping` (service-api.md §7.1).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coldframe_core::source::{QueueArn, SourceError, StreamArn};
use coldframe_store::{FunctionKey, MappingRecord, Transition};
use hyper::StatusCode;
use uuid::Uuid;

use super::settings::SourceArn;
use super::{check_single, now_ms, settings, shown};
use crate::function::Named;
use crate::{Call, Error, Reply, Service, blocking, tag};

impl Service {
    pub(crate) async fn create_event_source_mapping(
        self: Arc<Self>,
        call: Call,
    ) -> Result<Reply, Error> {
        let source = settings::source(&call.json)?;
        let mut given = source.defaults();
        settings::merge(&mut given, &call.json, &source, &*self.sources)?;
        if let SourceArn::Stream(_) = source {
            settings::stream::begin(&mut given, &call.json);
        }
        let mut tags = BTreeMap::new();
        tag::add(&mut tags, &call.json["Tags"])?;
        let named = self.function_of(&call)?;
        let enabled = call.json["Enabled"].as_bool().unwrap_or(true);
        let (id, record) = (
            Uuid::new_v4(),
            MappingRecord {
                function: FunctionKey::from(&named.arn),
                qualifier: named.qualifier.clone(),
                source: source.text().to_owned(),
                enabled,
                transition: enabled.then_some(Transition::Creating),
                last_modified_ms: now_ms(),
                settings: given,
                tags,
                shards: BTreeMap::new(),
            },
        );
        // Before the source is asked, and once more when it is kept.
        check_single(id, &record, &self.store.mappings())?;
        match &source {
            SourceArn::Queue(queue) => self.check_visibility(&named, queue).await?,
            SourceArn::Stream(stream) => self.check_stream(stream).await?,
        }
        let body = shown(id, &record);
        let service = self.clone();
        let created = blocking(move || {
            service.store.change_mapping(id, |created, all| {
                check_single(id, &record, all)?;
                *created = Some(record);
                Ok::<_, Error>(())
            })
        });
        created.await?;
        if enabled {
            self.settle_mapping_later(id);
        }
        Ok(crate::json(StatusCode::ACCEPTED, &body))
    }

    async fn check_stream(&self, stream: &StreamArn) -> Result<(), Error> {
        let checked = self.sources.check_stream(stream).await;
        checked.map_err(|error| match error {
            SourceError::Absent => Error::invalid(format!("Stream not found: {}", stream.text)),
            error => Error::invalid(error.to_string()),
        })
    }

    /// A message must stay away for as long as the function may take.
    async fn check_visibility(&self, named: &Named, queue: &QueueArn) -> Result<(), Error> {
        let visible = self.sources.visibility_timeout(queue).await;
        let visible = visible.map_err(|error| {
            let said = match error {
                SourceError::Absent => "SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. SQS Error Message: The specified queue does not exist.".to_owned(),
                SourceError::Refused { code, message } => {
                    format!("SQS Error Code: {code}. SQS Error Message: {message}")
                }
                error => error.to_string(),
            };
            Error::invalid(format!("Error occurred while ReceiveMessage. {said}"))
        })?;
        let timeout = u64::from(self.find(named)?.record.timeout_s);
        if visible < Duration::from_secs(timeout) {
            return Err(Error::invalid(format!(
                "Queue visibility timeout: {} seconds is less than Function timeout: {timeout} seconds",
                visible.as_secs()
            )));
        }
        Ok(())
    }
}
