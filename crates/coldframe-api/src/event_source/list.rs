//! `ListEventSourceMappings` (service-api.md §7.1).

use hyper::StatusCode;

use super::{is_of, shown};
use crate::function::resolve;
use crate::page::Page;
use crate::{Call, Error, Reply, Service};

impl Service {
    /// Of a source, of a function, or all. A function without qualifier stands for all of its own.
    pub(crate) fn list_event_source_mappings(&self, call: &Call) -> Result<Reply, Error> {
        let page = Page::of(call)?;
        let source = call.query("EventSourceArn").filter(|arn| !arn.is_empty());
        let named = call.query("FunctionName").filter(|name| !name.is_empty());
        let named = named.map(|name| resolve(call, name)).transpose()?;
        let all = self.store.mappings();
        let found = all.iter().filter(|(id, record)| {
            is_of(&call.caller, &record.function)
                && id.to_string() > page.after
                && source.is_none_or(|source| record.source == source)
                && named.as_ref().is_none_or(|named| {
                    record.function.arn() == named.arn
                        && (named.qualifier.is_none() || named.qualifier == record.qualifier)
                })
        });
        let items = found.map(|(id, record)| (id.to_string(), shown(*id, record)));
        Ok(crate::json(StatusCode::OK, &page.answer("EventSourceMappings", items)))
    }
}
