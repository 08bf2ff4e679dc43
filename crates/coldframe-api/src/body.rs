//! What an answer carries.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use coldframe_core::invoke::{ResponseStream, StreamPart};
use http_body_util::Full;
use hyper::body::{Frame, SizeHint};

use crate::event_stream::EventStream;

/// All of an answer, or a response as it comes.
pub enum Body {
    Whole(Full<Bytes>),
    Stream(EventStream),
    Raw(RawStream),
}

/// A response's bytes as they come. One that fails on its way ends there.
pub struct RawStream {
    first: Bytes,
    stream: Option<Box<dyn ResponseStream>>,
}

impl RawStream {
    /// `first` has been taken off the stream already.
    pub(crate) fn new(first: Bytes, stream: Option<Box<dyn ResponseStream>>) -> Self {
        Self { first, stream }
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.first.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.first)))));
        }
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        match std::task::ready!(stream.poll_part(context)) {
            StreamPart::Chunk(chunk) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            StreamPart::Complete(_) => {
                self.stream = None;
                Poll::Ready(None)
            }
        }
    }
}

/// A body that is there already.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Body::Whole(Full::new(bytes.into()))
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(context),
            Self::Stream(body) => Pin::new(body).poll_frame(context),
            Self::Raw(body) => body.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Stream(_) | Self::Raw(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Stream(_) | Self::Raw(_) => SizeHint::default(),
        }
    }
}
