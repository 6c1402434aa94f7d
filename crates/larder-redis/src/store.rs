//! The public store and the state that its parts share: removals, epochs and freshening are here,
//! while lookups, writes, leases and scans are in modules of their own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use larder_core::{
    CacheGroup, CacheKey, CacheStore, Candidates, EntryId, InvalidationFeed, Leases, Reservation, StoreError,
    StoredHead, Timestamp,
};
use redis::Value;

use crate::{
    RedisConnectError, RedisOptions, RedisStats,
    client::RedisClient,
    error::{gone, not_encodable},
    invalidations::{RedisInvalidations, Sender},
    keys::{Keys, Names},
    lease_events::Notifier,
    leases::RedisLeases,
    options::Servers,
    record,
    scan::ScanAction,
    scripts::Scripts,
    token::Token,
    writer::{Reserved, WriteBarrier, millis},
};

/// How long a tombstone or an epoch is stored: longer than any fetch takes, so that each write that
/// began before the removal finds it.
const TOMBSTONE_TTL: Duration = Duration::from_secs(24 * 3600);
/// Longest time that an entry is stored.
const MAX_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a response with a validator is stored after it became stale: it can be revalidated.
const REVALIDATION_GRACE: Duration = Duration::from_secs(24 * 3600);
/// How long a response without a validator is stored after it became stale.
const NO_VALIDATOR_GRACE: Duration = Duration::from_secs(10);

/// Shortest wait, on a Cluster, for writes that checked the epoch before it changed.
const COMMIT_WINDOW: Duration = Duration::from_millis(250);

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
#[derive(Debug, Clone)]
pub struct RedisStore {
    shared: Arc<Shared>,
    leases: Arc<RedisLeases>,
    invalidations: Arc<RedisInvalidations>,
}

/// The state that the store's writers, bodies, leases and background tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) client: Arc<RedisClient>,
    pub(crate) keys: Keys,
    pub(crate) scripts: Scripts,
    pub(crate) options: RedisOptions,
    pub(crate) notifier: Notifier,
    pub(crate) sender: Sender,
    /// Values that were removed because they were not entries.
    corrupt: AtomicU64,
}

impl RedisStore {
    /// Connects to the servers of a URL.
    ///
    /// The schemes are `redis://`, `redis+cluster://` and `redis+sentinel://`, and `rediss://`,
    /// `rediss+cluster://` and `rediss+sentinel://` for TLS (feature `tls`). `valkey://` and
    /// `valkeys://` are other names of `redis://` and `rediss://`.
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
        let client = Arc::new(RedisClient::connect(Servers::parse(url)?, &options).await?);
        let options = RedisOptions { max_object: options.max_object.min(512 << 20), ..options };
        let shared = Arc::new(Shared {
            keys: Keys::new(&options.prefix),
            scripts: Scripts::new(),
            notifier: Notifier::new(&client),
            sender: Sender::new(),
            client,
            options,
            corrupt: AtomicU64::new(0),
        });
        let leases = RedisLeases(Arc::clone(&shared));
        let invalidations = RedisInvalidations(Arc::clone(&shared));
        Ok(Self { leases: Arc::new(leases), invalidations: Arc::new(invalidations), shared })
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
        Servers::parse(url)?.check()
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
        let entries = self.shared.scan(&self.shared.keys.prefix_pattern(""), ScanAction::Count).await?;
        let info: Value = self.shared.client.query("INFO", redis::cmd("INFO").arg("memory")).await?;
        let breaker = &self.shared.client.breaker;
        Ok(RedisStats {
            entries,
            server_bytes: used_memory(&info),
            failed: breaker.failed.load(Ordering::Relaxed),
            rejected: breaker.rejected.load(Ordering::Relaxed),
            corrupt: self.shared.corrupt.load(Ordering::Relaxed),
        })
    }
}

#[async_trait]
impl CacheStore for RedisStore {
    async fn lookup(&self, key: &CacheKey) -> Result<Candidates, StoreError> {
        self.shared.look_up(key).await
    }

    async fn reserve(&self, key: &CacheKey) -> Result<Box<dyn Reservation>, StoreError> {
        let names = self.shared.keys.of(key);
        let (order, barrier) = self.shared.write_barrier(&names).await?;
        Ok(Box::new(Reserved { shared: Arc::clone(&self.shared), key: key.clone(), names, order, barrier }))
    }

    async fn freshen(&self, key: &CacheKey, id: EntryId, head: Arc<StoredHead>) -> Result<(), StoreError> {
        self.shared.freshen(key, id, head).await
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.shared.remove(key).await
    }

    async fn invalidate_group(&self, group: &CacheGroup) -> Result<(), StoreError> {
        let now = self.shared.removal_time().await?;
        let mut command = redis::cmd("SET");
        // The token outlives each entry that was in the group when it was removed.
        let ttl = millis(MAX_TTL + TOMBSTONE_TTL);
        command.arg(self.shared.keys.group(group)).arg(&now.to_le_bytes()[..]).arg("PX").arg(ttl);
        let () = self.shared.client.query("group removal", &command).await?;
        self.shared.publish(self.shared.sender.group(group)).await
    }

    async fn remove_prefix(&self, url: &str) -> Result<u64, StoreError> {
        self.shared.begin_epoch().await?;
        let count = self.shared.scan(&self.shared.keys.prefix_pattern(url), ScanAction::Remove).await?;
        self.shared.publish(self.shared.sender.everything()).await?;
        Ok(count)
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.shared.begin_epoch().await?;
        self.shared.scan(&self.shared.keys.all_pattern(), ScanAction::Unlink).await?;
        self.shared.publish(self.shared.sender.everything()).await
    }

    async fn mark_group_stale(&self, group: &CacheGroup, at: Timestamp) -> Result<(), StoreError> {
        let mut command = redis::cmd("SET");
        command.arg(self.shared.keys.stale_group(group)).arg(&at.as_millis().to_le_bytes()[..]);
        command.arg("PX").arg(millis(MAX_TTL + TOMBSTONE_TTL));
        let () = self.shared.client.query("marking a group stale", &command).await?;
        // Near tiers remove their copies and read the stale entries again from here.
        self.shared.publish(self.shared.sender.group(group)).await
    }

    async fn mark_prefix_stale(&self, url: &str, at: Timestamp) -> Result<(), StoreError> {
        self.shared.scan(&self.shared.keys.prefix_pattern(url), ScanAction::MarkStale(at)).await?;
        self.shared.publish(self.shared.sender.everything()).await
    }

    fn leases(&self) -> Option<&dyn Leases> {
        Some(&*self.leases)
    }

    fn invalidations(&self) -> Option<&dyn InvalidationFeed> {
        Some(&*self.invalidations)
    }
}

impl Shared {
    /// Reads the state at the beginning of a write: the time of the key's server, which orders
    /// responses, and the tokens that a removal changes.
    async fn write_barrier(&self, names: &Names) -> Result<(u64, WriteBarrier), StoreError> {
        let mut script = self.scripts.begin.prepare_invoke();
        script.key(names.tombstone());
        let ((tombstone, order), (time, epoch)) =
            tokio::try_join!(self.client.invoke::<(Vec<u8>, u64)>("reservation", &script), self.clock())?;
        Ok((order, WriteBarrier { tombstone, epoch, time }))
    }

    /// Returns the time in µs by which group removals are ordered, and the epoch's token, which
    /// changes when a prefix or everything is removed.
    async fn clock(&self) -> Result<(u64, Vec<u8>), StoreError> {
        let mut script = self.scripts.clock.prepare_invoke();
        script.key(self.keys.epoch()).key(self.keys.clock());
        self.client.invoke("reservation", &script).await
    }

    /// Returns the time of a group removal: later than that of every earlier one.
    async fn removal_time(&self) -> Result<u64, StoreError> {
        let mut script = self.scripts.clock.prepare_invoke();
        script.key(self.keys.epoch()).key(self.keys.clock()).arg(millis(MAX_TTL + TOMBSTONE_TTL));
        let (time, _): (u64, Vec<u8>) = self.client.invoke("group removal", &script).await?;
        Ok(time)
    }

    /// Changes the epoch, so that no write that began earlier is committed, for any key.
    async fn begin_epoch(&self) -> Result<(), StoreError> {
        let mut command = redis::cmd("SET");
        command.arg(self.keys.epoch()).arg(Token::new().as_str()).arg("PX").arg(millis(TOMBSTONE_TTL));
        let () = self.client.query("removal", &command).await?;
        if self.client.is_cluster() {
            // A writer that checked the epoch before it changed may still be committing. After this
            // wait its entry is visible, so that the scan that follows finds it.
            tokio::time::sleep(COMMIT_WINDOW.max(self.options.command_timeout * 2)).await;
        }
        Ok(())
    }

    /// Returns an error unless the epoch's token is still `expected`. On a Cluster, the epoch can
    /// be on another node than the entry, so it is checked just before the entry is committed.
    pub(crate) async fn check_epoch(&self, expected: &[u8]) -> Result<(), StoreError> {
        let current: Option<Vec<u8>> =
            self.client.query("commit", redis::cmd("GET").arg(self.keys.epoch())).await?;
        if current.unwrap_or_default() == expected {
            return Ok(());
        }
        Err(gone("the entry was removed while it was written"))
    }

    /// Returns the token of each group, which is the time of its last removal; zero if there was
    /// none.
    pub(crate) async fn group_tokens(&self, groups: &[CacheGroup]) -> Result<Vec<u64>, StoreError> {
        self.numbers(groups.iter().map(|group| self.keys.group(group)).collect()).await
    }

    /// Returns the number under each name; zero where there is none.
    pub(crate) async fn numbers(&self, names: Vec<String>) -> Result<Vec<u64>, StoreError> {
        let tokens: Vec<Option<Vec<u8>>> = match &*names {
            [] => return Ok(Vec::new()),
            names if self.client.is_cluster() => {
                // The names have different hash tags, so they can be on different nodes.
                let commands: Vec<_> =
                    names.iter().map(|name| redis::cmd("GET").arg(name).to_owned()).collect();
                let values = commands.iter().map(|command| self.client.query("group lookup", command));
                futures_util::future::try_join_all(values).await?
            }
            names => self.client.query("group lookup", redis::cmd("MGET").arg(names)).await?,
        };
        let number = |token: Option<Vec<u8>>| {
            token.and_then(|token| Some(u64::from_le_bytes(*token.first_chunk()?))).unwrap_or(0)
        };
        Ok(tokens.into_iter().map(number).collect())
    }

    /// Replaces the head of an entry and extends its TTL.
    pub(crate) async fn freshen(
        &self,
        key: &CacheKey,
        id: EntryId,
        head: Arc<StoredHead>,
    ) -> Result<(), StoreError> {
        let names = self.keys.of(key);
        let entry_gone = || gone("the revalidated entry has been removed or replaced");
        let variant = self.find(key, &names, id).await?.ok_or_else(entry_gone)?;
        let mut envelope = variant.record.envelope;
        // `find` has just checked the tokens of unchanged groups. New groups get their current
        // tokens.
        if head.groups != variant.record.decoded.head.groups {
            envelope.groups = self.group_tokens(&head.groups).await?;
        }
        let record = match &variant.record.body {
            Some(body) => record::encode_inline(key, &head, body, &envelope),
            None => record::encode_head(
                key,
                &head,
                variant.record.decoded.body_length.unwrap_or_default(),
                &envelope,
            ),
        };
        let record = record.map_err(not_encodable)?;
        let body = if envelope.own_key { names.body(id) } else { String::new() };
        let mut script = self.scripts.freshen.prepare_invoke();
        script.key(&names.entry).arg(&variant.field).arg(record).arg(millis(self.ttl(&head))).arg(body);
        script.arg(self.keys.channel()).arg(self.sender.key(key.as_bytes()));
        if self.client.invoke("freshening", &script).await? { Ok(()) } else { Err(entry_gone()) }
    }

    /// Removes all entries of a key and publishes that.
    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.remove_names(&self.keys.of(key), self.sender.key(key.as_bytes())).await
    }

    /// Removes all entries under the names of a key and publishes `message` unless it is empty.
    pub(crate) async fn remove_names(&self, names: &Names, message: Vec<u8>) -> Result<(), StoreError> {
        let mut script = self.scripts.remove.prepare_invoke();
        script.key(&names.entry).key(names.tombstone()).arg(Token::new().as_str()).arg(millis(TOMBSTONE_TTL));
        script.arg(names.bodies()).arg(self.keys.channel()).arg(message);
        let _: i64 = self.client.invoke("removal", &script).await?;
        Ok(())
    }

    /// Publishes an invalidation to the other processes.
    async fn publish(&self, message: Vec<u8>) -> Result<(), StoreError> {
        let mut command = redis::cmd("PUBLISH");
        command.arg(self.keys.channel()).arg(message);
        let _: i64 = self.client.query("publishing an invalidation", &command).await?;
        Ok(())
    }

    /// Returns how long the server stores a response: its remaining freshness lifetime, then its
    /// stale windows (RFC 5861 §3, §4) or the time in which it can be revalidated, whichever is
    /// longer. At most 30 days.
    pub(crate) fn ttl(&self, head: &StoredHead) -> Duration {
        let freshness = &head.freshness;
        let fresh = freshness.lifetime.lifetime.saturating_sub(freshness.corrected_initial_age);
        let stale = freshness.stale_while_revalidate.max(freshness.stale_if_error).unwrap_or_default();
        let grace = if head.validator().is_some() { REVALIDATION_GRACE } else { NO_VALIDATOR_GRACE };
        fresh.saturating_add(stale.max(grace)).min(MAX_TTL)
    }

    /// Counts values that were not entries.
    pub(crate) fn count_corrupt(&self, count: usize) {
        self.corrupt.fetch_add(count as u64, Ordering::Relaxed);
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
