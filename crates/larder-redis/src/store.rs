//! The store, as the engine sees it.

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
    ConnectError, RedisOptions, RedisStats,
    client::RedisClient,
    error::{gone, not_encodable},
    keys::{Keys, Names},
    lease_events::Notifier,
    leases::RedisLeases,
    options::Servers,
    record,
    removals::{RedisRemovals, Sender},
    scan::ScanAction,
    scripts::Scripts,
    token::Token,
    writer::{Reserved, WriteBarrier, millis},
};

/// How long a removal is remembered, for those who asked before it: longer than any fetch takes.
const TOMB: Duration = Duration::from_secs(24 * 3600);
/// The longest that anything is kept.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a response is kept past the time that it may be used without asking: with a validator, it may be confirmed.
const TO_CONFIRM: Duration = Duration::from_secs(24 * 3600);
const REVALIDATION_GRACE: Duration = Duration::from_secs(10);

/// How long storing takes at most, between its look at the epoch and its end.
const COMMIT_WINDOW: Duration = Duration::from_millis(250);

/// Keeps responses on Redis or Valkey: one server, a master that Sentinels watch, or a Cluster.
///
/// Cloning shares the connection.
#[derive(Debug, Clone)]
pub struct RedisStore {
    shared: Arc<Shared>,
    leases: Arc<RedisLeases>,
    removals: Arc<RedisRemovals>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) client: Arc<RedisClient>,
    pub(crate) keys: Keys,
    pub(crate) scripts: Scripts,
    pub(crate) options: RedisOptions,
    pub(crate) notifier: Notifier,
    pub(crate) sender: Sender,
    corrupt: AtomicU64,
}

impl RedisStore {
    /// Connects to `redis://`, `rediss://`, `redis+cluster://` or `redis+sentinel://` servers. Later, when they go away,
    /// the store goes on without them and comes back by itself; now, what is wrong is said.
    ///
    /// # Errors
    ///
    /// If the URL can't be understood, nobody answers, or they don't let us in.
    pub async fn connect(url: &str, options: RedisOptions) -> Result<Self, ConnectError> {
        let link = Arc::new(RedisClient::connect(Servers::parse(url)?, &options).await?);
        let options = RedisOptions { max_object: options.max_object.min(512 << 20), ..options };
        let shared = Arc::new(Shared {
            keys: Keys::new(&options.prefix),
            scripts: Scripts::new(),
            notifier: Notifier::new(&link),
            sender: Sender::new(),
            client: link,
            options,
            corrupt: AtomicU64::new(0),
        });
        let (leases, removals) = (RedisLeases(Arc::clone(&shared)), RedisRemovals(Arc::clone(&shared)));
        Ok(Self { leases: Arc::new(leases), removals: Arc::new(removals), shared })
    }

    /// Whether a URL can be understood. Connects to nothing.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check_url(url: &str) -> Result<(), ConnectError> {
        Servers::parse(url)?.check()
    }

    /// What is on the servers. Looks at every key of this cache.
    ///
    /// # Errors
    ///
    /// If they don't answer.
    pub async fn stats(&self) -> Result<RedisStats, StoreError> {
        let entries = self.shared.scan(&self.shared.keys.beginning(""), ScanAction::Count).await?;
        let info: Value = self.shared.client.query("asking", redis::cmd("INFO").arg("memory")).await?;
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
        let (order, begun) = self.shared.begun(&names).await?;
        Ok(Box::new(Reserved { shared: Arc::clone(&self.shared), key: key.clone(), names, order, begun }))
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
        // Longer than anything in the group: when it is forgotten, so are they.
        let kept = millis(LONGEST + TOMB);
        command.arg(self.shared.keys.group(group)).arg(&now.to_le_bytes()[..]).arg("PX").arg(kept);
        let () = self.shared.client.query("removing a group", &command).await?;
        self.shared.publish(self.shared.sender.group(group)).await
    }

    async fn remove_prefix(&self, url: &str) -> Result<u64, StoreError> {
        self.shared.begin_epoch().await?;
        let count = self.shared.scan(&self.shared.keys.beginning(url), ScanAction::Remove).await?;
        self.shared.publish(self.shared.sender.everything()).await?;
        Ok(count)
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.shared.begin_epoch().await?;
        self.shared.scan(&self.shared.keys.all(), ScanAction::Unlink).await?;
        self.shared.publish(self.shared.sender.everything()).await
    }

    async fn mark_group_stale(&self, group: &CacheGroup, at: Timestamp) -> Result<(), StoreError> {
        let mut command = redis::cmd("SET");
        command.arg(self.shared.keys.stale(group)).arg(&at.as_millis().to_le_bytes()[..]);
        command.arg("PX").arg(millis(LONGEST + TOMB));
        let () = self.shared.client.query("making a group stale", &command).await?;
        // To a near copy it is as if it were removed: it is brought near again as it is here.
        self.shared.publish(self.shared.sender.group(group)).await
    }

    async fn mark_prefix_stale(&self, url: &str, at: Timestamp) -> Result<(), StoreError> {
        self.shared.scan(&self.shared.keys.beginning(url), ScanAction::Outdate(at)).await?;
        self.shared.publish(self.shared.sender.everything()).await
    }

    fn leases(&self) -> Option<&dyn Leases> {
        Some(&*self.leases)
    }

    fn invalidations(&self) -> Option<&dyn InvalidationFeed> {
        Some(&*self.removals)
    }
}

impl Shared {
    /// How things are now: the time of the key's server, and the tokens that a removal changes.
    async fn begun(&self, names: &Names) -> Result<(u64, WriteBarrier), StoreError> {
        let mut script = self.scripts.begin.prepare_invoke();
        script.key(names.tomb());
        let ((tomb, order), (time, epoch)) =
            tokio::try_join!(self.client.invoke::<(Vec<u8>, u64)>("beginning", &script), self.clock())?;
        Ok((order, WriteBarrier { tombstone: tomb, epoch, time }))
    }

    /// The time in µs by which removals of groups are ordered, and the token that changes when everything is removed.
    async fn clock(&self) -> Result<(u64, Vec<u8>), StoreError> {
        let mut script = self.scripts.clock.prepare_invoke();
        script.key(self.keys.epoch()).key(self.keys.clock());
        self.client.invoke("beginning", &script).await
    }

    /// A time that is later than any that was told.
    async fn removal_time(&self) -> Result<u64, StoreError> {
        let mut script = self.scripts.clock.prepare_invoke();
        script.key(self.keys.epoch()).key(self.keys.clock()).arg(millis(LONGEST + TOMB));
        let (time, _): (u64, Vec<u8>) = self.client.invoke("removing a group", &script).await?;
        Ok(time)
    }

    /// Keeps what was reserved until now from being stored, whatever its key.
    async fn begin_epoch(&self) -> Result<(), StoreError> {
        let mut command = redis::cmd("SET");
        command.arg(self.keys.epoch()).arg(Token::new().as_str()).arg("PX").arg(millis(TOMB));
        let () = self.client.query("removing", &command).await?;
        if self.client.is_cluster() {
            // Who had looked at the epoch before may be storing now: that is found by the look through all keys that follows.
            tokio::time::sleep(COMMIT_WINDOW.max(self.options.command_timeout * 2)).await;
        }
        Ok(())
    }

    /// On a Cluster the epoch is on another node than the entry: it is looked at just before that is stored.
    pub(crate) async fn check_epoch(&self, then: &[u8]) -> Result<(), StoreError> {
        let now: Option<Vec<u8>> =
            self.client.query("storing", redis::cmd("GET").arg(self.keys.epoch())).await?;
        if now.unwrap_or_default() == then {
            return Ok(());
        }
        Err(gone("it was removed while it was written"))
    }

    /// Each group's token; zero for one that was never removed.
    pub(crate) async fn group_tokens(&self, groups: &[CacheGroup]) -> Result<Vec<u64>, StoreError> {
        self.numbers(groups.iter().map(|group| self.keys.group(group)).collect()).await
    }

    /// What stands under these names; zero where there is nothing.
    pub(crate) async fn numbers(&self, names: Vec<String>) -> Result<Vec<u64>, StoreError> {
        let tokens: Vec<Option<Vec<u8>>> = match &*names {
            [] => return Ok(Vec::new()),
            names if self.client.is_cluster() => {
                // They are on different nodes.
                let commands: Vec<_> =
                    names.iter().map(|name| redis::cmd("GET").arg(name).to_owned()).collect();
                let asked = commands.iter().map(|command| self.client.query("looking up groups", command));
                futures_util::future::try_join_all(asked).await?
            }
            names => self.client.query("looking up groups", redis::cmd("MGET").arg(names)).await?,
        };
        let number = |token: Option<Vec<u8>>| {
            token.and_then(|token| Some(u64::from_le_bytes(*token.first_chunk()?))).unwrap_or(0)
        };
        Ok(tokens.into_iter().map(number).collect())
    }

    pub(crate) async fn freshen(
        &self,
        key: &CacheKey,
        id: EntryId,
        head: Arc<StoredHead>,
    ) -> Result<(), StoreError> {
        let names = self.keys.of(key);
        let nothing = || gone("the entry that was confirmed is not there any more");
        let found = self.find(key, &names, id).await?.ok_or_else(nothing)?;
        let mut envelope = found.record.envelope;
        // Of groups that it was in before, it was looked at just now that they have not been removed since.
        if head.groups != found.record.decoded.head.groups {
            envelope.groups = self.group_tokens(&head.groups).await?;
        }
        let record = match &found.record.body {
            Some(body) => record::encode_inline(key, &head, body, &envelope),
            None => record::encode_head(
                key,
                &head,
                found.record.decoded.body_length.unwrap_or_default(),
                &envelope,
            ),
        };
        let record = record.map_err(not_encodable)?;
        let body = if envelope.own_key { names.body(id) } else { String::new() };
        let mut script = self.scripts.freshen.prepare_invoke();
        script.key(&names.entry).arg(&found.field).arg(record).arg(millis(self.ttl(&head))).arg(body);
        script.arg(self.keys.channel()).arg(self.sender.key(key.as_bytes()));
        if self.client.invoke("freshening", &script).await? { Ok(()) } else { Err(nothing()) }
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.remove_names(&self.keys.of(key), self.sender.key(key.as_bytes())).await
    }

    pub(crate) async fn remove_names(&self, names: &Names, news: Vec<u8>) -> Result<(), StoreError> {
        let mut script = self.scripts.remove.prepare_invoke();
        script.key(&names.entry).key(names.tomb()).arg(Token::new().as_str()).arg(millis(TOMB));
        script.arg(names.bodies()).arg(self.keys.channel()).arg(news);
        let _: i64 = self.client.invoke("removing", &script).await?;
        Ok(())
    }

    /// Says something to all who listen.
    async fn publish(&self, message: Vec<u8>) -> Result<(), StoreError> {
        let mut command = redis::cmd("PUBLISH");
        let _: i64 =
            self.client.query("telling the others", command.arg(self.keys.channel()).arg(message)).await?;
        Ok(())
    }

    /// How long the server keeps it: as long as it can be of use.
    pub(crate) fn ttl(&self, head: &StoredHead) -> Duration {
        let terms = &head.freshness;
        let fresh = terms.lifetime.lifetime.saturating_sub(terms.corrected_initial_age);
        let stale = terms.stale_while_revalidate.max(terms.stale_if_error).unwrap_or_default();
        let after = if head.validator().is_some() { TO_CONFIRM } else { REVALIDATION_GRACE };
        fresh.saturating_add(stale.max(after)).min(LONGEST)
    }

    pub(crate) fn count_corrupt(&self, count: usize) {
        self.corrupt.fetch_add(count as u64, Ordering::Relaxed);
    }
}

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
