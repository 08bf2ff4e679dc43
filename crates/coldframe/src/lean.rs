//! The short way of a client's connection: invocations that have come whole, one at a time. hyper's
//! connection costs a paced call twice the memory and a switch of tasks. The first request that is
//! anything else goes to hyper, and with it the connection for good.

use bytes::BytesMut;
use coldframe_http::{Case, Head, Request, Rest, closed};
use http_body_util::BodyExt;
use tokio::io::AsyncReadExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

use crate::service::Front;

/// What is read at a time, bytes: a larger request is hyper's.
const READ_BYTES_MAX: usize = 16 * 1024;

/// Serves a connection for as long as it is simple; `None` if that was to its end.
pub(crate) async fn serve(
    front: &Front,
    mut from: OwnedReadHalf,
    to: OwnedWriteHalf,
    mut stopped: watch::Receiver<bool>,
) -> Option<Rest> {
    let mut buffer = BytesMut::with_capacity(READ_BYTES_MAX);
    loop {
        buffer.clear();
        let read = tokio::select! {
            biased;
            read = from.read_buf(&mut buffer) => read.ok()?,
            _ = stopped.changed() => return None,
        };
        if read == 0 {
            return None;
        }
        let Some(request) = Request::of(&buffer).filter(is_invocation) else { break };
        let Some(head) = request.head().filter(Front::is_for_api) else { break };
        let (parts, ()) = head.into_parts();
        let Some(answer) = front.api.handle_plain(&parts, request.body) else { break };
        let reply = tokio::select! {
            biased;
            reply = answer => reply,
            // Nobody waits for the answer any more; the function goes on.
            () = closed(&mut from) => return None,
        };
        let (parts, body) = reply.into_parts();
        let Ok(body) = body.collect().await;
        let mut head = Head::new(parts.status, Case::Lower);
        for (name, value) in &parts.headers {
            head.put(name.as_str(), value.as_bytes());
        }
        let ends = *stopped.borrow();
        if ends {
            head.put("connection", b"close");
        }
        head.with(body.to_bytes()).send(&to, 0).await.ok()?;
        if ends {
            return None;
        }
    }
    Some(Rest::new(&buffer, from, to))
}

fn is_invocation(request: &Request<'_>) -> bool {
    let name = request.target.strip_prefix("/2015-03-31/functions/");
    request.method == "POST" && name.is_some_and(|name| name.ends_with("/invocations"))
}
