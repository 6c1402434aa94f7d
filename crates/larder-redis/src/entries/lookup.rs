//! Looks up the stored variants of a key, with the epoch, in one round trip, or two if responses
//! are in groups. `record` decodes them; bodies in their own keys are read by `body`. Those of an
//! earlier epoch are suspect (`suspects`), which costs a further round trip.

use std::sync::Arc;

use bytes::Bytes;
use larder_core::{CacheKey, Candidate, Candidates, EntryId, StoreError, StoredBody, codec::NotAnEntry};
use redis::{Value, aio::ConnectionLike as _};

use crate::{
    client::connection::Connection,
    entries::{
        barrier::ticket,
        body::RedisBody,
        groups,
        keys::Names,
        record::{self, Record},
        suspects::mark_suspect,
        tokens::Ticket,
    },
    shared::Shared,
    token::Nonce,
};

/// Most bytes of all variants of a key. Variants beyond it are ignored: this store writes no such
/// hash.
const MAX_HASH_BYTES: usize = 256 << 20;

/// A stored variant: its field in the Redis hash, and the decoded value.
pub(crate) struct Variant {
    pub(crate) field: Vec<u8>,
    pub(crate) record: Record,
    /// Whether its order against removals is unknown.
    pub(crate) is_suspect: bool,
}

/// Returns the variants of a key, newest first, without those in a removed group. Those that have
/// to be validated are stale, and have ids of this lookup.
pub(crate) async fn look_up(shared: &Arc<Shared>, key: &CacheKey) -> Result<Candidates, StoreError> {
    let names = shared.keys.of(key);
    let mut variants = read(shared, key, &names).await?;
    apply_group_removals(shared, &mut variants).await?;
    if variants.is_empty() {
        return Ok(Candidates::none());
    }
    let ticket = match variants.iter().any(|variant| variant.is_suspect) {
        true => Some(ticket(shared, &names).await?),
        false => None,
    };
    variants.sort_by_key(|variant| std::cmp::Reverse(variant.record.envelope.order));
    let candidates = variants.into_iter().map(|variant| candidate(shared, &names, variant, ticket));
    Ok(candidates.collect::<Arc<[Candidate]>>().into())
}

/// Returns the epoch and the fields and values of an entry.
async fn read_entry(shared: &Shared, names: &Names) -> Result<(Option<Nonce>, Value), StoreError> {
    let epoch = shared.keys.epoch(names);
    let replied = shared.client.run("lookup", async |connection: &mut Connection| {
        let (epoch, variants) = if connection.as_cluster().is_some() {
            let mut script = shared.scripts.lookup.prepare_invoke();
            script.key(&names.entry).key(epoch);
            script.invoke_async::<(Value, Value)>(connection).await?
        } else {
            let mut pipeline = redis::pipe();
            pipeline.cmd("GET").arg(epoch).cmd("HGETALL").arg(&names.entry);
            let mut values = connection.req_packed_commands(&pipeline, 0, 2).await?.into_iter();
            (values.next().unwrap_or(Value::Nil), values.next().unwrap_or(Value::Nil))
        };
        let epoch: Option<Vec<u8>> = redis::from_redis_value(epoch.extract_error()?)?;
        // Another program may have written a value of another type.
        let is_wrong_type = matches!(&variants, Value::ServerError(error) if error.code() == "WRONGTYPE");
        let variants = if is_wrong_type { Value::Nil } else { variants.extract_error()? };
        Ok((connection.epoch(&epoch.unwrap_or_default())?, variants))
    });
    replied.await
}

/// Reads and decodes all variants of a key. Removes values that are not entries.
async fn read(shared: &Shared, key: &CacheKey, names: &Names) -> Result<Vec<Variant>, StoreError> {
    let (epoch, value) = read_entry(shared, names).await?;
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
            Ok(record) => {
                let is_suspect = epoch != Some(record.envelope.epoch);
                variants.push(Variant { field, record, is_suspect });
            }
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

/// Drops the variants with a group that was removed after their reservation, and marks variants
/// stale with a group that was marked stale. A group without a token makes a variant suspect.
async fn apply_group_removals(shared: &Shared, variants: &mut Vec<Variant>) -> Result<(), StoreError> {
    let groups = variants.iter().flat_map(|variant| variant.record.decoded.head.groups.iter());
    let states = groups::states(shared, groups).await?;
    let mut states = states.into_iter();
    variants.retain_mut(|variant| {
        let Record { envelope, decoded, .. } = &mut variant.record;
        let current: Vec<_> = states.by_ref().take(envelope.groups.len()).collect();
        let stale_at = current.iter().filter_map(|group| group.stale_at).max();
        if let Some(head) = stale_at.and_then(|at| decoded.head.marked_stale(at)) {
            decoded.head = head;
        }
        variant.is_suspect |= current.iter().any(|group| group.token.is_none());
        let unchanged =
            |(group, token): (&groups::GroupState, &Nonce)| group.token.is_none_or(|it| it == *token);
        current.iter().zip(&envelope.groups).all(unchanged)
    });
    Ok(())
}

/// Converts a decoded value to a candidate. A body in its own key is read on demand. `ticket` is
/// the state of this lookup, if it has found a suspect entry.
fn candidate(shared: &Arc<Shared>, names: &Names, variant: Variant, ticket: Option<Ticket>) -> Candidate {
    let Record { envelope, mut decoded, body } = variant.record;
    let body = match body {
        Some(body) => StoredBody::Whole(body),
        None => StoredBody::Source(Arc::new(RedisBody {
            shared: Arc::clone(shared),
            name: names.body(envelope.entry),
            entry: envelope.entry,
            length: decoded.body_length.unwrap_or_default(),
        })),
    };
    let id = match ticket.filter(|_| variant.is_suspect) {
        Some(ticket) => {
            mark_suspect(&mut decoded.head);
            shared.suspects.alias(envelope.entry, ticket)
        }
        None => envelope.entry,
    };
    Candidate::new(id, Arc::new(decoded.head), body)
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
