//! Decodes a body while it is read: any number of codings, one after the other, and nothing but
//! coded data.
//!
//! Which bodies are decoded is decided in `decoding` and in [`crate::origin`].

use std::{
    error::Error,
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use async_compression::{
    tokio::bufread::{BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder},
    zstd::DParameter,
};
use bytes::Bytes;
use futures_core::Stream;
use larder_core::{Body, BodyError};
use tokio::io::{AsyncBufRead, AsyncRead, BufReader, ReadBuf};
use tokio_util::io::StreamReader;

use crate::zstd_frame::MAX_WINDOW;

/// Size of the buffers behind each decoder, and of the longest chunk of decoded content, in bytes.
const BUFFER: usize = 32 * 1024;

/// A coding that can be decoded (RFC 9110 §8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// One or more members (RFC 1952 §2.2).
    Gzip,
    /// Zlib (RFC 1950), or raw deflate (RFC 1951), which some servers send under the same name.
    Deflate,
    Brotli,
    /// One or more frames (RFC 8878 §3.1) with windows of up to 8 MiB (RFC 9659).
    Zstd,
}

impl Format {
    /// Returns the name of the coding, for messages.
    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}

/// Returns the decoded body. `formats` are in the order in which they were applied.
///
/// An empty body remains empty. A body that is not in these formats, ends early, or goes on after
/// the end of the coded data ends with an error. `held` is dropped when the decoded body has ended.
pub(crate) fn decode(body: Body, formats: &[Format], held: impl Send + Unpin + 'static) -> Body {
    let [innermost, outer @ ..] = formats else { return body };
    if body.is_empty() {
        return body;
    }
    let mut source: Source = Box::pin(StreamReader::new(Coded(Some(body))));
    for format in outer.iter().rev() {
        source = Box::pin(BufReader::with_capacity(BUFFER, Layer::new(*format, source)));
    }
    let reader = Layer::new(*innermost, source);
    Body::from_stream(Decoded(Some((reader, vec![0; BUFFER].into(), held))))
}

type Source = Pin<Box<dyn AsyncBufRead + Send>>;

/// The reader of one coding.
struct Layer {
    format: Format,
    state: State,
}

enum State {
    /// No byte has been read.
    Begin(Source),
    Decoding(Decoder),
    /// The coded data has ended. Nothing may follow.
    Ending(Source),
    Ended,
}

/// A decoder, which ends after the last member or frame.
enum Decoder {
    Gzip(GzipDecoder<Source>),
    Zlib(ZlibDecoder<Source>),
    Deflate(DeflateDecoder<Source>),
    Brotli(BrotliDecoder<Source>),
    Zstd(ZstdDecoder<Source>),
}

impl Decoder {
    /// Creates a decoder for data that begins with this byte.
    fn new(format: Format, first: u8, source: Source) -> Self {
        match format {
            Format::Gzip => {
                let mut decoder = GzipDecoder::new(source);
                decoder.multiple_members(true);
                Self::Gzip(decoder)
            }
            // As the first byte of raw deflate, it would begin a stored block with padding bits
            // that are not zero.
            Format::Deflate if first & 0x8f == 0x08 => Self::Zlib(ZlibDecoder::new(source)),
            Format::Deflate => Self::Deflate(DeflateDecoder::new(source)),
            Format::Brotli => Self::Brotli(BrotliDecoder::new(source)),
            Format::Zstd => {
                let limit = [DParameter::window_log_max(MAX_WINDOW.ilog2())];
                let mut decoder = ZstdDecoder::with_params(source, &limit);
                decoder.multiple_members(true);
                Self::Zstd(decoder)
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Gzip(decoder) => Pin::new(decoder).poll_read(cx, buf),
            Self::Zlib(decoder) => Pin::new(decoder).poll_read(cx, buf),
            Self::Deflate(decoder) => Pin::new(decoder).poll_read(cx, buf),
            Self::Brotli(decoder) => Pin::new(decoder).poll_read(cx, buf),
            Self::Zstd(decoder) => Pin::new(decoder).poll_read(cx, buf),
        }
    }

    /// Returns the source, with what follows the coded data.
    fn into_source(self) -> Source {
        match self {
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zlib(decoder) => decoder.into_inner(),
            Self::Deflate(decoder) => decoder.into_inner(),
            Self::Brotli(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.into_inner(),
        }
    }
}

impl Layer {
    fn new(format: Format, source: Source) -> Self {
        Self { format, state: State::Begin(source) }
    }

    /// Reads decoded bytes. The state is `Ended` after an error.
    fn poll_decoded(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Begin(mut source) => {
                    let polled = source.as_mut().poll_fill_buf(cx).map_ok(|bytes| bytes.first().copied());
                    let Poll::Ready(first) = polled else {
                        self.state = State::Begin(source);
                        return Poll::Pending;
                    };
                    // Without any byte, there is no content, coded or not.
                    let Some(first) = first? else { return Poll::Ready(Ok(())) };
                    self.state = State::Decoding(Decoder::new(self.format, first, source));
                }
                State::Decoding(mut decoder) => {
                    let before = buf.filled().len();
                    let polled = decoder.poll_read(cx, buf);
                    if matches!(polled, Poll::Ready(Ok(()))) && buf.filled().len() == before {
                        self.state = State::Ending(decoder.into_source());
                        continue;
                    }
                    if !matches!(polled, Poll::Ready(Err(_))) {
                        self.state = State::Decoding(decoder);
                    }
                    return polled;
                }
                State::Ending(mut source) => {
                    let polled = source.as_mut().poll_fill_buf(cx).map_ok(<[u8]>::is_empty);
                    if polled.is_pending() {
                        self.state = State::Ending(source);
                    }
                    return match ready!(polled)? {
                        true => Poll::Ready(Ok(())),
                        false => Poll::Ready(Err(io::Error::other("data follows its end"))),
                    };
                }
                State::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl AsyncRead for Layer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let format = self.format;
        self.poll_decoded(cx, buf).map_err(|error| Failure::in_format(format, error))
    }
}

/// Why a decoded body failed. It passes through the readers as the source of an `io::Error`.
#[derive(Debug)]
enum Failure {
    /// The coded body failed.
    Body(BodyError),
    /// The bytes are not in the format.
    Invalid(String),
}

impl Failure {
    /// Adds the format to an error of its decoder. Other errors are returned unchanged.
    fn in_format(format: Format, error: io::Error) -> io::Error {
        if error.get_ref().is_some_and(|source| source.is::<Self>()) {
            return error;
        }
        let name = format.name();
        let text = match error.kind() {
            io::ErrorKind::UnexpectedEof => format!("the {name} content ends early"),
            _ => format!("invalid {name} content: {error}"),
        };
        io::Error::other(Self::Invalid(text))
    }

    /// Converts to the error of the body: that of the coded body is returned unchanged.
    fn of_body(error: io::Error) -> BodyError {
        match error.downcast::<Self>() {
            Ok(Self::Body(error)) => error,
            Ok(Self::Invalid(text)) => text.into(),
            Err(error) => error.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(error) => error.fmt(f),
            Self::Invalid(text) => f.write_str(text),
        }
    }
}

impl Error for Failure {}

/// The data of a coded body, for a reader. Trailers are dropped. `None` after the end.
struct Coded(Option<Body>);

impl Stream for Coded {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let chunk = ready!(body.poll_chunk(cx));
        if chunk.is_none() {
            self.0 = None;
        }
        Poll::Ready(chunk.map(|chunk| chunk.map_err(|error| io::Error::other(Failure::Body(error)))))
    }
}

/// The decoded content. The decoders are dropped at the end, also if the body itself is kept.
struct Decoded<H>(Option<(Layer, Box<[u8]>, H)>);

impl<H: Send + Unpin + 'static> Stream for Decoded<H> {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some((layer, buffer, _)) = &mut self.0 else { return Poll::Ready(None) };
        let mut buf = ReadBuf::new(buffer);
        let read = ready!(Pin::new(layer).poll_read(cx, &mut buf));
        // A copy of the right size: a short response would keep the whole buffer in a store.
        let chunk = Bytes::copy_from_slice(buf.filled());
        match read {
            Ok(()) if chunk.is_empty() => {
                self.0 = None;
                Poll::Ready(None)
            }
            Ok(()) => Poll::Ready(Some(Ok(chunk))),
            Err(error) => {
                self.0 = None;
                Poll::Ready(Some(Err(Failure::of_body(error))))
            }
        }
    }
}
