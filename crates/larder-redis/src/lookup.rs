//! From a key to what is stored under it: one round trip; a second for responses that are in groups.

use std::sync::Arc;

use bytes::Bytes;
use larder_core::{
    CacheKey, Candidate, Candidates, EntryId, StoreError, StoredBody, Timestamp, codec::NotAnEntry,
};
use redis::Value;

use crate::{
    body::RedisBody,
    keys::Names,
    record::{self, Record},
    store::Shared,
};

/// More bytes than this under one key are not ours.
const MOST: usize = 256 << 20;

/// A variant: its field, and what is in it.
pub(crate) struct Found {
    pub(crate) field: Vec<u8>,
    pub(crate) record: Record,
}

impl Shared {
    pub(crate) async fn look_up(self: &Arc<Self>, key: &CacheKey) -> Result<Candidates, StoreError> {
        let names = self.keys.of(key);
        let mut found = self.read(key, &names).await?;
        self.without_removed(&mut found).await?;
        found.sort_by_key(|found| std::cmp::Reverse(found.record.envelope.order));
        let candidates: Arc<[Candidate]> =
            found.into_iter().map(|found| self.candidate(&names, found.record)).collect();
        Ok(if candidates.is_empty() { Candidates::none() } else { candidates.into() })
    }

    /// Every variant that can be read. What can't is a miss, and is taken away.
    pub(crate) async fn read(&self, key: &CacheKey, names: &Names) -> Result<Vec<Found>, StoreError> {
        let value: Value =
            match self.client.query("looking up", redis::cmd("HGETALL").arg(&names.entry)).await {
                // Another program's, of another type.
                Err(error) if is_of_another_type(&error) => return Ok(Vec::new()),
                value => value?,
            };
        let mut pairs = match value {
            Value::Array(values) => values.into_iter(),
            Value::Map(pairs) => {
                pairs.into_iter().flat_map(|(field, value)| [field, value]).collect::<Vec<_>>().into_iter()
            }
            _ => return Ok(Vec::new()),
        };
        let (mut found, mut wrong, mut total) = (Vec::new(), Vec::new(), 0);
        while let (Some(Value::BulkString(field)), Some(Value::BulkString(bytes))) =
            (pairs.next(), pairs.next())
        {
            total += bytes.len();
            if total > MOST {
                break;
            }
            match record::decode(&Bytes::from(bytes), key) {
                Ok(record) => found.push(Found { field, record }),
                // Two keys with one hash; the other's is right.
                Err(NotAnEntry::OtherKey) => {}
                Err(why) => {
                    tracing::warn!(%why, "a value that is no entry is removed");
                    wrong.push(field);
                }
            }
        }
        if !wrong.is_empty() {
            self.count_corrupt(wrong.len());
            let _: Result<i64, _> =
                self.client.query("removing", redis::cmd("HDEL").arg(&names.entry).arg(wrong)).await;
        }
        Ok(found)
    }

    /// Leaves out those of which a group was removed since they were asked for, and makes stale what was made so.
    async fn without_removed(&self, found: &mut Vec<Found>) -> Result<(), StoreError> {
        let groups: Vec<_> =
            found.iter().flat_map(|found| found.record.decoded.head.groups.iter()).cloned().collect();
        if groups.is_empty() {
            return Ok(());
        }
        let names = groups.iter().map(|group| self.keys.group(group));
        let names = names.chain(groups.iter().map(|group| self.keys.stale(group))).collect();
        let tokens = self.numbers(names).await?;
        let (tokens, stale) = tokens.split_at(groups.len());
        let (mut tokens, mut stale) = (tokens.iter(), stale.iter());
        found.retain_mut(|found| {
            let count = found.record.envelope.groups.len();
            let now: Vec<u64> = tokens.by_ref().take(count).copied().collect();
            let outdated = stale.by_ref().take(count).copied().max().filter(|at| *at > 0);
            let head =
                outdated.and_then(|at| found.record.decoded.head.marked_stale(Timestamp::from_millis(at)));
            if let Some(head) = head {
                found.record.decoded.head = head;
            }
            now == found.record.envelope.groups
        });
        Ok(())
    }

    fn candidate(self: &Arc<Self>, names: &Names, record: Record) -> Candidate {
        let Record { envelope, decoded, body } = record;
        let body = match body {
            Some(body) => StoredBody::Whole(body),
            None => StoredBody::Source(Arc::new(RedisBody {
                shared: Arc::clone(self),
                name: names.body(envelope.entry),
                entry: envelope.entry,
                length: decoded.body_length.unwrap_or_default(),
            })),
        };
        Candidate::new(envelope.entry, Arc::new(decoded.head), body)
    }

    /// The variant with this entry.
    pub(crate) async fn find(
        &self,
        key: &CacheKey,
        names: &Names,
        entry: EntryId,
    ) -> Result<Option<Found>, StoreError> {
        let mut found = self.read(key, names).await?;
        found.retain(|found| found.record.envelope.entry == entry);
        self.without_removed(&mut found).await?;
        Ok(found.pop())
    }
}

fn is_of_another_type(error: &StoreError) -> bool {
    let source =
        std::error::Error::source(error).and_then(|source| source.downcast_ref::<redis::RedisError>());
    source.and_then(redis::RedisError::code) == Some("WRONGTYPE")
}
