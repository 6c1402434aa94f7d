//! Defines how a switch of protocols (RFC 9110 §7.8) travels through origins and their wrappers:
//! [`Upgrade`] in the extensions of a request, and [`Upgraded`] in those of the response.
//!
//! `engine::pass` sends such a request. The server that received it joins the two connections.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{
    HeaderMap, HeaderValue, Method, Response, Version,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE},
    request::Parts,
};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::policy::list_members;

/// Protocols that are never passed through: behind them is HTTP that no proxy would read, or a
/// handshake that concerns the client's own connection.
const NEVER_PASSED: [&[u8]; 5] = [b"h2c", b"h2", b"h3", b"http", b"tls"];

/// The protocol to which a request is to switch its connection, such as `websocket`.
///
/// A proxy inserts it in the extensions of a request. An origin that can switch sends it in
/// `Connection` and `Upgrade`; if the server accepts, the response is a 101 with an [`Upgraded`].
/// Other origins ignore it. Wrappers of origins keep the extensions, and send such a request once.
///
/// RFC 9110 §7.8.
///
/// ```
/// use larder_core::Upgrade;
///
/// let request = http::Request::get("/chat")
///     .header("connection", "keep-alive, Upgrade")
///     .header("upgrade", "h2c, websocket")
///     .body(())
///     .expect("a request");
/// let upgrade = Upgrade::of(&request.into_parts().0).expect("an upgrade");
/// assert_eq!(upgrade.protocol(), "websocket");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade(HeaderValue);

impl Upgrade {
    /// Returns the protocol to which a request is to switch: the first one that `Upgrade` lists,
    /// except versions of HTTP (`h2c` among them) and TLS, which are never passed through.
    ///
    /// `None` if there is none, which means that `Upgrade` is ignored: it needs a GET without
    /// content over HTTP/1.1, and `upgrade` in `Connection`.
    pub fn of(request: &Parts) -> Option<Self> {
        if !request.headers.contains_key(UPGRADE) {
            return None;
        }
        let headers = &request.headers;
        let has_content = headers.contains_key(TRANSFER_ENCODING)
            || headers.get_all(CONTENT_LENGTH).iter().any(|length| length.as_bytes() != b"0");
        let is_asked = request.version == Version::HTTP_11
            && request.method == Method::GET
            && !has_content
            && members(headers, CONNECTION).any(|option| option.eq_ignore_ascii_case(b"upgrade"));
        if !is_asked {
            return None;
        }
        let protocol = members(headers, UPGRADE).find(|protocol| is_passable(protocol))?;
        HeaderValue::from_bytes(protocol).ok().map(Self)
    }

    /// Returns the protocol, as it is written in `Upgrade`.
    pub fn protocol(&self) -> &HeaderValue {
        &self.0
    }

    /// Returns whether the fields of a 101 response accept this protocol, and no other.
    ///
    /// ```
    /// # use larder_core::Upgrade;
    /// # let mut request = http::Request::get("/chat").body(()).expect("a request").into_parts().0;
    /// # request.headers.insert("connection", http::HeaderValue::from_static("upgrade"));
    /// # request.headers.insert("upgrade", http::HeaderValue::from_static("websocket"));
    /// let upgrade = Upgrade::of(&request).expect("an upgrade");
    /// let mut response = http::HeaderMap::new();
    /// assert!(!upgrade.is_accepted_by(&response));
    /// response.insert("upgrade", http::HeaderValue::from_static("WebSocket"));
    /// assert!(upgrade.is_accepted_by(&response));
    /// ```
    pub fn is_accepted_by(&self, response: &HeaderMap) -> bool {
        let mut accepted = members(response, UPGRADE);
        accepted.next().is_some_and(|protocol| protocol.eq_ignore_ascii_case(self.0.as_bytes()))
            && accepted.next().is_none()
    }

    /// Writes `Connection` and `Upgrade` for this protocol, in place of those that are there.
    pub fn write_to(&self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, self.0.clone());
    }
}

/// Returns the members of a list field.
fn members(headers: &HeaderMap, name: http::HeaderName) -> impl Iterator<Item = &[u8]> {
    list_members(headers.get_all(name).iter().map(HeaderValue::as_bytes))
}

/// Returns whether a protocol, with or without a version, may be passed through.
fn is_passable(protocol: &[u8]) -> bool {
    let name = protocol.split(|byte| *byte == b'/').next().unwrap_or_default();
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(byte);
    !name.is_empty()
        && protocol.iter().all(is_token)
        && !NEVER_PASSED.iter().any(|never| name.eq_ignore_ascii_case(never))
}

/// A connection to an origin that has switched protocols. Dropping it closes the connection.
///
/// It belongs to a 101 response: [`attach`](Self::attach) puts it into the extensions of one.
///
/// ```
/// use http::{Response, StatusCode};
/// use larder_core::{Body, Upgraded};
/// # fn connection() -> impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + 'static {
/// #     tokio::io::join(tokio::io::empty(), tokio::io::sink())
/// # }
///
/// let mut response = Response::new(Body::empty());
/// *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
/// Upgraded::new(connection()).attach(&mut response);
///
/// assert!(Upgraded::detach(&mut response).is_some());
/// assert!(Upgraded::detach(&mut response).is_none());
/// ```
pub struct Upgraded(Pin<Box<dyn Duplex>>);

/// A connection that is read and written.
trait Duplex: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Duplex for S {}

/// The connection in the extensions of a response, which have to be clonable. It is taken once.
#[derive(Clone)]
struct Slot(Arc<Mutex<Option<Upgraded>>>);

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upgraded")
    }
}

impl Upgraded {
    /// Creates it from a connection. Bytes that the origin has sent behind its response come first
    /// in it.
    pub fn new(connection: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        Self(Box::pin(connection))
    }

    /// Keeps `guard` until the connection is dropped.
    #[must_use]
    pub fn with_guard(self, guard: impl Send + Unpin + 'static) -> Self {
        Self::new(Guarded { connection: self, _guard: guard })
    }

    /// Puts the connection into the extensions of a response.
    pub fn attach<B>(self, response: &mut Response<B>) {
        response.extensions_mut().insert(Slot(Arc::new(Mutex::new(Some(self)))));
    }

    /// Takes the connection of a response. `None` if it has none, or if it was taken before.
    pub fn detach<B>(response: &mut Response<B>) -> Option<Self> {
        let slot: Slot = response.extensions_mut().remove()?;
        slot.0.lock().take()
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_shutdown(cx)
    }
}

/// A connection with a value that is dropped after it.
struct Guarded<G> {
    connection: Upgraded,
    _guard: G,
}

impl<G: Unpin> AsyncRead for Guarded<G> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_read(cx, buffer)
    }
}

impl<G: Unpin> AsyncWrite for Guarded<G> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_protocols_behind_which_is_no_http_are_passed() {
        let websocket = &[("connection", "upgrade"), ("upgrade", "websocket")][..];
        for (fields, expected) in [
            (websocket, Some("websocket")),
            (&[("connection", "keep-alive"), ("connection", "Upgrade"), ("upgrade", "x/1")], Some("x/1")),
            (&[("connection", "upgrade"), ("upgrade", "h2c, TLS/1.0, http/2, x, y")], Some("x")),
            (&[("connection", "upgrade"), ("upgrade", "h2c"), ("upgrade", "x")], Some("x")),
            (&[("connection", "upgrade"), ("upgrade", "x"), ("content-length", "0")], Some("x")),
            (&[("connection", "upgrade"), ("upgrade", "x"), ("content-length", "1")], None),
            (&[("connection", "upgrade"), ("upgrade", "x"), ("transfer-encoding", "chunked")], None),
            (&[("connection", "upgrade, http2-settings"), ("upgrade", "h2c")], None),
            (&[("connection", "upgrade"), ("upgrade", "H2C")], None),
            (&[("connection", "upgrade"), ("upgrade", "HTTP/3.0")], None),
            (&[("connection", "upgrade"), ("upgrade", "tls/1.3")], None),
            (&[("connection", "upgrade"), ("upgrade", "")], None),
            (&[("connection", "upgrade"), ("upgrade", "/x")], None),
            (&[("connection", "upgrade"), ("upgrade", "a b")], None),
            (&[("connection", "upgrade")], None),
            (&[("upgrade", "websocket")], None),
            (&[("connection", "close"), ("upgrade", "websocket")], None),
        ] {
            let mut request = http::Request::get("/").body(()).expect("a request").into_parts().0;
            for (name, value) in fields {
                request.headers.append(*name, HeaderValue::from_static(value));
            }
            let found = Upgrade::of(&request);
            assert_eq!(found.as_ref().map(|found| found.protocol().as_bytes()), expected.map(str::as_bytes));
            for (method, version) in [(Method::POST, Version::HTTP_11), (Method::GET, Version::HTTP_10)] {
                (request.method, request.version) = (method, version);
                assert_eq!(Upgrade::of(&request), None, "{request:?}");
            }
        }
    }

    #[test]
    fn a_response_accepts_the_protocol_that_was_asked_for() {
        let upgrade = Upgrade(HeaderValue::from_static("websocket"));
        for (lines, expected) in [
            (&["websocket"][..], true),
            (&["WebSocket"], true),
            (&[], false),
            (&["h2c"], false),
            (&["websocket, h2c"], false),
            (&["websocket", "websocket"], false),
        ] {
            let mut fields = HeaderMap::new();
            for line in lines {
                fields.append(UPGRADE, HeaderValue::from_static(line));
            }
            assert_eq!(upgrade.is_accepted_by(&fields), expected, "{lines:?}");
        }
    }
}
