//! Reports each request to an access log when its response has ended.
//!
//! What is logged, and in which format, is left to the implementation of [`AccessLog`].

use std::{
    fmt, io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{StatusCode, Version, header::HOST, request::Parts};
use larder_core::{OriginReport, Upgraded};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use crate::trace::trace_of;

/// Receives a report of each request when its response has ended.
///
/// Requests that fail before they reach the proxy have no report: a failed TLS handshake, or a head
/// that is incomplete, malformed or too large.
///
/// It is called on the worker's thread, which serves no other request meanwhile. An implementation
/// must not block: it should count, or send the report to another thread.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use larder_proxy::{Access, AccessLog};
///
/// #[derive(Debug, Default)]
/// struct SentBytes(AtomicU64);
///
/// impl AccessLog for SentBytes {
///     fn on_response_end(&self, access: &Access<'_>) {
///         self.0.fetch_add(access.bytes, Ordering::Relaxed);
///     }
/// }
/// ```
pub trait AccessLog: fmt::Debug + Send + Sync + 'static {
    /// Receives the report of one request, after its response was sent or its client has
    /// disconnected.
    fn on_response_end(&self, access: &Access<'_>);
}

/// A request and the outcome of its response.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Access<'a> {
    request: &'a Parts,
    peer: Option<IpAddr>,
    /// Status code of the response.
    pub status: u16,
    /// Bytes of content that were sent, without headers and framing. After a switch to another
    /// protocol (status 101), all bytes that the origin sent in it.
    pub bytes: u64,
    /// Whether the whole content was sent. After a switch to another protocol, whether the origin
    /// ended it.
    pub complete: bool,
    /// Time from the end of the request's headers to the end of the response.
    pub duration: Duration,
    /// How the cache handled the request: the member that it added to `Cache-Status` (RFC 9211).
    pub cache_status: &'a str,
    /// The origin that the request was sent to, such as `http://10.0.0.1:3000`: of several attempts,
    /// that of the last one. `None` for a hit, and for a response to another request.
    pub origin: Option<&'a str>,
    /// How long the head of the origin's response took. `None` if it sent no response.
    pub origin_duration: Option<Duration>,
    /// Id of the request's trace (W3C trace context): the one in the client's `traceparent`, which
    /// is forwarded as it is. `None` without a valid one.
    pub trace: Option<u128>,
}

impl<'a> Access<'a> {
    /// Returns the address of the connection: behind another proxy, the address of that proxy,
    /// unless the PROXY protocol states that of its client. A client of IPv4 on a listener of IPv6
    /// has its IPv4 address, and one on a Unix socket 127.0.0.1.
    pub fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// Returns the request's method.
    pub fn method(&self) -> &'a str {
        self.request.method.as_str()
    }

    /// Returns the path and query of the request, not normalized.
    pub fn target(&self) -> &'a str {
        self.request.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    /// Returns the host of the request, with its port if there is one: from the request line, or
    /// from `Host`. Empty if there is neither.
    pub fn host(&self) -> &'a str {
        match self.request.uri.authority() {
            Some(authority) => authority.as_str(),
            None => self.header(HOST.as_str()).unwrap_or_default(),
        }
    }

    /// Returns the version of HTTP, such as `HTTP/1.1`.
    pub fn version(&self) -> &'static str {
        match self.request.version {
            Version::HTTP_2 => "HTTP/2.0",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        }
    }

    /// Returns the first value of a request header; `None` if there is none, or if it is not
    /// visible ASCII.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.request.headers.get(name)?.to_str().ok()
    }
}

/// Collects the report of one request, and logs it when it is dropped.
pub(crate) struct LoggedExchange {
    pub(crate) log: Arc<dyn AccessLog>,
    pub(crate) request: Parts,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) started: Instant,
    pub(crate) status: StatusCode,
    pub(crate) cache_status: Bytes,
    pub(crate) origin: Option<AnsweredBy>,
    pub(crate) sent: Sent,
}

/// The origin that a request was sent to, and how long the head of its response took.
#[derive(Debug)]
pub(crate) struct AnsweredBy {
    server: Arc<str>,
    head_time: Option<Duration>,
}

impl AnsweredBy {
    /// Reads a report. What happens in the background later does not change it.
    pub(crate) fn of(report: &OriginReport) -> Option<Self> {
        report.server().map(|server| Self { server, head_time: report.head_time() })
    }
}

/// What has been sent of a response's content.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    bytes: u64,
    complete: bool,
}

/// The time at which a request arrived, if there is a log to report it to.
#[derive(Debug)]
pub(crate) struct RequestStart {
    pub(crate) log: Arc<dyn AccessLog>,
    pub(crate) started: Instant,
}

impl RequestStart {
    /// Records the current time.
    pub(crate) fn now(log: &Arc<dyn AccessLog>) -> Self {
        Self { log: Arc::clone(log), started: Instant::now() }
    }
}

impl LoggedExchange {
    /// Adds bytes that were handed to the connection.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.sent.bytes += bytes;
    }

    /// Records that the content is complete.
    pub(crate) fn complete(&mut self) {
        self.sent.complete = true;
    }
}

impl fmt::Debug for LoggedExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoggedExchange")
    }
}

impl Drop for LoggedExchange {
    fn drop(&mut self) {
        self.log.on_response_end(&Access {
            request: &self.request,
            peer: self.peer,
            status: self.status.as_u16(),
            bytes: self.sent.bytes,
            complete: self.sent.complete,
            duration: self.started.elapsed(),
            cache_status: std::str::from_utf8(&self.cache_status).unwrap_or_default(),
            origin: self.origin.as_ref().map(|origin| &*origin.server),
            origin_duration: self.origin.as_ref().and_then(|origin| origin.head_time),
            trace: trace_of(&self.request.headers),
        });
    }
}

/// A connection to an origin that has switched protocols. Its request is logged when it is dropped,
/// with the bytes that were read from the origin.
pub(crate) struct LoggedConnection {
    connection: Upgraded,
    logged: LoggedExchange,
}

impl LoggedConnection {
    /// Creates the connection.
    pub(crate) fn new(connection: Upgraded, logged: LoggedExchange) -> Self {
        Self { connection, logged }
    }
}

impl AsyncRead for LoggedConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.connection).poll_read(cx, buffer))?;
        match buffer.filled().len() - before {
            0 => self.logged.complete(),
            length => self.logged.add(length as u64),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LoggedConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}
