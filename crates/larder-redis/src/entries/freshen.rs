//! Replaces the head of a stored entry, after it was revalidated or marked stale. The body stays
//! where it is. The script `FRESHEN` in `client/scripts` decides whether the entry is still the
//! same.

use std::sync::Arc;

use larder_core::{CacheKey, EntryId, StoreError, StoredHead, Timestamp};

use crate::{
    entries::{
        barrier::group_tokens,
        lookup::find,
        record,
        ttl::{entry_ttl, millis},
    },
    error::{gone, not_encodable},
    shared::Shared,
};

/// Replaces the head of an entry and extends its TTL.
pub(crate) async fn freshen(
    shared: &Shared,
    key: &CacheKey,
    id: EntryId,
    head: Arc<StoredHead>,
    keep_until: Timestamp,
) -> Result<(), StoreError> {
    let names = shared.keys.of(key);
    let entry_gone = || gone("the revalidated entry has been removed or replaced");
    let variant = find(shared, key, &names, id).await?.ok_or_else(entry_gone)?;
    let mut envelope = variant.record.envelope;
    // `find` has just checked the tokens of unchanged groups. New groups get their current
    // tokens.
    if head.groups != variant.record.decoded.head.groups {
        envelope.groups = group_tokens(shared, &head.groups).await?;
    }
    let record = match &variant.record.body {
        Some(body) => record::encode_inline(key, &head, body, &envelope),
        None => {
            record::encode_head(key, &head, variant.record.decoded.body_length.unwrap_or_default(), &envelope)
        }
    };
    let record = record.map_err(not_encodable)?;
    let body = if envelope.own_key { names.body(id) } else { String::new() };
    let mut script = shared.scripts.freshen.prepare_invoke();
    let ttl = millis(entry_ttl(&head, keep_until));
    script.key(&names.entry).arg(&variant.field).arg(record).arg(ttl).arg(body);
    script.arg(shared.keys.channel()).arg(shared.sender.key(key.as_bytes()));
    if shared.client.invoke("freshening", &script).await? { Ok(()) } else { Err(entry_gone()) }
}
