//! Serves one connection: finds out its protocol, runs hyper on it, and applies the timeouts.
//!
//! hyper parses, frames and applies the limits on heads and streams. Its own timers are not used:
//! one for each head would cost more than the rest of a hit.

use std::{
    cell::Cell,
    convert::Infallible,
    future::poll_fn,
    net::IpAddr,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, Version, header::COOKIE};
use http_body::Body as _;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{Service, service_fn},
    upgrade::OnUpgrade,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use larder_core::Upgraded;
use tokio::{
    io::{AsyncWrite as _, AsyncWriteExt as _},
    time::{Instant, error::Elapsed, sleep_until, timeout},
};

use super::{
    activity::Activity,
    admission::{Admitted, admit},
    context::ConnectionContext,
    listening::{Accepted, ListenerContext},
    options::ServerOptions,
    socket::{ClientStream, MeteredStream},
    streams::{ServedBody, StreamExecutor},
    timeouts::{CLOSING, Expiry, Timeouts},
    tunnel,
};
use crate::{ProxyBody, ReverseProxy, handle::Client, reject};

/// Response to a client that has sent a part of a head in time only.
const REQUEST_TIMEOUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Time for that response to be sent.
const REQUEST_TIMEOUT_LIMIT: Duration = Duration::from_secs(1);

/// Time between two PINGs on an HTTP/2 connection, which find out whether the client is gone.
const PING_INTERVAL: Duration = Duration::from_secs(60);

/// Time for the reply to a PING.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes of content that a client may send ahead on an HTTP/2 stream, and on all streams of a
/// connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Bytes of responses that wait on each HTTP/2 stream until they are sent.
const SEND_BUFFER: usize = 64 * 1024;

/// Serves one connection until it is closed.
pub(super) async fn serve<M: Fn() -> ReverseProxy + 'static>(
    context: Rc<ConnectionContext<M>>,
    accepted: Accepted,
    activity: Rc<Activity>,
) {
    let Ok(Some(admitted)) = until_stopped(&activity, admit(&context, accepted)).await else { return };
    let Admitted { stream, peer, is_tls, listener, _counted } = admitted;
    let opened = Instant::now();
    let preparing = prepare(&context, &listener, MeteredStream { stream, activity: Rc::clone(&activity) });
    // None: a failed handshake, or a client that has left or sent nothing.
    let Ok(Some((stream, is_http_2))) = until_stopped(&activity, preparing).await else { return };
    let timeouts = Timeouts::new(&context.options, Rc::clone(&activity), is_http_2, opened);
    let executor = StreamExecutor::new(context.options.send_timeout);
    let streams = is_http_2.then(|| executor.clone());
    let served = Rc::clone(&context);
    let begun = Rc::clone(&activity);
    let switch = Rc::<Switch>::default();
    let asked = Rc::clone(&switch);
    let service = service_fn(move |request: Request<Incoming>| {
        let in_flight = begun.begin(!request.body().is_end_stream());
        let progress = streams.as_ref().map(StreamExecutor::next_progress);
        let (context, listener) = (Rc::clone(&served), Rc::clone(&listener));
        let switch = Rc::clone(&asked);
        async move {
            let version = request.version();
            switch.is_asked.set(switch.is_asked.get() || request.extensions().get::<OnUpgrade>().is_some());
            let mut response = respond(&context, request, (peer, is_tls), &listener).await;
            match Upgraded::detach(&mut response) {
                // `Connection` has another option in such a response.
                Some(origin) => switch.origin.set(Some(origin)),
                None => in_flight.close_if_stopping(version, response.headers_mut()),
            }
            Ok::<_, Infallible>(response.map(|body| ServedBody::new(body, progress, in_flight)))
        }
    });
    let io = TokioIo::new(stream);
    let connection = if is_http_2 {
        Protocol::Http2(http_2(&context.options, executor).serve_connection(io, service))
    } else {
        Protocol::Http1(http_1(&context.options).serve_connection(io, service))
    };
    if let Some((client, origin)) = drive(connection, timeouts, &activity, &switch).await {
        tunnel::join(client, origin, &activity, &context.options).await;
    }
}

/// Whether a connection is to switch to another protocol.
#[derive(Default)]
struct Switch {
    /// Whether a request had `Upgrade`. hyper then leaves it to its caller to close the connection
    /// at the end.
    is_asked: Cell<bool>,
    /// The origin's connection, if the last response is a 101.
    origin: Cell<Option<Upgraded>>,
}

/// Handles one request.
async fn respond<M: Fn() -> ReverseProxy>(
    context: &ConnectionContext<M>,
    request: Request<Incoming>,
    (peer, is_tls): (IpAddr, bool),
    listener: &ListenerContext,
) -> Response<ProxyBody> {
    // Over HTTP/1, hyper has counted them.
    if request.version() == Version::HTTP_2 && request.headers().len() > context.options.max_headers {
        let cookies = request.headers().get_all(COOKIE).iter().count();
        if request.headers().len() - cookies > context.options.max_headers {
            return reject::too_many_fields().map(|body| ProxyBody::new(body, true));
        }
    }
    let proxy = context.proxy.current();
    let client = Client { peer: Some(peer), is_tls, redirect: listener.redirect() };
    proxy.handle_from(request, client).await
}

/// Prepares a connection: the TLS handshake, and the first bytes, which show the protocol. Returns
/// the connection, and whether it is one of HTTP/2.
#[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "a listener may only differ by TLS"))]
async fn prepare<M>(
    context: &ConnectionContext<M>,
    listener: &ListenerContext,
    stream: MeteredStream,
) -> Option<(ClientStream, bool)> {
    let preparing = async {
        #[cfg(feature = "tls")]
        if let Some(acceptor) = &listener.tls {
            let stream = acceptor.0.accept(stream).await?;
            let is_http_2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            return Ok((ClientStream::tls(stream), is_http_2));
        }
        let mut stream = ClientStream::plain(stream);
        let is_http_2 = stream.has_preface().await?;
        Ok::<_, std::io::Error>((stream, is_http_2))
    };
    let limit = context.options.request_timeout;
    let prepared = if limit.is_zero() { Ok(preparing.await) } else { timeout(limit, preparing).await };
    match prepared {
        Ok(Ok(prepared)) => Some(prepared),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a connection ended before its first request");
            None
        }
        Err(_) => None,
    }
}

/// Returns the settings of HTTP/1.
fn http_1(options: &ServerOptions) -> http1::Builder {
    let mut builder = http1::Builder::new();
    let header_bytes = options.max_header_bytes.max(8192);
    builder
        .keep_alive(!options.keep_alive.is_zero())
        .header_read_timeout(None)
        .max_header_size(header_bytes)
        .max_buf_size(header_bytes);
    // hyper keeps the fields of each head on the stack if their number is its default.
    if options.max_headers != 100 {
        builder.max_headers(options.max_headers);
    }
    builder
}

/// Returns the settings of HTTP/2.
fn http_2(options: &ServerOptions, executor: StreamExecutor) -> http2::Builder<StreamExecutor> {
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(options.max_concurrent_streams)
        .max_header_list_size(u32::try_from(options.max_header_bytes.max(8192)).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER);
    builder
}

/// A connection in hyper's hands, or one that is being closed after it.
#[expect(clippy::large_enum_variant, reason = "it is not moved while it is used")]
enum Protocol<S: Service<Request<Incoming>, Response = Response<ServedBody>, Error = Infallible>> {
    Http1(http1::Connection<TokioIo<ClientStream>, S>),
    Http2(http2::Connection<TokioIo<ClientStream>, S, StreamExecutor>),
    Closing(ClientStream),
    Closed,
}

impl<S> Protocol<S>
where
    S: Service<Request<Incoming>, Response = Response<ServedBody>, Error = Infallible>,
    S::Future: 'static,
{
    /// Makes progress. Ready when the connection has been closed.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        match self {
            Self::Http1(connection) => Pin::new(connection).poll(cx),
            Self::Http2(connection) => Pin::new(connection).poll(cx),
            // If the client does not take it, it does not need it.
            Self::Closing(stream) => Pin::new(stream).poll_shutdown(cx).map(|_| Ok(())),
            Self::Closed => Poll::Ready(Ok(())),
        }
    }

    /// Returns whether the connection is shut down as soon as the server is. hyper would close an
    /// idle one of HTTP/1 although its client may be sending a request: it has a little time for
    /// that (`timeouts`), and the response then closes it.
    fn is_shut_down_at_once(&self, activity: &Activity) -> bool {
        matches!(self, Self::Http2(_)) || activity.in_flight() > 0
    }

    /// Lets the requests in flight end, and accepts no more: with a GOAWAY, or with `Connection:
    /// close` in the next response.
    fn shut_down(&mut self) {
        match self {
            Self::Http1(connection) => Pin::new(connection).graceful_shutdown(),
            Self::Http2(connection) => Pin::new(connection).graceful_shutdown(),
            Self::Closing(_) | Self::Closed => {}
        }
    }

    /// Closes a connection of HTTP/1 that hyper has left open at its end. Returns false if there is
    /// nothing to close.
    fn close(&mut self) -> bool {
        let Self::Http1(connection) = std::mem::replace(self, Self::Closed) else { return false };
        *self = Self::Closing(connection.into_parts().io.into_inner());
        true
    }

    /// Takes a connection of HTTP/1 that has switched to another protocol.
    fn switched(&mut self) -> Option<ClientStream> {
        let Self::Http1(connection) = std::mem::replace(self, Self::Closed) else { return None };
        let parts = connection.into_parts();
        let mut stream = parts.io.into_inner();
        stream.switch(parts.read_buf);
        Some(stream)
    }
}

/// Runs a connection until it is closed or a timeout has passed. Returns the client's and the
/// origin's connection if both have switched to another protocol.
async fn drive<S>(
    mut connection: Protocol<S>,
    mut timeouts: Timeouts,
    activity: &Activity,
    switch: &Switch,
) -> Option<(ClientStream, Upgraded)>
where
    S: Service<Request<Incoming>, Response = Response<ServedBody>, Error = Infallible>,
    S::Future: 'static,
{
    let mut timer = pin!(sleep_until(timeouts.next(Instant::now()).0));
    let mut is_stopping = false;
    let ended = poll_fn(|cx| {
        activity.set_waker(cx.waker());
        if activity.is_stopping() && !is_stopping && connection.is_shut_down_at_once(activity) {
            is_stopping = true;
            connection.shut_down();
        }
        loop {
            match connection.poll(cx) {
                Poll::Ready(Ok(())) => {
                    if let Some(origin) = switch.origin.take() {
                        return Poll::Ready(Ended::Switched(origin));
                    }
                    if !(switch.is_asked.take() && connection.close()) {
                        return Poll::Ready(Ended::Closed);
                    }
                    continue;
                }
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "a connection ended");
                    return Poll::Ready(Ended::Closed);
                }
                Poll::Pending => {}
            }
            let now = Instant::now();
            timeouts.update(now);
            let (deadline, expiry) = timeouts.next(now);
            if deadline <= now {
                match expiry {
                    Expiry::Look => {}
                    Expiry::Idle => {
                        timeouts.close(now);
                        connection.shut_down();
                        continue;
                    }
                    Expiry::Head | Expiry::Send | Expiry::Closing => {
                        return Poll::Ready(Ended::Expired(expiry));
                    }
                }
            }
            if timer.is_elapsed() || deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
    match (ended, connection) {
        (Ended::Switched(origin), mut connection) => {
            return connection.switched().map(|client| (client, origin));
        }
        (Ended::Expired(Expiry::Head), Protocol::Http1(connection)) => {
            let mut stream = connection.into_parts().io.into_inner();
            let sending = async {
                stream.write_all(REQUEST_TIMEOUT).await?;
                stream.shutdown().await
            };
            // If the client does not take it, it does not need it.
            let _ = timeout(REQUEST_TIMEOUT_LIMIT, sending).await;
        }
        (Ended::Expired(Expiry::Send), _) => {
            tracing::debug!("closed a connection: the client took nothing of a response");
            activity.reset_on_close();
        }
        _ => {}
    }
    None
}

/// How the part of a connection that is HTTP has ended.
enum Ended {
    Closed,
    Expired(Expiry),
    /// The origin's connection, which the client's is to be joined with.
    Switched(Upgraded),
}

/// Waits for a future. When the server shuts down, it has a little time left: the client may be
/// sending its first request.
async fn until_stopped<F: Future>(activity: &Activity, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let unless_stopped = poll_fn(|cx| {
        activity.set_waker(cx.waker());
        match future.as_mut().poll(cx) {
            Poll::Pending if activity.is_stopping() => Poll::Ready(None),
            poll => poll.map(Some),
        }
    });
    match unless_stopped.await {
        Some(output) => Ok(output),
        None => timeout(CLOSING, future).await,
    }
}
