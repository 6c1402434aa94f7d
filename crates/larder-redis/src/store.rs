//! The public store: connects, collects the statistics, and passes each operation of the contract
//! to the module that performs it.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use async_trait::async_trait;
use larder_core::{
    CacheKey, CacheStore, Candidates, EntryId, InvalidationFeed, Leases, Purged, Removals, Reservation,
    Scope, StoreError, StoredHead, Timestamp, mark_key_stale,
};
use redis::Value;

use crate::{
    RedisConnectError, RedisOptions, RedisStats,
    client::{parameters::Parameters, servers::Servers},
    entries::{freshen, groups, lookup, removal, scan, writer},
    fleet::{
        acknowledgements::{publish_number, settle},
        invalidations::RedisInvalidations,
        leases::RedisLeases,
        removals::RedisRemovals,
    },
    shared::Shared,
};

/// Stores responses on Redis or Valkey: one server, a master that Sentinels monitor, or a Cluster.
///
/// Clones share one connection. The store needs a tokio runtime.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use larder_core::Cache;
/// use larder_redis::{RedisOptions, RedisStore};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let store = RedisStore::connect("redis://127.0.0.1:6379/0", RedisOptions::default()).await?;
/// let cache = Cache::builder(Arc::new(store.clone())).build();
/// println!("{} keys are cached", store.stats().await?.entries);
/// # let _ = cache;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisStore {
    shared: Arc<Shared>,
    leases: Arc<RedisLeases>,
    removals: Arc<RedisRemovals>,
    invalidations: Arc<RedisInvalidations>,
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("prefix", &self.shared.options.prefix).finish_non_exhaustive()
    }
}

impl RedisStore {
    /// Connects to the servers of a URL.
    ///
    /// The schemes are `redis://`, `redis+cluster://` and `redis+sentinel://`, and `rediss://`,
    /// `rediss+cluster://` and `rediss+sentinel://` for TLS (feature `tls`). `valkey://` and
    /// `valkeys://` are other names of `redis://` and `rediss://`.
    ///
    /// The query parameters `timeout` (such as `250ms`) and `required` (`true` or `false`) override
    /// [`RedisOptions::command_timeout`] and [`RedisOptions::lazy_connect`]. The connect timeout is
    /// then at least twice the timeout.
    ///
    /// The first connection may take ten times [`RedisOptions::connect_timeout`]. If the servers
    /// become unavailable later, operations fail, which is a miss to the engine, and the store
    /// reconnects.
    ///
    /// # Errors
    ///
    /// Returns a [`RedisConnectError`] if the URL is invalid, the servers do not respond in time,
    /// or they reject the credentials. With [`RedisOptions::lazy_connect`], servers that can't be
    /// reached or do not respond are no error.
    ///
    /// # Panics
    ///
    /// Panics for a TLS URL if rustls cannot choose a crypto provider, see the crate's
    /// documentation.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point.
    pub async fn connect(url: &str, options: RedisOptions) -> Result<Self, RedisConnectError> {
        let (url, parameters) = Parameters::split(url)?;
        let options = RedisOptions { max_object: options.max_object.min(512 << 20), ..options };
        let shared = Arc::new(Shared::connect(Servers::parse(&url)?, parameters.over(options)).await?);
        let leases = RedisLeases(Arc::clone(&shared));
        let removals = RedisRemovals(Arc::clone(&shared));
        let invalidations = RedisInvalidations(Arc::clone(&shared));
        Ok(Self {
            leases: Arc::new(leases),
            removals: Arc::new(removals),
            invalidations: Arc::new(invalidations),
            shared,
        })
    }

    /// Checks that a URL is valid for [`connect`](Self::connect). Connects to nothing.
    ///
    /// ```
    /// use larder_redis::RedisStore;
    ///
    /// assert!(RedisStore::check_url("redis+sentinel://h1:26379,h2:26379/mymaster").is_ok());
    /// assert!(RedisStore::check_url("memcached://h1:11211").is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// Returns a [`RedisConnectError`] that describes the invalid part of the URL.
    pub fn check_url(url: &str) -> Result<(), RedisConnectError> {
        let (url, _) = Parameters::split(url)?;
        Servers::parse(&url)?.check()
    }

    /// Waits until all processes have applied a removal of `scope` to their near copies.
    async fn settle(&self, scope: Scope<'_>, purged: Purged) -> Result<Purged, StoreError> {
        let published = publish_number(&self.shared, self.shared.sender.of_scope(scope)).await?;
        Ok(settle(&self.shared, published, purged).await)
    }

    /// Removes all entries of a scope.
    async fn carry_out(&self, scope: Scope<'_>) -> Result<Purged, StoreError> {
        let removed = match scope {
            Scope::Key(key) => return removal::remove(&self.shared, key).await,
            Scope::Group(group) => groups::remove(&self.shared, group).await.map(|()| Purged::UNKNOWN)?,
            Scope::Prefix(url) => scan::remove_prefix(&self.shared, url).await?.into(),
            Scope::All => scan::remove_all(&self.shared).await?.into(),
        };
        self.settle(scope, removed).await
    }

    /// Marks all entries of a scope as stale.
    async fn carry_out_softly(&self, scope: Scope<'_>, at: Timestamp) -> Result<Purged, StoreError> {
        let marked = match scope {
            Scope::Key(key) => mark_key_stale(self, key, at).await?.into(),
            Scope::Group(group) => {
                groups::mark_stale(&self.shared, group, at).await.map(|()| Purged::UNKNOWN)?
            }
            Scope::Prefix(url) => scan::mark_prefix_stale(&self.shared, self, url, at).await?.into(),
            Scope::All => scan::mark_prefix_stale(&self.shared, self, "", at).await?.into(),
        };
        self.settle(scope, marked).await
    }

    /// Returns the counters of this process and figures of the servers. Scans all keys of the
    /// servers.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if a server does not respond in time.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point.
    pub async fn stats(&self) -> Result<RedisStats, StoreError> {
        let entries = scan::count(&self.shared).await?;
        let info: Value = self.shared.client.query("INFO", redis::cmd("INFO").arg("memory")).await?;
        let breaker = &self.shared.client.breaker;
        Ok(RedisStats {
            entries,
            server_bytes: used_memory(&info),
            failed: breaker.failed.load(Ordering::Relaxed),
            rejected: breaker.rejected.load(Ordering::Relaxed),
            corrupt: self.shared.corrupt(),
        })
    }
}

#[async_trait]
impl CacheStore for RedisStore {
    async fn lookup(&self, key: &CacheKey) -> Result<Candidates, StoreError> {
        lookup::look_up(&self.shared, key).await
    }

    async fn reserve(&self, key: &CacheKey) -> Result<Box<dyn Reservation>, StoreError> {
        Ok(Box::new(writer::reserve(&self.shared, key).await?))
    }

    async fn freshen(
        &self,
        key: &CacheKey,
        id: EntryId,
        head: Arc<StoredHead>,
        keep_until: Timestamp,
    ) -> Result<(), StoreError> {
        freshen::freshen(&self.shared, key, id, head, keep_until).await
    }

    async fn evict(&self, key: &CacheKey, id: EntryId) -> Result<bool, StoreError> {
        removal::evict(&self.shared, key, id).await
    }

    async fn remove(&self, scope: Scope<'_>) -> Result<Purged, StoreError> {
        self.shared.client.confirmed(self.carry_out(scope)).await
    }

    async fn mark_stale(&self, scope: Scope<'_>, at: Timestamp) -> Result<Purged, StoreError> {
        self.shared.client.confirmed(self.carry_out_softly(scope, at)).await
    }

    fn leases(&self) -> Option<&dyn Leases> {
        Some(&*self.leases)
    }

    fn removals(&self) -> Option<&dyn Removals> {
        Some(&*self.removals)
    }

    fn invalidations(&self) -> Option<&dyn InvalidationFeed> {
        Some(&*self.invalidations)
    }
}

/// Returns the sum of `used_memory` of all nodes in the reply to INFO; zero where it is missing.
fn used_memory(info: &Value) -> u64 {
    let line = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("used_memory:"))?;
        line.trim().parse::<u64>().ok()
    };
    match info {
        Value::BulkString(bytes) => line(&String::from_utf8_lossy(bytes)).unwrap_or(0),
        Value::VerbatimString { text, .. } => line(text).unwrap_or(0),
        Value::Map(nodes) => nodes.iter().map(|(_, info)| used_memory(info)).sum(),
        _ => 0,
    }
}
