//! A connection as it was accepted: over TCP or a Unix socket, with bytes that were read too far.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes};
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// The kinds of connections.
#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// Calls a method of the socket inside.
macro_rules! socket {
    ($self:ident.$method:ident($($argument:expr),*)) => {
        match &mut $self.socket {
            Socket::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            #[cfg(unix)]
            Socket::Unix(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

/// A connection as it was accepted.
#[derive(Debug)]
pub(super) struct RawStream {
    socket: Socket,
    /// Bytes that are to be read again.
    unread: Bytes,
}

impl RawStream {
    /// Creates a connection over TCP.
    pub(super) fn tcp(stream: TcpStream) -> Self {
        Self { socket: Socket::Tcp(stream), unread: Bytes::new() }
    }

    /// Creates a connection over a Unix socket.
    #[cfg(unix)]
    pub(super) fn unix(stream: UnixStream) -> Self {
        Self { socket: Socket::Unix(stream), unread: Bytes::new() }
    }

    /// Lets bytes be read once more, before those that the client still sends.
    pub(super) fn unread(&mut self, bytes: Bytes) {
        self.unread = bytes;
    }

    /// Sends small parts at once.
    pub(super) fn set_nodelay(&self) {
        if let Socket::Tcp(stream) = &self.socket {
            // Failure only costs time.
            let _ = stream.set_nodelay(true);
        }
    }

    /// Makes closing discard what the client has not taken.
    pub(super) fn discard_on_close(&self) {
        if let Socket::Tcp(stream) = &self.socket {
            // Otherwise the system would go on trying to send the rest.
            let _ = stream.set_zero_linger();
        }
    }
}

impl AsyncRead for RawStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.has_remaining() {
            let length = self.unread.len().min(buffer.remaining());
            buffer.put_slice(&self.unread.split_to(length));
            return Poll::Ready(Ok(()));
        }
        socket!(self.poll_read(cx, buffer))
    }
}

impl AsyncWrite for RawStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        socket!(self.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        socket!(self.poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Tcp(stream) => stream.is_write_vectored(),
            #[cfg(unix)]
            Socket::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        socket!(self.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        socket!(self.poll_shutdown(cx))
    }
}
