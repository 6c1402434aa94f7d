//! Looks up the stored variants of a key in one round trip, or two if responses are in groups.
//! `record` decodes them; bodies in their own keys are read by `body`.

use std::sync::Arc;

use bytes::Bytes;
use larder_core::{
    CacheKey, Candidate, Candidates, EntryId, StoreError, StoredBody, Timestamp, codec::NotAnEntry,
};
use redis::Value;

use crate::{
    entries::{
        barrier::numbers,
        body::RedisBody,
        keys::Names,
        record::{self, Record},
    },
    shared::Shared,
};

/// Most bytes of all variants of a key. Variants beyond it are ignored: this store writes no such
/// hash.
const MAX_HASH_BYTES: usize = 256 << 20;

/// A stored variant: its field in the Redis hash, and the decoded value.
pub(crate) struct Variant {
    pub(crate) field: Vec<u8>,
    pub(crate) record: Record,
}

/// Returns the variants of a key, newest first, without those in a removed group.
pub(crate) async fn look_up(shared: &Arc<Shared>, key: &CacheKey) -> Result<Candidates, StoreError> {
    let names = shared.keys.of(key);
    let mut variants = read(shared, key, &names).await?;
    apply_group_removals(shared, &mut variants).await?;
    variants.sort_by_key(|variant| std::cmp::Reverse(variant.record.envelope.order));
    let candidates: Arc<[Candidate]> =
        variants.into_iter().map(|variant| candidate(shared, &names, variant.record)).collect();
    Ok(if candidates.is_empty() { Candidates::none() } else { candidates.into() })
}

/// Reads and decodes all variants of a key. Removes values that are not entries.
async fn read(shared: &Shared, key: &CacheKey, names: &Names) -> Result<Vec<Variant>, StoreError> {
    let value: Value = match shared.client.query("lookup", redis::cmd("HGETALL").arg(&names.entry)).await {
        // Another program has written a value of another type.
        Err(error) if is_wrong_type(&error) => return Ok(Vec::new()),
        value => value?,
    };
    let mut pairs = match value {
        Value::Array(values) => values.into_iter(),
        Value::Map(pairs) => {
            pairs.into_iter().flat_map(|(field, value)| [field, value]).collect::<Vec<_>>().into_iter()
        }
        _ => return Ok(Vec::new()),
    };
    let (mut variants, mut invalid_fields, mut total) = (Vec::new(), Vec::new(), 0);
    while let (Some(Value::BulkString(field)), Some(Value::BulkString(bytes))) = (pairs.next(), pairs.next())
    {
        total += bytes.len();
        if total > MAX_HASH_BYTES {
            break;
        }
        match record::decode(&Bytes::from(bytes), key) {
            Ok(record) => variants.push(Variant { field, record }),
            // A collision of two keys' hashes. The value is a valid entry of the other key.
            Err(NotAnEntry::OtherKey) => {}
            Err(why) => {
                tracing::warn!(%why, "removing a stored value that is not a valid entry");
                invalid_fields.push(field);
            }
        }
    }
    if !invalid_fields.is_empty() {
        shared.count_corrupt(invalid_fields.len());
        let _: Result<i64, _> =
            shared.client.query("removal", redis::cmd("HDEL").arg(&names.entry).arg(invalid_fields)).await;
    }
    Ok(variants)
}

/// Drops the variants with a group that was removed after their request, and marks variants
/// stale with a group that was marked stale.
async fn apply_group_removals(shared: &Shared, variants: &mut Vec<Variant>) -> Result<(), StoreError> {
    let groups: Vec<_> =
        variants.iter().flat_map(|variant| variant.record.decoded.head.groups.iter()).cloned().collect();
    if groups.is_empty() {
        return Ok(());
    }
    let names = groups.iter().map(|group| shared.keys.group(group));
    let names = names.chain(groups.iter().map(|group| shared.keys.stale_group(group))).collect();
    let numbers = numbers(shared, names).await?;
    let (tokens, stale_times) = numbers.split_at(groups.len());
    let (mut tokens, mut stale_times) = (tokens.iter(), stale_times.iter());
    variants.retain_mut(|variant| {
        let count = variant.record.envelope.groups.len();
        let current: Vec<u64> = tokens.by_ref().take(count).copied().collect();
        let stale_at = stale_times.by_ref().take(count).copied().max().filter(|at| *at > 0);
        let head =
            stale_at.and_then(|at| variant.record.decoded.head.marked_stale(Timestamp::from_millis(at)));
        if let Some(head) = head {
            variant.record.decoded.head = head;
        }
        current == variant.record.envelope.groups
    });
    Ok(())
}

/// Converts a decoded value to a candidate. A body in its own key is read on demand.
fn candidate(shared: &Arc<Shared>, names: &Names, record: Record) -> Candidate {
    let Record { envelope, decoded, body } = record;
    let body = match body {
        Some(body) => StoredBody::Whole(body),
        None => StoredBody::Source(Arc::new(RedisBody {
            shared: Arc::clone(shared),
            name: names.body(envelope.entry),
            entry: envelope.entry,
            length: decoded.body_length.unwrap_or_default(),
        })),
    };
    Candidate::new(envelope.entry, Arc::new(decoded.head), body)
}

/// Returns the variant with an entry id, unless it has been removed or replaced.
pub(crate) async fn find(
    shared: &Shared,
    key: &CacheKey,
    names: &Names,
    entry: EntryId,
) -> Result<Option<Variant>, StoreError> {
    let mut variants = read(shared, key, names).await?;
    variants.retain(|variant| variant.record.envelope.entry == entry);
    apply_group_removals(shared, &mut variants).await?;
    Ok(variants.pop())
}

/// Returns whether the server reported that a key has a value of another type.
fn is_wrong_type(error: &StoreError) -> bool {
    let source =
        std::error::Error::source(error).and_then(|source| source.downcast_ref::<redis::RedisError>());
    source.and_then(redis::RedisError::code) == Some("WRONGTYPE")
}
