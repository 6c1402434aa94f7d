//! Defines the [`Limits`] of a cache with their defaults. Each limit is applied by the file that
//! waits or allocates.

use std::time::Duration;

/// Limits on what one request, one key or the whole cache may use. The defaults suit a server.
///
/// ```
/// use std::time::Duration;
/// use larder_core::Limits;
///
/// let limits = Limits::default()
///     .with_origin_timeout(Duration::from_secs(10))
///     .with_max_object(1 << 20);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Longest body that is stored, in bytes. A longer body is forwarded without being stored. The
    /// store may have a lower limit. Default: no limit.
    pub max_object: u64,
    /// Largest head that is stored, in bytes. The size is that of the header fields, selecting
    /// header values and groups with their bookkeeping. A response with a larger head is forwarded
    /// without being stored. Default: 256 KiB.
    pub max_head: usize,
    /// Maximum number of variants of one key (RFC 9111 §4.1), at least 1. Default: 64. It prevents
    /// an origin from filling the store with a single page by naming in `Vary` a field that differs
    /// for each client.
    ///
    /// At the limit, the least recently used variant is evicted after a new one has been stored. A
    /// variant is in use for a minute after it was served from the store. Of those that are not in
    /// use, the one goes that was stored, validated or served longest ago. While all are in use, a
    /// new variant is stored only at its second request within a minute, and the one goes that was
    /// served longest ago. A client that sends a new value with each request therefore displaces
    /// nothing that others use.
    ///
    /// Each process knows the uses that it has served itself while the key had several variants, to
    /// the second, of about the last 16,384 variants. Variants of one key that are fetched at the
    /// same time may exceed the limit until they are stored. The observer gets
    /// [`Event::VariantEvicted`](crate::Event::VariantEvicted), and the log a warning at most once
    /// a minute.
    pub max_variants: usize,
    /// Maximum number of keys that are fetched with collapsing at the same time. Requests for
    /// further keys go to the origin uncollapsed. Default: 65,536.
    pub max_concurrent_fetches: usize,
    /// Maximum number of concurrent background revalidations. When it is reached, a stale response
    /// that may be served is served without a revalidation; its next request tries again. Default:
    /// 256.
    pub max_background_revalidations: usize,
    /// Longest time that a request waits for the response headers of another request's fetch, or
    /// for another process's lease, before it goes to the origin. It waits for a lease at most
    /// three times. Default: 30 s.
    pub collapse_timeout: Duration,
    /// Longest time until the head of the origin's response arrives. It starts again with each part
    /// of the request's content, and is at least 5 minutes while the client owes the next part.
    /// Default: 60 s. When it passes, the client gets a 504 or a stale response.
    pub origin_timeout: Duration,
    /// Longest time until the head of the origin's response arrives if a stale response may be
    /// served instead (`stale-if-error`, RFC 5861 §4). Default: 10 s. When it passes, the client
    /// gets the stale response. For 10 s after that, others of the same origin are served at once,
    /// and are revalidated in the background with [`origin_timeout`](Self::origin_timeout).
    pub stale_if_error_timeout: Duration,
    /// Longest time between two chunks of a response body that is being stored. Default: 60 s. When
    /// it passes, the body ends with an error. Other bodies are limited by the origin only.
    pub body_timeout: Duration,
    /// Longest time that a store lookup, a reservation, a claim of a lease or the opening of a body
    /// may take. Default: 1 s. A lookup that takes longer is a miss.
    pub lookup_timeout: Duration,
    /// Longest time that any other store operation may take, except the removal of a URL prefix,
    /// which has no limit; and longest time that a client that does not read may delay a shared
    /// fetch. Default: 10 s.
    pub store_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_object: u64::MAX,
            max_head: 256 * 1024,
            max_variants: 64,
            max_concurrent_fetches: 65_536,
            max_background_revalidations: 256,
            collapse_timeout: Duration::from_secs(30),
            origin_timeout: Duration::from_secs(60),
            stale_if_error_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(60),
            lookup_timeout: Duration::from_secs(1),
            store_timeout: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// Sets the longest body that is stored, in bytes ([`max_object`](Self::max_object)).
    #[must_use]
    pub fn with_max_object(mut self, max_object: u64) -> Self {
        self.max_object = max_object;
        self
    }

    /// Sets the largest head that is stored, in bytes ([`max_head`](Self::max_head)).
    #[must_use]
    pub fn with_max_head(mut self, max_head: usize) -> Self {
        self.max_head = max_head;
        self
    }

    /// Sets the maximum number of variants of one key ([`max_variants`](Self::max_variants)).
    #[must_use]
    pub fn with_max_variants(mut self, max_variants: usize) -> Self {
        self.max_variants = max_variants;
        self
    }

    /// Sets the maximum number of keys that are fetched with collapsing at the same time
    /// ([`max_concurrent_fetches`](Self::max_concurrent_fetches)).
    #[must_use]
    pub fn with_max_concurrent_fetches(mut self, max_concurrent_fetches: usize) -> Self {
        self.max_concurrent_fetches = max_concurrent_fetches;
        self
    }

    /// Sets the maximum number of concurrent background revalidations
    /// ([`max_background_revalidations`](Self::max_background_revalidations)).
    #[must_use]
    pub fn with_max_background_revalidations(mut self, max_background_revalidations: usize) -> Self {
        self.max_background_revalidations = max_background_revalidations;
        self
    }

    /// Sets the longest time that a request waits for another request's fetch
    /// ([`collapse_timeout`](Self::collapse_timeout)).
    #[must_use]
    pub fn with_collapse_timeout(mut self, collapse_timeout: Duration) -> Self {
        self.collapse_timeout = collapse_timeout;
        self
    }

    /// Sets the longest time until the head of the origin's response arrives if a stale response
    /// may be served instead ([`stale_if_error_timeout`](Self::stale_if_error_timeout)).
    #[must_use]
    pub fn with_stale_if_error_timeout(mut self, stale_if_error_timeout: Duration) -> Self {
        self.stale_if_error_timeout = stale_if_error_timeout;
        self
    }

    /// Sets the longest time until the head of the origin's response arrives
    /// ([`origin_timeout`](Self::origin_timeout)).
    #[must_use]
    pub fn with_origin_timeout(mut self, origin_timeout: Duration) -> Self {
        self.origin_timeout = origin_timeout;
        self
    }

    /// Sets the longest time between two chunks of a response body that is being stored
    /// ([`body_timeout`](Self::body_timeout)).
    #[must_use]
    pub fn with_body_timeout(mut self, body_timeout: Duration) -> Self {
        self.body_timeout = body_timeout;
        self
    }

    /// Sets the longest time that a store lookup may take
    /// ([`lookup_timeout`](Self::lookup_timeout)).
    #[must_use]
    pub fn with_lookup_timeout(mut self, lookup_timeout: Duration) -> Self {
        self.lookup_timeout = lookup_timeout;
        self
    }

    /// Sets the longest time that any other store operation may take
    /// ([`store_timeout`](Self::store_timeout)).
    #[must_use]
    pub fn with_store_timeout(mut self, store_timeout: Duration) -> Self {
        self.store_timeout = store_timeout;
        self
    }
}
