//! What pollers of all sources know of their mapping, and how its function is invoked.

use std::sync::Arc;

use bytes::Bytes;
use coldframe_core::asynchronous::{AsyncTarget, NoTarget};
use coldframe_core::invoke::Invocation;
use coldframe_core::source::Mapping;
use uuid::Uuid;

use super::filter::Pattern;
use crate::{Shared, World};

pub(crate) struct Polled {
    pub(super) shared: Arc<Shared>,
    pub(super) world: Arc<World>,
    pub(super) mapping: Mapping,
    pub(super) filters: Vec<Pattern>,
}

impl Polled {
    /// What the mapping's function and qualifier stand for now.
    pub(super) fn target(&self) -> Result<AsyncTarget, NoTarget> {
        let Mapping { function, qualifier, .. } = &self.mapping;
        self.world.functions.async_target(function, qualifier.as_deref())
    }

    /// As the mapping names it: with a qualifier or without.
    pub(super) fn function_arn(&self) -> String {
        let Mapping { function, qualifier, .. } = &self.mapping;
        qualifier.as_ref().map_or_else(|| function.to_string(), |of| function.qualified(of))
    }

    pub(super) fn invocation(
        &self,
        target: &AsyncTarget,
        payload: Bytes,
        trace_header: Option<String>,
    ) -> Invocation {
        Invocation {
            request_id: Uuid::new_v4().into(),
            function: target.version.clone(),
            invoked_arn: self.function_arn(),
            payload,
            client_context: None,
            cognito_identity: None,
            trace_header,
            wants_log_tail: false,
            tenant_id: None,
        }
    }
}
