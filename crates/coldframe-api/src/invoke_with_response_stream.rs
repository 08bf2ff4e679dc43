//! `InvokeWithResponseStream` (service-api.md §3.5).

use std::sync::Arc;

use hyper::{Response, StatusCode};

use crate::event_stream::EventStream;
use crate::invoke::{Asked, Kind, refused};
use crate::{Body, Call, Error, Reply, Service, empty, set};

impl Service {
    pub(crate) async fn invoke_with_response_stream(
        self: &Arc<Self>,
        call: Call,
    ) -> Result<Reply, Error> {
        let asked = self.asked(&call)?;
        if Kind::of(call.header("x-amz-invocation-type")) == Kind::DryRun {
            return Ok(empty(StatusCode::NO_CONTENT));
        }
        let Asked { invocation, trace, version, .. } = asked;
        self.check_loop(&invocation)?;
        // What fails before the first byte is an ordinary error; later it is told at the end.
        let answer = self.invoker.invoke_with_response_stream(invocation).await.map_err(refused)?;
        let mut reply = Response::new(Body::Stream(EventStream::new(answer.stream)));
        let headers = reply.headers_mut();
        set(headers, "content-type", "application/vnd.amazon.eventstream");
        set(headers, "x-amz-executed-version", &version);
        set(headers, "x-amzn-trace-id", &trace);
        Ok(reply)
    }
}
