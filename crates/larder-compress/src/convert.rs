//! Encodes bodies, whole or chunk by chunk.
//!
//! Which bodies are encoded is decided in [`crate::response`] and [`crate::origin`]; the levels are
//! settings in `compression`.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use async_compression::{
    Level,
    brotli::EncoderParams,
    tokio::bufread::{BrotliEncoder, GzipEncoder, ZstdEncoder},
    zstd::CParameter,
};
use bytes::Bytes;
use futures_core::Stream;
use larder_core::Body;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt as _};
use tokio_util::io::{ReaderStream, StreamReader};

use crate::{Coding, Compression, coders::CoderPermit, zstd_frame::MAX_WINDOW};

/// Size of the chunks of an encoded stream, in bytes.
const CHUNK_SIZE: usize = 32 * 1024;

/// Longest content that is encoded on the calling task, in bytes. Longer content is encoded on a
/// thread for blocking work.
const MAX_INLINE: usize = 16 * 1024;

type Reader = Pin<Box<dyn AsyncRead + Send>>;

/// Encodes the whole content. Returns `None` if that fails or does not make it shorter.
pub(crate) async fn encode_whole(settings: &Compression, content: Bytes, coding: Coding) -> Option<Bytes> {
    let length = content.len();
    // Of long content, as many as there are cores: each encoder has much memory.
    let _permit = if length > MAX_INLINE { settings.coders.whole().await } else { None };
    let mut reader = encoder(settings, io::Cursor::new(content), coding, Window::Whole);
    let encode = async move {
        let mut encoded = Vec::with_capacity(length / 3 + 64);
        reader.read_to_end(&mut encoded).await.ok().map(|_| encoded)
    };
    let encoded = if length <= MAX_INLINE {
        encode.await
    } else {
        // Reading from memory never waits, so any thread can drive this future.
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || runtime.block_on(encode)).await.ok().flatten()
    };
    encoded.filter(|encoded| encoded.len() < length).map(Bytes::from)
}

/// Encodes a body while it is read.
pub(crate) fn encode(settings: &Compression, body: Body, coding: Coding, permit: CoderPermit) -> Body {
    let reader = StreamReader::new(DataStream(body));
    into_body(encoder(settings, reader, coding, Window::Stream), permit)
}

/// How far back an encoder finds repetitions, which decides on its memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Window {
    /// Of content in memory: as far as the level states, and at most 8 MiB (RFC 9659).
    Whole,
    /// Of a body that its client may read slowly: 512 KiB.
    Stream,
}

/// Logarithm of the window of a stream, and of the tables of Zstandard for it.
const STREAM_WINDOW: u8 = 19;
const STREAM_CHAIN: u32 = 18;

/// Returns a reader of what `reader` reads, encoded.
fn encoder(
    settings: &Compression,
    reader: impl AsyncBufRead + Send + 'static,
    coding: Coding,
    window: Window,
) -> Reader {
    let level = |level: u8| Level::Precise(i32::from(level));
    match coding {
        Coding::Identity => Box::pin(reader),
        Coding::Gzip => Box::pin(GzipEncoder::with_quality(reader, level(settings.gzip))),
        Coding::Brotli => {
            let params = EncoderParams::default().quality(level(settings.brotli));
            Box::pin(BrotliEncoder::with_params(
                reader,
                match window {
                    Window::Whole => params,
                    Window::Stream => params.window_size(STREAM_WINDOW.into()),
                },
            ))
        }
        Coding::Zstd => {
            let params = zstd_params(settings.zstd, window);
            Box::pin(ZstdEncoder::with_quality_and_params(reader, level(settings.zstd), &params))
        }
    }
}

/// Returns the parameters of Zstandard that differ from those of the level.
fn zstd_params(level: u8, window: Window) -> Vec<CParameter> {
    match window {
        // Above level 19, windows are larger than a content coding may have.
        Window::Whole if level > 19 => vec![CParameter::window_log(MAX_WINDOW.ilog2())],
        Window::Whole => Vec::new(),
        Window::Stream => {
            let mut params = vec![CParameter::window_log(STREAM_WINDOW.into())];
            // The tables of lower levels are smaller than these.
            if level > 6 {
                params.push(CParameter::hash_log(STREAM_WINDOW.into()));
                params.push(CParameter::chain_log(STREAM_CHAIN));
            }
            params
        }
    }
}

/// Returns the first bytes of a body, at least `length` if it has as many, and the whole body.
pub(crate) async fn beginning(mut body: Body, length: usize) -> Option<(Vec<u8>, Body)> {
    let (mut chunks, mut bytes) = (VecDeque::new(), Vec::new());
    while bytes.len() < length {
        let Some(chunk) = body.chunk().await else { break };
        let chunk = chunk.ok()?;
        bytes.extend_from_slice(&chunk[..chunk.len().min(length)]);
        chunks.push_back(chunk);
    }
    Some((bytes, Body::from_stream(Rejoined { chunks, rest: DataStream(body) })))
}

/// A body of which the first chunks have been read.
struct Rejoined {
    chunks: VecDeque<Bytes>,
    rest: DataStream,
}

impl Stream for Rejoined {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.chunks.pop_front() {
            Some(chunk) => Poll::Ready(Some(Ok(chunk))),
            None => Pin::new(&mut self.rest).poll_next(cx),
        }
    }
}

/// Converts a reader into a body, which counts as an encoder until it has ended.
fn into_body(reader: Reader, permit: CoderPermit) -> Body {
    Body::from_stream(CodedStream(Some((ReaderStream::with_capacity(reader, CHUNK_SIZE), permit))))
}

/// What a reader reads. Its memory is freed at the end, also if the last chunk waits for a client.
struct CodedStream(Option<(ReaderStream<Reader>, CoderPermit)>);

impl Stream for CodedStream {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some((reader, _)) = &mut self.0 else { return Poll::Ready(None) };
        let next = ready!(Pin::new(reader).poll_next(cx));
        if !matches!(next, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(next)
    }
}

/// The data chunks of a body, as a stream that a reader can be made from. Trailers are dropped.
struct DataStream(Body);

impl Stream for DataStream {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_chunk(cx).map_err(io::Error::other)
    }
}
