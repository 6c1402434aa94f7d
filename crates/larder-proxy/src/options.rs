//! Defines the options of a [`ReverseProxy`](crate::ReverseProxy). Those of its server are in
//! `server::options`.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::request::Parts;
use larder_core::adapter::{Forwarding, TrustedProxies};

use crate::{AccessLog, content::ContentLimits, purging::PurgePermission};

/// Options of a [`ReverseProxy`](crate::ReverseProxy).
///
/// Create the options once, and clone them for each worker: clones share the identifier by which
/// the proxy detects that it forwards requests to itself.
///
/// ```
/// use std::time::Duration;
/// use larder_proxy::ProxyOptions;
///
/// let options = ProxyOptions::default().with_https(true).with_content_timeout(Duration::from_secs(20));
/// assert_eq!(options.max_content, None);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ProxyOptions {
    /// Whether clients of all listeners use TLS. The scheme of their target URIs, and so of the
    /// cache keys, is then `https`, as it is on listeners with TLS. Set it behind a load balancer
    /// that ends TLS. Default: false.
    pub https: bool,
    /// The proxies in front of this one, of which `Forwarded` and `X-Forwarded-*` are trusted.
    /// Default: none.
    ///
    /// The scheme and host that a trusted proxy has received are the target of the request, and so
    /// in the cache key; its `X-Forwarded-For` is continued. From any other peer these fields and
    /// similar ones are removed, because any client can send them. In both cases this proxy sets
    /// `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`.
    pub trusted_proxies: TrustedProxies,
    /// The log that receives a report of each request when its response has ended. Default: none.
    pub access_log: Option<Arc<dyn AccessLog>>,
    /// Longest time that a client may leave between two parts of a request's content, until the
    /// response begins. Default: 60 s. When it passes, the client gets a 408, and the origin does
    /// not count as failed. At 0, the content must have arrived when the origin's connection reads
    /// it. A value above the larger of 5 minutes and the timeout of the origin has no effect.
    ///
    /// Once the response has begun, the origin does not wait for the content, and a stream of gRPC
    /// is silent while nothing happens. The time is at least 1 hour then.
    pub content_timeout: Duration,
    /// Longest content of a request, in bytes. Default: no limit, because content is forwarded as
    /// it arrives and not kept. Beyond it, the client gets a 413.
    pub max_content: Option<u64>,
    /// Who may purge by requests with the methods `PURGE`, `BAN` and `PURGEKEYS`.
    pub(crate) purges: Option<PurgePermission>,
    /// Shared by the workers, so that a loop through another worker is detected.
    pub(crate) forwarding: Forwarding,
}

impl Default for ProxyOptions {
    fn default() -> Self {
        Self {
            https: false,
            trusted_proxies: TrustedProxies::default(),
            access_log: None,
            content_timeout: Duration::from_secs(60),
            max_content: None,
            purges: None,
            forwarding: Forwarding::default(),
        }
    }
}

impl ProxyOptions {
    /// Sets whether clients use TLS ([`https`](Self::https)).
    #[must_use]
    pub fn with_https(mut self, https: bool) -> Self {
        self.https = https;
        self
    }

    /// Sets the proxies in front of this one, of which `Forwarded` and `X-Forwarded-*` are trusted
    /// ([`trusted_proxies`](Self::trusted_proxies)).
    #[must_use]
    pub fn with_trusted_proxies(mut self, trusted_proxies: TrustedProxies) -> Self {
        self.trusted_proxies = trusted_proxies;
        self
    }

    /// Sets the log that receives a report of each request when its response has ended
    /// ([`access_log`](Self::access_log)).
    #[must_use]
    pub fn with_access_log(mut self, access_log: Arc<dyn AccessLog>) -> Self {
        self.access_log = Some(access_log);
        self
    }

    /// Sets the longest time that a client may leave between two parts of a request's content
    /// ([`content_timeout`](Self::content_timeout)).
    #[must_use]
    pub fn with_content_timeout(mut self, content_timeout: Duration) -> Self {
        self.content_timeout = content_timeout;
        self
    }

    /// Sets the longest content of a request, in bytes ([`max_content`](Self::max_content)).
    #[must_use]
    pub fn with_max_content(mut self, max_content: u64) -> Self {
        self.max_content = Some(max_content);
        self
    }

    /// Sets who may purge by requests with the methods `PURGE`, `BAN` and `PURGEKEYS`, which
    /// programs for other caches send ([`PurgeRequest`](larder_core::adapter::PurgeRequest)). The
    /// function gets the request, and the address of the connection's other end: behind another
    /// proxy, the address of that proxy. Default: no client; the status code is 405. A second call
    /// replaces the first.
    ///
    /// ```
    /// use larder_proxy::ProxyOptions;
    ///
    /// let options = ProxyOptions::default()
    ///     .with_purges(|_, peer| peer.is_some_and(|address| address.is_loopback()));
    /// ```
    #[must_use]
    pub fn with_purges(
        mut self,
        permits: impl Fn(&Parts, Option<IpAddr>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.purges = Some(PurgePermission(Arc::new(permits)));
        self
    }

    /// Returns the limits on the content of a request.
    pub(crate) fn content_limits(&self) -> ContentLimits {
        ContentLimits { timeout: self.content_timeout, max_length: self.max_content }
    }
}
