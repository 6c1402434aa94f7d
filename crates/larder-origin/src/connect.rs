//! Opens a connection to an origin, ready for requests: TCP, TLS and the handshake of HTTP/1.1 or
//! HTTP/2, within one timeout.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{HyperOptions, OptionsError, destination::Destination, dial};
use hyper::{
    client::conn::{
        http1::{self, SendRequest},
        http2,
    },
    rt::{Read, Write},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use larder_core::{Body, BodyError};
use tokio::sync::Notify;

/// Flow-control window of one HTTP/2 stream in bytes: what the origin may send before it is read.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Flow-control window of one HTTP/2 connection in bytes. 256 streams that nothing reads do not
/// block the others; 256 is more than the usual limit of concurrent streams (RFC 9113 §6.5.2).
const CONNECTION_WINDOW: u32 = 256 * STREAM_WINDOW;

/// Interval of HTTP/2 PING frames on a connection with open streams, and the timeout for their
/// acknowledgement.
const PING: Duration = Duration::from_secs(20);

/// Opens connections with the same options.
#[derive(Clone)]
pub(crate) struct Connector {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    http2_only: bool,
    limit: Duration,
    #[cfg(feature = "tls")]
    tls: crate::tls::Connectors,
}

/// A connection that was opened. Its task runs until the last sender is dropped.
pub(crate) enum Opened {
    /// HTTP/1.1: one exchange at a time.
    Http1(http1::SendRequest<Body>),
    /// HTTP/2: as many exchanges at a time as the origin allows.
    Http2(http2::SendRequest<Body>, Arc<AllowedStreams>),
}

/// The number of streams that an origin allows at a time (RFC 9113 §6.5.2).
#[derive(Debug)]
pub(crate) struct AllowedStreams {
    number: AtomicUsize,
    refresh: Notify,
}

impl AllowedStreams {
    /// Returns the number, as it was when a request was last sent or [`refresh`](Self::refresh) was
    /// called.
    pub(crate) fn get(&self) -> usize {
        self.number.load(Ordering::Relaxed)
    }

    /// Makes the task of the connection read the number again. The origin's settings arrive before
    /// its first response.
    pub(crate) fn refresh(&self) {
        self.refresh.notify_one();
    }
}

impl Connector {
    /// Creates a connector.
    ///
    /// # Errors
    ///
    /// Returns an [`OptionsError`] if the options for TLS are invalid.
    pub(crate) fn new(options: &HyperOptions) -> Result<Self, OptionsError> {
        #[cfg(not(feature = "tls"))]
        if options.to.as_ref().is_some_and(|to| to.scheme_str() == Some("https")) {
            return Err(OptionsError("an https:// origin needs the feature `tls` of larder-origin"));
        }
        let mut http1 = http1::Builder::new();
        http1.max_buf_size(options.max_head.max(8192)).max_headers(options.max_headers);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(options.max_head).unwrap_or(u32::MAX))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING);
        Ok(Self {
            http1,
            http2,
            http2_only: options.http2_only,
            limit: options.connect_timeout,
            #[cfg(feature = "tls")]
            tls: crate::tls::connectors(options)?,
        })
    }

    /// Returns whether a connection to this server may turn out to be HTTP/2.
    pub(crate) fn may_be_http2(&self, to: &Destination) -> bool {
        self.http2_only || to.is_tls
    }

    /// Opens a connection.
    ///
    /// # Errors
    ///
    /// Returns the reason if it could not be opened within the timeout.
    pub(crate) async fn open(&self, to: &Destination) -> Result<Opened, BodyError> {
        self.within_limit(self.connect(to, self.http2_only)).await
    }

    /// Opens a connection of HTTP/1.1, also to a server that prefers HTTP/2.
    ///
    /// # Errors
    ///
    /// Returns the reason if it could not be opened within the timeout, or if the options permit
    /// HTTP/2 only.
    pub(crate) async fn open_http1(&self, to: &Destination) -> Result<SendRequest<Body>, BodyError> {
        if self.http2_only {
            return Err("this origin has HTTP/2 only, in which a connection cannot switch protocols".into());
        }
        let opening = async {
            match to.is_tls {
                true => self.connect_tls(to, true).await,
                false => self.connect(to, false).await,
            }
        };
        match self.within_limit(opening).await? {
            Opened::Http1(sender) => Ok(sender),
            Opened::Http2(..) => Err("the server chose HTTP/2 although it was not offered".into()),
        }
    }

    /// Waits for a connection for at most the timeout.
    async fn within_limit(
        &self,
        opening: impl Future<Output = Result<Opened, BodyError>>,
    ) -> Result<Opened, BodyError> {
        match tokio::time::timeout(self.limit, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(format!("could not connect within {:?}", self.limit).into()),
        }
    }

    /// Opens a connection, without a timeout.
    async fn connect(&self, to: &Destination, is_http2: bool) -> Result<Opened, BodyError> {
        match to.is_tls {
            true => self.connect_tls(to, false).await,
            false => self.handshake(dial::connect(&to.host, to.port).await?, is_http2).await,
        }
    }

    /// Opens a connection with TLS, and starts the protocol that was negotiated.
    #[cfg(feature = "tls")]
    async fn connect_tls(&self, to: &Destination, http1_only: bool) -> Result<Opened, BodyError> {
        let name = rustls::pki_types::ServerName::try_from(to.host.to_string())?;
        let stream = dial::connect(&to.host, to.port).await?;
        let connector = if http1_only { &self.tls.http1 } else { &self.tls.any };
        let stream = connector.connect(name, stream).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        self.handshake(stream, is_http2 || self.http2_only).await
    }

    /// Fails: an `https` request is never sent in plain text.
    #[cfg(not(feature = "tls"))]
    async fn connect_tls(&self, _: &Destination, _: bool) -> Result<Opened, BodyError> {
        Err("https:// needs the feature `tls` of larder-origin".into())
    }

    /// Starts HTTP on a connection, and a task that runs it.
    async fn handshake<T>(&self, stream: T, is_http2: bool) -> Result<Opened, BodyError>
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        let io = TokioIo::new(stream);
        if is_http2 {
            let (sender, connection) = self.http2.handshake(io).await?;
            let number = AtomicUsize::new(connection.current_max_send_streams());
            let allowed = Arc::new(AllowedStreams { number, refresh: Notify::new() });
            tokio::spawn(run_http2(connection, Arc::clone(&allowed)));
            return Ok(Opened::Http2(sender, allowed));
        }
        let (sender, connection) = self.http1.handshake(io).await?;
        // A connection that switches protocols leaves this task with the response.
        let connection = connection.with_upgrades();
        tokio::spawn(async move { log_end(connection.await) });
        Ok(Opened::Http1(sender))
    }
}

/// Runs an HTTP/2 connection, and records how many streams the origin allows.
async fn run_http2<T>(connection: http2::Connection<T, Body, TokioExecutor>, allowed: Arc<AllowedStreams>)
where
    T: Read + Write + Send + Unpin + 'static,
{
    let mut connection = pin!(connection);
    loop {
        let ended = poll_fn(|cx| {
            let ended = connection.as_mut().poll(cx);
            allowed.number.store(connection.current_max_send_streams(), Ordering::Relaxed);
            ended
        });
        tokio::select! {
            biased;
            ended = ended => return log_end(ended),
            () = allowed.refresh.notified() => {}
        }
    }
}

/// Logs an error that has ended a connection. The exchanges on it have received their own.
fn log_end(result: hyper::Result<()>) {
    if let Err(error) = result {
        tracing::trace!(%error, "the connection to an origin ended with an error");
    }
}
