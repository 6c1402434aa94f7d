//! Encodes and decodes bodies, whole or chunk by chunk.
//!
//! Which bodies are encoded is decided in [`crate::response`] and [`crate::origin`]; the levels are
//! settings in `compression`.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use async_compression::{
    Level,
    tokio::bufread::{BrotliDecoder, BrotliEncoder, GzipDecoder, GzipEncoder, ZstdDecoder, ZstdEncoder},
};
use bytes::Bytes;
use futures_core::Stream;
use larder_core::Body;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt as _, BufReader};
use tokio_util::io::{ReaderStream, StreamReader};

use crate::{Coding, Compression};

/// Size of the chunks of an encoded or decoded stream, in bytes.
const CHUNK_SIZE: usize = 32 * 1024;

/// Longest content that is encoded on the calling task, in bytes. Longer content is encoded on a
/// thread for blocking work.
const MAX_INLINE: usize = 16 * 1024;

type Reader = Pin<Box<dyn AsyncRead + Send>>;

/// Encodes the whole content. Returns `None` if that fails or does not make it shorter.
pub(crate) async fn encode_whole(settings: &Compression, content: Bytes, coding: Coding) -> Option<Bytes> {
    let length = content.len();
    let mut reader = encoder(settings, io::Cursor::new(content), coding);
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
pub(crate) fn encode(settings: &Compression, body: Body, coding: Coding) -> Body {
    into_body(encoder(settings, StreamReader::new(DataStream(body)), coding))
}

/// Returns a reader of what `reader` reads, encoded.
fn encoder(settings: &Compression, reader: impl AsyncBufRead + Send + 'static, coding: Coding) -> Reader {
    let level = |level: u8| Level::Precise(i32::from(level));
    match coding {
        Coding::Identity => Box::pin(reader),
        Coding::Gzip => Box::pin(GzipEncoder::with_quality(reader, level(settings.gzip))),
        Coding::Brotli => Box::pin(BrotliEncoder::with_quality(reader, level(settings.brotli))),
        Coding::Zstd => Box::pin(ZstdEncoder::with_quality(reader, level(settings.zstd))),
    }
}

/// Decodes a body while it is read. Content that is not in this coding ends the body with an error.
pub(crate) fn decode(body: Body, coding: Coding) -> Body {
    let reader = BufReader::with_capacity(CHUNK_SIZE, StreamReader::new(DataStream(body)));
    match coding {
        Coding::Identity => into_body(Box::pin(reader)),
        Coding::Gzip => into_body(Box::pin(GzipDecoder::new(reader))),
        Coding::Brotli => into_body(Box::pin(BrotliDecoder::new(reader))),
        Coding::Zstd => into_body(Box::pin(ZstdDecoder::new(reader))),
    }
}

/// Converts a reader into a body.
fn into_body(reader: Reader) -> Body {
    Body::from_stream(ReaderStream::with_capacity(reader, CHUNK_SIZE))
}

/// The data chunks of a body, as a stream that a reader can be made from. Trailers are dropped.
struct DataStream(Body);

impl Stream for DataStream {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_chunk(cx).map_err(io::Error::other)
    }
}
