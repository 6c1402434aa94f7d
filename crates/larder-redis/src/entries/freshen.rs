//! Replaces the head of a stored entry, after it was revalidated or marked stale. The body stays
//! where it is. The script `FRESHEN` in `client/scripts` decides whether the entry is still the
//! same.

use std::sync::Arc;

use larder_core::{CacheKey, EntryId, StoreError, StoredHead, Timestamp};

use crate::{
    entries::{
        groups,
        lookup::find,
        record,
        ttl::{entry_ttl, group_ttl, millis},
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
    let (id, ticket) = shared.suspects.resolve(id);
    let variant = find(shared, key, &names, id).await?.ok_or_else(entry_gone)?;
    let ttl = entry_ttl(&head, keep_until);
    let mut envelope = variant.record.envelope;
    match ticket {
        // What is known of a suspect entry is that it was valid after its lookup.
        Some(ticket) => {
            envelope.epoch = ticket.epoch;
            envelope.groups =
                groups::begin(shared, &head.groups, Some(ticket.removals), group_ttl(ttl)).await?;
        }
        None if variant.is_suspect => return Err(entry_gone()),
        // `find` has just checked the tokens of unchanged groups. New groups get their current
        // tokens. All are stored for as long as the entry.
        None => {
            let is_unchanged = head.groups == variant.record.decoded.head.groups;
            let current = groups::begin(shared, &head.groups, None, group_ttl(ttl)).await?;
            if is_unchanged && current != envelope.groups {
                return Err(entry_gone());
            }
            envelope.groups = current;
        }
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
    script.key(&names.entry).key(shared.keys.epoch(&names));
    script.arg(&variant.field).arg(record).arg(millis(ttl)).arg(body);
    script.arg(shared.keys.channel()).arg(shared.sender.key(key.as_bytes()));
    if shared.client.invoke("freshening", &script).await? { Ok(()) } else { Err(entry_gone()) }
}
