//! The client's side of a connection as hyper reads and writes it, plain or over TLS. It reports to
//! `activity` what arrives and what the client takes.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use super::{activity::Activity, stream::RawStream};

/// The beginning of an HTTP/2 connection (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Room for the first read of a plain connection, in bytes: enough for most heads.
const FIRST_READ: usize = 4096;

/// Most bytes that are discarded after the last response.
const MAX_DISCARDED: usize = 1024 * 1024;

/// A connection that reports what the client takes.
#[derive(Debug)]
pub(super) struct MeteredStream {
    pub(super) stream: RawStream,
    pub(super) activity: Rc<Activity>,
}

impl MeteredStream {
    /// Reports the result of a write.
    fn report(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.activity.is_blocked.set(written.is_pending());
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.activity.sent.set(true);
        }
        written
    }
}

impl Drop for MeteredStream {
    fn drop(&mut self) {
        if self.activity.is_reset() {
            self.stream.discard_on_close();
        }
    }
}

impl AsyncRead for MeteredStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for MeteredStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.report(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.report(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A connection, with TLS or without.
#[derive(Debug)]
enum Transport {
    Plain(MeteredStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::server::TlsStream<MeteredStream>>),
}

/// Calls a method of the stream inside.
macro_rules! inner {
    ($self:ident.$method:ident($($argument:expr),*)) => {
        match &mut $self.transport {
            Transport::Plain(stream) => Pin::new(stream).$method($($argument),*),
            #[cfg(feature = "tls")]
            Transport::Tls(stream) => Pin::new(&mut **stream).$method($($argument),*),
        }
    };
}

/// A connection of a client.
#[derive(Debug)]
pub(super) struct ClientStream {
    transport: Transport,
    activity: Rc<Activity>,
    /// Bytes that were read to find out the protocol.
    first: Bytes,
    /// Bytes that were discarded after the last response; `None` before.
    discarded: Option<usize>,
    /// Whether the connection has switched to another protocol.
    has_switched: bool,
}

impl ClientStream {
    /// Creates a connection without TLS.
    pub(super) fn plain(stream: MeteredStream) -> Self {
        let activity = Rc::clone(&stream.activity);
        Self {
            transport: Transport::Plain(stream),
            activity,
            first: Bytes::new(),
            discarded: None,
            has_switched: false,
        }
    }

    /// Creates a connection over TLS, after the handshake.
    #[cfg(feature = "tls")]
    pub(super) fn tls(stream: tokio_rustls::server::TlsStream<MeteredStream>) -> Self {
        let activity = Rc::clone(&stream.get_ref().0.activity);
        Self {
            transport: Transport::Tls(Box::new(stream)),
            activity,
            first: Bytes::new(),
            discarded: None,
            has_switched: false,
        }
    }

    /// Switches to another protocol. `read_ahead` is read first: the client sent it behind its
    /// request. From now on, closing the sending side leaves the other one open.
    pub(super) fn switch(&mut self, read_ahead: Bytes) {
        self.has_switched = true;
        self.first = if self.first.is_empty() {
            read_ahead
        } else {
            [read_ahead, std::mem::take(&mut self.first)].concat().into()
        };
    }

    /// Returns whether the client has begun an HTTP/2 connection, once it has sent enough to
    /// decide. The connection then reads these bytes again.
    ///
    /// # Errors
    ///
    /// Returns an I/O error if the client closes the connection before.
    pub(super) async fn has_preface(&mut self) -> io::Result<bool> {
        let mut first = Vec::with_capacity(FIRST_READ);
        loop {
            if self.read_buf(&mut first).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let length = first.len().min(PREFACE.len());
            let is_preface = first[..length] == PREFACE[..length];
            if !is_preface || length == PREFACE.len() {
                self.first = first.into();
                return Ok(is_preface);
            }
        }
    }

    /// Reads what the client still sends, until it has closed the connection or sent too much. If
    /// data were left, closing would reset the connection, and the client might lose the response.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut buffer = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut buffer);
            let read = ready!(inner!(self.poll_read(cx, &mut buffer)));
            let length = buffer.filled().len();
            let discarded = self.discarded.get_or_insert_default();
            *discarded += length;
            if read.is_err() || length == 0 || *discarded > MAX_DISCARDED {
                return Poll::Ready(());
            }
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.first.has_remaining() {
            let length = this.first.len().min(buffer.remaining());
            buffer.put_slice(&this.first.split_to(length));
            this.activity.receive();
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(inner!(this.poll_read(cx, buffer)))?;
        if buffer.filled().len() > before {
            this.activity.receive();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        inner!(self.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        inner!(self.poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            #[cfg(feature = "tls")]
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inner!(self.poll_flush(cx))
    }

    /// Closes the sending side, and then discards what the client may still send, unless the
    /// connection has switched to another protocol.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_switched {
            return inner!(self.poll_shutdown(cx));
        }
        if self.discarded.is_none() {
            ready!(inner!(self.poll_shutdown(cx)))?;
            // Without content, further requests may still have arrived.
            if !self.activity.has_unread.get()
                && (self.poll_discard(cx).is_ready() || self.discarded.is_none())
            {
                return Poll::Ready(Ok(()));
            }
            self.discarded.get_or_insert_default();
            self.activity.is_lingering.set(true);
        }
        self.poll_discard(cx).map(Ok)
    }
}
