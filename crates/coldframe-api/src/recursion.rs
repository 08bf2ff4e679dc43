//! `GetFunctionRecursionConfig` and `PutFunctionRecursionConfig` (service-api.md §2.14), and the loops
//! of functions that they are about.

use std::sync::Arc;

use coldframe_core::identity::Principal;
use coldframe_core::invoke::Invocation;
use coldframe_core::lineage::{self, HOPS_MAX, RECURSIVE_LOOP};
use coldframe_store::Settings;
use hyper::StatusCode;
use serde_json::json;

use crate::function::named;
use crate::{Call, Caller, Error, Reply, Service};

/// Whether the function may be part of a loop.
pub(crate) fn may_loop(settings: &Settings) -> bool {
    settings.recursive_loop.as_deref() == Some("Allow")
}

/// Whether a function asks, as far as its credentials tell: those of a role.
pub(crate) fn is_link(caller: &Caller) -> bool {
    matches!(caller.identity.principal, Principal::Role { .. })
}

impl Service {
    /// Refuses an invocation that has come through its function too often.
    pub(crate) fn check_loop(&self, invocation: &Invocation) -> Result<(), Error> {
        let (arn, trace) = (&invocation.function.arn, invocation.trace_header.as_deref());
        if trace.is_none_or(|trace| {
            !trace.contains("Lineage=") || lineage::hops(trace, arn) <= HOPS_MAX
        }) {
            return Ok(());
        }
        if self.store.function(arn).is_some_and(|function| may_loop(&function.settings)) {
            return Ok(());
        }
        Err(Error::new("RecursiveInvocationException", RECURSIVE_LOOP))
    }

    pub(crate) fn get_function_recursion_config(&self, call: &Call) -> Result<Reply, Error> {
        let arn = named(call)?.arn;
        let function =
            self.store.function(&arn).ok_or_else(|| Error::not_found(&arn.to_string()))?;
        let set = function.settings.recursive_loop.as_deref().unwrap_or("Terminate");
        Ok(crate::json(StatusCode::OK, &json!({ "RecursiveLoop": set })))
    }

    pub(crate) async fn put_function_recursion_config(
        self: Arc<Self>,
        call: Call,
    ) -> Result<Reply, Error> {
        let arn = named(&call)?.arn;
        let wanted = call.json["RecursiveLoop"].as_str().unwrap_or_default().to_owned();
        let (absent, body) = (arn.to_string(), json!({ "RecursiveLoop": wanted }));
        let put = self.change_there(
            &arn,
            move |function| {
                Arc::make_mut(&mut function.settings).recursive_loop = Some(wanted);
                Ok(())
            },
            move || Error::not_found(&absent),
        );
        put.await?;
        Ok(crate::json(StatusCode::OK, &body))
    }
}
