//! The short way of a runtime's connection: `next`, and `response` in one piece. The event is written
//! by the task that hands it over, and no task is woken for that; hyper's connection costs a paced
//! call a switch and twice the memory. The first request that is anything else goes to hyper, and
//! with it the connection for good.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use coldframe_http::{Case, Message, Request, Rest, closed};
use http_body_util::Full;
use tokio::io::AsyncReadExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::invocation::{self, Asked, Given};
use crate::server::Shared;
use crate::state::Call;
use crate::wire::{self, Reply};

/// What is read at a time, bytes: a larger response is hyper's.
const READ_BYTES_MAX: usize = 8 * 1024;

/// Serves a connection for as long as it is simple; `None` if that was to its end.
pub(crate) async fn serve(
    shared: &Arc<Shared>,
    generation: u64,
    mut from: OwnedReadHalf,
    to: OwnedWriteHalf,
) -> Option<Rest> {
    let to = Arc::new(to);
    let mut buffer = BytesMut::with_capacity(READ_BYTES_MAX);
    loop {
        buffer.clear();
        if from.read_buf(&mut buffer).await.ok()? == 0 {
            return None;
        }
        let Some(request) = Request::of(&buffer) else { break };
        let Some(path) = request.target.strip_prefix("/2018-06-01/runtime/invocation/") else {
            break;
        };
        match (request.method, path.strip_suffix("/response")) {
            ("GET", None) if path == "next" && request.body.is_empty() => {
                let directly = Some(Arc::downgrade(&to));
                let asked = invocation::ask_next(shared, generation, &request, directly);
                let (message, sent) = match asked {
                    Asked::Refused(reply) => (message(reply), 0),
                    Asked::Again(event) => (event.message(), 0),
                    Asked::Held(given) => tokio::select! {
                        biased;
                        given = given => match given {
                            Ok(Given::Event(event)) => (event.message(), 0),
                            Ok(Given::Begun(message, sent)) => (message, sent),
                            // The generation ended, and this connection with it.
                            Err(_) => (message(wire::not_found()), 0),
                        },
                        () = closed(&mut from) => return None,
                    },
                };
                message.send(&to, sent).await.ok()?;
            }
            ("POST", Some(id)) if is_id(id) => {
                let body = Full::new(Bytes::copy_from_slice(request.body));
                let completed =
                    invocation::complete(shared, generation, Call::Response, id, &request, body);
                let reply = match completed.await {
                    Ok(()) => wire::accepted(),
                    Err(refusal) => wire::refusal(&refusal),
                };
                message(reply).send(&to, 0).await.ok()?;
            }
            _ => break,
        }
    }
    // Nobody else holds it: only a held `next` lends it.
    Some(Rest::new(&buffer, from, Arc::into_inner(to)?))
}

/// Whether the text can be an id, with nothing in it that a URI would be read otherwise for.
fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn message(reply: Reply) -> Message {
    let (head, body) = reply.into_parts();
    Message::of(head.status, &head.headers, body.into_inner().unwrap_or_default(), Case::Title)
}
