//! `application/vnd.amazon.eventstream`: the frames of a streamed answer (service-api.md §3.5).
//!
//! Written here, not by a library: a chunk's payload goes on as it came, without a copy.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use coldframe_core::invoke::{ResponseStream, StreamEnd, StreamPart};
use hyper::body::Frame;
use serde_json::{Value, json};

/// A response as a stream of events.
pub struct EventStream {
    stream: Box<dyn ResponseStream>,
    /// Parts of a frame that are still to be sent.
    parts: VecDeque<Bytes>,
    ended: bool,
}

impl EventStream {
    pub(crate) fn new(stream: Box<dyn ResponseStream>) -> Self {
        Self { stream, parts: VecDeque::new(), ended: false }
    }

    fn put(&mut self, event: &str, content_type: &str, payload: Bytes) {
        let [head, tail] = frame(event, content_type, &payload);
        self.parts.extend([head, payload, tail].into_iter().filter(|part| !part.is_empty()));
    }
}

impl hyper::body::Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(part) = self.parts.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(part))));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match std::task::ready!(self.stream.poll_part(context)) {
                StreamPart::Chunk(chunk) => {
                    self.put("PayloadChunk", "application/octet-stream", chunk);
                }
                StreamPart::Complete(end) => {
                    let payload = complete(end).to_string();
                    self.put("InvokeComplete", "application/json", payload.into());
                    self.ended = true;
                }
            }
        }
    }
}

/// The payload of `InvokeComplete`.
fn complete(end: StreamEnd) -> Value {
    let mut complete = json!({});
    if let Some(error) = end.error {
        complete["ErrorCode"] = json!(error.code);
        complete["ErrorDetails"] = json!(error.details);
    }
    if let Some(tail) = end.log_tail {
        complete["LogResult"] = json!(STANDARD.encode(tail));
    }
    complete
}

/// What stands before and behind a payload.
fn frame(event: &str, content_type: &str, payload: &[u8]) -> [Bytes; 2] {
    let fields =
        [(":event-type", event), (":content-type", content_type), (":message-type", "event")];
    // A name's length, a value's type and length.
    let headers: usize = fields.iter().map(|(name, value)| 4 + name.len() + value.len()).sum();
    let total = 12 + headers + payload.len() + 4;
    let mut head = BytesMut::with_capacity(12 + headers);
    // Chunks are reads of a connection: far below 4 GiB.
    head.put_u32(u32::try_from(total).unwrap_or(u32::MAX));
    head.put_u32(u32::try_from(headers).unwrap_or(u32::MAX));
    head.put_u32(crc32fast::hash(&head));
    for (name, value) in fields {
        head.put_u8(name.len() as u8);
        head.put_slice(name.as_bytes());
        head.put_u8(7);
        head.put_u16(value.len() as u16);
        head.put_slice(value.as_bytes());
    }
    let mut sum = crc32fast::Hasher::new();
    sum.update(&head);
    sum.update(payload);
    [head.freeze(), Bytes::copy_from_slice(&sum.finalize().to_be_bytes())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldframe_core::invoke::StreamError;

    fn hex(event: &str, content_type: &str, payload: &[u8]) -> String {
        let [head, tail] = frame(event, content_type, payload);
        let bytes = [&head[..], payload, &tail[..]].concat();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    // Spec: service-api.md §3.5, the test vectors.
    #[test]
    fn frames_are_what_clients_decode() {
        assert_eq!(
            hex("PayloadChunk", "application/octet-stream", b"hello"),
            "0000006f0000005af5fe871f0b3a6576656e742d7479706507000c5061796c6f61644368756e6b0d3a636f6e74656e742d747970650700186170706c69636174696f6e2f6f637465742d73747265616d0d3a6d6573736167652d747970650700056576656e7468656c6c6f29e71260"
        );
        assert_eq!(
            hex("InvokeComplete", "application/json", b"{}"),
            "00000066000000541f56c8690b3a6576656e742d7479706507000e496e766f6b65436f6d706c6574650d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e0d3a6d6573736167652d747970650700056576656e747b7d7006d467"
        );
    }

    #[test]
    fn the_end_tells_what_there_is() {
        assert_eq!(complete(StreamEnd::default()), json!({}));
        let end = StreamEnd {
            error: Some(StreamError { code: "Unhandled".into(), details: "{}".into() }),
            log_tail: Some(Bytes::from_static(b"log")),
        };
        assert_eq!(
            complete(end),
            json!({ "ErrorCode": "Unhandled", "ErrorDetails": "{}", "LogResult": "bG9n" })
        );
    }
}
