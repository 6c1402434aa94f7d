//! Bodies from one coding to another, chunk by chunk.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use async_compression::{
    Level,
    tokio::bufread::{BrotliDecoder, BrotliEncoder, GzipDecoder, GzipEncoder, ZstdDecoder, ZstdEncoder},
};
use bytes::Bytes;
use futures_core::Stream;
use http_body::{Body as _, Frame, SizeHint};
use larder_core::{Body, BodyError};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt as _, BufReader};
use tokio_util::io::{ReaderStream, StreamReader};

use crate::{Coding, Compression};

/// The chunks that come out.
const PIECE: usize = 32 * 1024;

/// Content of up to this many bytes is encoded where it stands; more of it on a thread for that.
const AT_ONCE: usize = 16 * 1024;

type Reader = Pin<Box<dyn AsyncRead + Send>>;

impl Compression {
    /// All of it, encoded; `None` if nothing is gained.
    pub(crate) async fn encode_whole(&self, content: Bytes, coding: Coding) -> Option<Bytes> {
        let length = content.len();
        let mut reader = self.encoder(io::Cursor::new(content), coding);
        let encode = async move {
            let mut encoded = Vec::with_capacity(length / 3 + 64);
            reader.read_to_end(&mut encoded).await.ok().map(|_| encoded)
        };
        let encoded = if length <= AT_ONCE {
            encode.await
        } else {
            // It never waits, so that any thread may drive it.
            let runtime = tokio::runtime::Handle::current();
            tokio::task::spawn_blocking(move || runtime.block_on(encode)).await.ok().flatten()
        };
        encoded.filter(|encoded| encoded.len() < length).map(Bytes::from)
    }

    /// Encoded as it comes.
    pub(crate) fn encode(&self, body: Body, coding: Coding) -> Body {
        streamed(self.encoder(StreamReader::new(Pieces(body)), coding))
    }

    fn encoder(&self, reader: impl AsyncBufRead + Send + 'static, coding: Coding) -> Reader {
        let level = |level: u8| Level::Precise(i32::from(level));
        match coding {
            Coding::Identity => Box::pin(reader),
            Coding::Gzip => Box::pin(GzipEncoder::with_quality(reader, level(self.gzip))),
            Coding::Brotli => Box::pin(BrotliEncoder::with_quality(reader, level(self.brotli))),
            Coding::Zstd => Box::pin(ZstdEncoder::with_quality(reader, level(self.zstd))),
        }
    }
}

/// Decoded as it comes. What is not in that coding is an error of the body.
pub(crate) fn decode(body: Body, coding: Coding) -> Body {
    let reader = BufReader::with_capacity(PIECE, StreamReader::new(Pieces(body)));
    match coding {
        Coding::Identity => streamed(Box::pin(reader)),
        Coding::Gzip => streamed(Box::pin(GzipDecoder::new(reader))),
        Coding::Brotli => streamed(Box::pin(BrotliDecoder::new(reader))),
        Coding::Zstd => streamed(Box::pin(ZstdDecoder::new(reader))),
    }
}

fn streamed(reader: Reader) -> Body {
    Body::stream(Converted(ReaderStream::with_capacity(reader, PIECE)))
}

/// A body as a stream for a reader.
struct Pieces(Body);

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match ready!(Pin::new(&mut self.0).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(io::Error::other(error)))),
                Some(Ok(frame)) => {
                    if let Ok(chunk) = frame.into_data() {
                        return Poll::Ready(Some(Ok(chunk)));
                    }
                }
            }
        }
    }
}

/// What comes out of a reader, as a body.
struct Converted(ReaderStream<Reader>);

impl http_body::Body for Converted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let chunk = ready!(Pin::new(&mut self.0).poll_next(cx));
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data).map_err(Into::into)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
