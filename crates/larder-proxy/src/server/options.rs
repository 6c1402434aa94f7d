//! Defines the options of a [`ProxyServer`](crate::ProxyServer): threads, timeouts, and limits on
//! what clients may use.

use std::time::Duration;

/// Options of a [`ProxyServer`](crate::ProxyServer).
///
/// ```
/// let options = larder_proxy::ServerOptions::default().with_workers(2).with_signals(false);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerOptions {
    /// Number of worker threads, each with its own connections. Values are limited to 1 to 512.
    /// Default: one for each available core.
    pub workers: Option<usize>,
    /// Number of connections that the system keeps for each worker until they are accepted. The
    /// system may have a lower limit. Default: 4,096.
    pub backlog: u32,
    /// Time after which an idle connection is closed; 0 disables keep-alive. Default: 75 s. Over
    /// HTTP/2, a connection is idle while it has no stream; it gets a GOAWAY.
    pub keep_alive: Duration,
    /// Longest time for the head of each request, and for a TLS handshake; 0 disables the timeout.
    /// Default: 10 s. Over HTTP/2, it limits the handshake and the first bytes; after that,
    /// [`keep_alive`](Self::keep_alive) limits the wait for a complete head.
    ///
    /// It starts when the connection is opened, and for later requests with their first byte. When
    /// it passes, the connection is closed; over HTTP/1, after a 408 if the client had sent a part
    /// of a request.
    pub request_timeout: Duration,
    /// Longest time that a client may take no part of a response; 0 disables the timeout. Default:
    /// 60 s. When it passes, the connection or the HTTP/2 stream is reset. A slow client that goes
    /// on reading has no limit over HTTP/1. Over HTTP/2, a stream has to take 16 KiB in this time.
    pub send_timeout: Duration,
    /// Longest time that a connection which has switched to another protocol, such as WebSocket,
    /// may be silent in both directions; 0 disables the timeout. Default: 1 hour, because such a
    /// connection is silent while nothing happens. When it passes, the connection is reset.
    /// [`send_timeout`](Self::send_timeout) applies to it, too.
    pub upgrade_timeout: Duration,
    /// Time for requests in flight to end after a shutdown has begun. Default: 30 s. When it
    /// passes, their connections are closed. Idle connections have at most 1 s: over HTTP/2 to
    /// close after a GOAWAY, over HTTP/1 for a request that the client may be sending, which is
    /// answered with `Connection: close`.
    pub shutdown_timeout: Duration,
    /// Maximum number of connections of one worker. Default: 25,000; 0 counts as 1. When a worker
    /// has that many, it accepts none until one is closed. The limit of open files may allow fewer:
    /// see [`reserved_files`](Self::reserved_files).
    pub max_connections: usize,
    /// Maximum number of connections of one client to all workers: of an IPv4 address, or of a /64
    /// network of IPv6. Default: 1,024; 0 counts as 1. Further connections are closed at once.
    ///
    /// Without limit are the proxies of which forwarded fields are trusted
    /// ([`ProxyOptions::trusted_proxies`](crate::ProxyOptions::trusted_proxies)) and clients on
    /// Unix sockets. With the PROXY protocol, the address in the header counts.
    pub max_connections_per_client: usize,
    /// Number of open files that connections of clients leave to others: connections to origins,
    /// files of a store, logs. Each worker gets an equal part of the rest of the process's limit
    /// (`RLIMIT_NOFILE`, as it is when [`ProxyServer::run`](crate::ProxyServer::run) is called) as
    /// its number of connections, if [`max_connections`](Self::max_connections) does not allow
    /// fewer. Default: a quarter of the limit, and at least 256 of it. The connections that are
    /// left are logged at the start.
    pub reserved_files: Option<usize>,
    /// Time between two checks whether the files of certificates have changed, which are then read
    /// again; 0 disables the check. Default: 60 s. A file that cannot be used is logged as an
    /// error, and the previous certificates stay.
    pub certificate_interval: Duration,
    /// Largest head of a request, in bytes: over HTTP/1 with its request line, over HTTP/2 the size
    /// of the decoded fields with 32 bytes each (RFC 9113 §6.5.2). Default: 64 KiB; at least 8 KiB.
    /// Beyond it, the client gets a 431 or the connection is closed.
    pub max_header_bytes: usize,
    /// Maximum number of header fields of a request. Over HTTP/2, `Cookie` does not count, of which
    /// clients make a field for each cookie. Default: 100. Beyond it, the client gets a 431.
    pub max_headers: usize,
    /// Maximum number of requests in flight on one HTTP/2 connection. Default: 128.
    pub max_concurrent_streams: u32,
    /// Whether SIGTERM and SIGINT shut down the server. A second signal closes all connections at
    /// once. Default: true.
    pub signals: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            workers: None,
            backlog: 4096,
            keep_alive: Duration::from_secs(75),
            request_timeout: Duration::from_secs(10),
            send_timeout: Duration::from_secs(60),
            upgrade_timeout: Duration::from_secs(3600),
            shutdown_timeout: Duration::from_secs(30),
            max_connections: 25_000,
            max_connections_per_client: 1024,
            reserved_files: None,
            certificate_interval: Duration::from_secs(60),
            max_header_bytes: 64 * 1024,
            max_headers: 100,
            max_concurrent_streams: 128,
            signals: true,
        }
    }
}

impl ServerOptions {
    /// Sets the number of worker threads ([`workers`](Self::workers)).
    #[must_use]
    pub fn with_workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Sets the number of connections that wait to be accepted ([`backlog`](Self::backlog)).
    #[must_use]
    pub fn with_backlog(mut self, backlog: u32) -> Self {
        self.backlog = backlog;
        self
    }

    /// Sets the time after which an idle connection is closed ([`keep_alive`](Self::keep_alive)).
    #[must_use]
    pub fn with_keep_alive(mut self, keep_alive: Duration) -> Self {
        self.keep_alive = keep_alive;
        self
    }

    /// Sets the longest time for the head of a request
    /// ([`request_timeout`](Self::request_timeout)).
    #[must_use]
    pub fn with_request_timeout(mut self, request_timeout: Duration) -> Self {
        self.request_timeout = request_timeout;
        self
    }

    /// Sets the longest time that a client may take no part of a response
    /// ([`send_timeout`](Self::send_timeout)).
    #[must_use]
    pub fn with_send_timeout(mut self, send_timeout: Duration) -> Self {
        self.send_timeout = send_timeout;
        self
    }

    /// Sets the longest silence of a connection that has switched to another protocol
    /// ([`upgrade_timeout`](Self::upgrade_timeout)).
    #[must_use]
    pub fn with_upgrade_timeout(mut self, upgrade_timeout: Duration) -> Self {
        self.upgrade_timeout = upgrade_timeout;
        self
    }

    /// Sets the time for requests in flight to end after a shutdown has begun
    /// ([`shutdown_timeout`](Self::shutdown_timeout)).
    #[must_use]
    pub fn with_shutdown_timeout(mut self, shutdown_timeout: Duration) -> Self {
        self.shutdown_timeout = shutdown_timeout;
        self
    }

    /// Sets the maximum number of connections of one worker
    /// ([`max_connections`](Self::max_connections)).
    #[must_use]
    pub fn with_max_connections(mut self, max_connections: usize) -> Self {
        self.max_connections = max_connections;
        self
    }

    /// Sets the maximum number of connections of one client to all workers
    /// ([`max_connections_per_client`](Self::max_connections_per_client)).
    #[must_use]
    pub fn with_max_connections_per_client(mut self, max_connections_per_client: usize) -> Self {
        self.max_connections_per_client = max_connections_per_client;
        self
    }

    /// Sets the number of open files that connections of clients leave to others
    /// ([`reserved_files`](Self::reserved_files)).
    #[must_use]
    pub fn with_reserved_files(mut self, reserved_files: usize) -> Self {
        self.reserved_files = Some(reserved_files);
        self
    }

    /// Sets the time between two checks of the files of certificates
    /// ([`certificate_interval`](Self::certificate_interval)).
    #[must_use]
    pub fn with_certificate_interval(mut self, certificate_interval: Duration) -> Self {
        self.certificate_interval = certificate_interval;
        self
    }

    /// Sets the largest head of a request, in bytes
    /// ([`max_header_bytes`](Self::max_header_bytes)).
    #[must_use]
    pub fn with_max_header_bytes(mut self, max_header_bytes: usize) -> Self {
        self.max_header_bytes = max_header_bytes;
        self
    }

    /// Sets the maximum number of header fields of a request ([`max_headers`](Self::max_headers)).
    #[must_use]
    pub fn with_max_headers(mut self, max_headers: usize) -> Self {
        self.max_headers = max_headers;
        self
    }

    /// Sets the maximum number of requests in flight on one HTTP/2 connection
    /// ([`max_concurrent_streams`](Self::max_concurrent_streams)).
    #[must_use]
    pub fn with_max_concurrent_streams(mut self, max_concurrent_streams: u32) -> Self {
        self.max_concurrent_streams = max_concurrent_streams;
        self
    }

    /// Sets whether SIGTERM and SIGINT shut down the server ([`signals`](Self::signals)).
    #[must_use]
    pub fn with_signals(mut self, signals: bool) -> Self {
        self.signals = signals;
        self
    }

    /// Returns the number of worker threads to start.
    pub(crate) fn worker_count(&self) -> usize {
        let available = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.workers.unwrap_or_else(available).clamp(1, 512)
    }
}
