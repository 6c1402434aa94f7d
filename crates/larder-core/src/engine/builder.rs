//! How a cache is put together.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use super::{Cache, Inner, events::Observer, flights::Flights, tasks::Tasks, uncacheable::UncacheableKeys};
use crate::{CacheStore, Clock, Rules, SystemClock};

/// Settings of a [`Cache`]; see [`Cache::builder`].
#[derive(Debug)]
pub struct CacheBuilder {
    store: Arc<dyn CacheStore>,
    rules: Rules,
    name: Box<str>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    observer: Option<Arc<dyn Observer>>,
}

impl CacheBuilder {
    pub(super) fn new(store: Arc<dyn CacheStore>) -> Self {
        Self {
            store,
            rules: Rules::shared(),
            name: "larder".into(),
            clock: Arc::new(SystemClock),
            limits: Limits::default(),
            observer: None,
        }
    }

    /// The rules to decide by. Default: [`Rules::shared`].
    #[must_use]
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// This cache's name in `Cache-Status` (RFC 9211 §2). Default: `larder`. What can't stand in a token of
    /// RFC 9110 §5.6.2 is replaced by `-`.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        let token =
            |c: char| if c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/".contains(c) { c } else { '-' };
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '*');
        self.name = if starts_well { "" } else { "larder-" }.chars().chain(name.chars().map(token)).collect();
        self
    }

    /// Where the time comes from. Default: [`SystemClock`].
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The bounds. Default: [`Limits::default`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Who is told what happens. Default: nobody.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// The cache.
    pub fn build(self) -> Cache {
        Cache {
            inner: Arc::new(Inner {
                store: self.store,
                rules: self.rules,
                name: self.name,
                clock: self.clock,
                flights: Flights::new(self.limits.max_concurrent_fetches),
                uncacheable: UncacheableKeys::new(),
                background: Arc::new(Semaphore::new(self.limits.max_background_revalidations)),
                tasks: Arc::new(Tasks::default()),
                limits: self.limits,
                observer: self.observer,
            }),
        }
    }
}

/// Bounds on what one request, one key or the whole cache may use. Each has a default that suits a server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Longest body that is stored, in bytes; longer ones pass through. The store may have a lower limit of its
    /// own. Default: no limit here.
    pub max_object: u64,
    /// Most bytes of header fields that are stored of one response. Default: 64 KiB.
    pub max_head: usize,
    /// Most variants of one key (RFC 9111 §4.1). One more, and the key starts anew: an origin whose `Vary` names a
    /// field that is different for everyone must not fill the store with one page. Default: 64.
    pub max_variants: usize,
    /// Most keys that are fetched with collapsing at the same time; requests beyond go to the origin uncollapsed.
    /// Default: 65,536.
    pub max_concurrent_fetches: usize,
    /// Most revalidations in the background at the same time; beyond it a stale response that may be served stays
    /// as it is until its next request. Default: 256.
    pub max_background_revalidations: usize,
    /// How long a request waits for the headers of another one's fetch before it goes to the origin itself.
    /// Default: 30 s.
    pub collapse_timeout: Duration,
    /// How long the origin may take to answer with a head. Default: 60 s.
    pub origin_timeout: Duration,
    /// How long the origin may pause within a body that is being stored. Default: 60 s.
    pub body_timeout: Duration,
    /// How long a store may take for a look-up before it counts as a miss. Default: 1 s.
    pub lookup_timeout: Duration,
    /// How long a store may take for any other single step, and how long a client that takes nothing may keep
    /// a shared fetch waiting. Default: 10 s.
    pub store_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_object: u64::MAX,
            max_head: 64 * 1024,
            max_variants: 64,
            max_concurrent_fetches: 65_536,
            max_background_revalidations: 256,
            collapse_timeout: Duration::from_secs(30),
            origin_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            lookup_timeout: Duration::from_secs(1),
            store_timeout: Duration::from_secs(10),
        }
    }
}
