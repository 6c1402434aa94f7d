//! The body of the client of a fetch while it arrives: the chunks as every reader gets them, and
//! then the trailers, which are not stored and which no other reader gets.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame};

use super::fanout::BodyFanout;
use crate::{BodyError, ByteStream};

/// A body of unknown length. One of a known length has no trailers over HTTP/1.1, and needs none.
pub(super) struct ArrivingBody {
    pub(super) chunks: ByteStream,
    /// `None` at the end.
    pub(super) fanout: Option<Arc<BodyFanout>>,
}

impl Body for ArrivingBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.fanout.is_none() {
            return Poll::Ready(None);
        }
        match ready!(self.chunks.as_mut().poll_next(cx)) {
            Some(Ok(chunk)) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            Some(Err(error)) => {
                self.fanout = None;
                Poll::Ready(Some(Err(error.into())))
            }
            None => {
                let trailers = self.fanout.take().and_then(|fanout| fanout.take_trailers());
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.fanout.is_none()
    }
}
