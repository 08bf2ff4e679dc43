//! `Invoke` with `InvocationType: Event`, and the legacy `InvokeAsync` (service-api.md §3.2, §3.6):
//! the event is on the disk before the answer.

use coldframe_core::asynchronous::AsyncInvocation;
use coldframe_core::limits::ASYNC_PAYLOAD_BYTES_MAX;
use hyper::StatusCode;

use crate::invoke::Asked;
use crate::{Call, Error, Reply, Service, empty, set};

impl Service {
    /// Keeps what was asked, with its checks behind it.
    pub(crate) async fn invoke_event(&self, asked: Asked) -> Result<Reply, Error> {
        let length = asked.invocation.payload.len();
        if length > ASYNC_PAYLOAD_BYTES_MAX {
            return Err(Error::new(
                "RequestEntityTooLargeException",
                format!(
                    "{length} byte payload is too large for the Event invocation type (limit {ASYNC_PAYLOAD_BYTES_MAX} bytes)"
                ),
            ));
        }
        self.keep(asked).await
    }

    /// Knows neither invocation types nor contexts: headers that say one aren't this operation's.
    pub(crate) async fn invoke_async(&self, mut call: Call) -> Result<Reply, Error> {
        call.headers.remove("x-amz-client-context");
        self.keep(self.asked(&call)?).await
    }

    async fn keep(&self, asked: Asked) -> Result<Reply, Error> {
        let Asked { invocation, trace, named, .. } = asked;
        let event = AsyncInvocation {
            request_id: invocation.request_id,
            function: named.arn,
            qualifier: named.qualifier,
            payload: invocation.payload,
            trace_header: invocation.trace_header,
            tenant_id: invocation.tenant_id,
        };
        self.events.enqueue(event).await.map_err(|error| Error::service(&error))?;
        let mut reply = empty(StatusCode::ACCEPTED);
        set(reply.headers_mut(), "x-amzn-remapped-content-length", "0");
        set(reply.headers_mut(), "x-amzn-trace-id", &trace);
        Ok(reply)
    }
}
