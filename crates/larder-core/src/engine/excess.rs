//! Applies [`Limits::max_variants`](super::Limits::max_variants): decides whether a new variant is
//! stored, evicts the least recently used one, and warns.
//!
//! `variants` knows which variants are in use. `fetch/on_response` and `fill/writing` call this
//! file.

use super::{
    context::Context,
    events::{Event, StoreStep, VariantEvicted},
};
use crate::{CacheKey, Candidates, StoredHead};

/// Most variants that one response evicts. There are more only if many responses of one key were
/// stored at the same time.
const MAX_EVICTIONS: usize = 64;

/// Returns whether a response may be stored beside these candidates. Reports the reason if not.
pub(super) fn admits(cx: &Context, key: &CacheKey, candidates: &Candidates, head: &StoredHead) -> bool {
    let is_new = || candidates.iter().all(|candidate| candidate.head.selecting != head.selecting);
    if candidates.len() < limit(cx) || !is_new() || cx.variants.admit(key, candidates, head, cx.now()) {
        return true;
    }
    warn(cx, key, head, 1);
    false
}

/// Returns whether the key may have too many variants once this response is stored.
///
/// `is_only_fetch`: no other request stores responses of the key at the same time, so that the
/// candidates are all that is stored.
pub(super) fn may_exceed(
    cx: &Context,
    candidates: &Candidates,
    head: &StoredHead,
    is_only_fetch: bool,
) -> bool {
    candidates.len() >= limit(cx) || !is_only_fetch && head.selecting.varies()
}

/// Evicts the least recently used variants of a key until they are within the limit. The one that
/// was just stored, with this head, stays.
pub(super) async fn evict_excess(cx: &Context, key: &CacheKey, stored: &StoredHead) {
    let candidates = cx.candidates(key).await;
    let excess = candidates.len().saturating_sub(limit(cx)).min(MAX_EVICTIONS);
    let mut evicted = 0;
    for variant in cx.variants.least_used(key, &candidates, stored, excess, cx.now()) {
        let evicting = cx.store.evict(key, variant.id);
        // A failure is reported; the next new variant evicts again.
        let Some(was_stored) = cx.store_call(StoreStep::Remove, cx.limits.store_timeout, evicting).await
        else {
            break;
        };
        if was_stored {
            evicted += 1;
            cx.observe(&Event::VariantEvicted(VariantEvicted { key }));
        }
    }
    if evicted > 0 {
        warn(cx, key, stored, evicted);
    }
}

/// Returns the maximum number of variants, at least one.
fn limit(cx: &Context) -> usize {
    cx.limits.max_variants.max(1)
}

/// Warns that the variants of a page exceed the limit, at most once a minute for the whole cache.
/// `dropped` variants were evicted or not stored.
fn warn(cx: &Context, key: &CacheKey, head: &StoredHead, dropped: u64) {
    let Some(dropped) = cx.variants.count_dropped(dropped, cx.now()) else { return };
    let fields: Vec<_> = head.selecting.iter().map(|(name, _)| name.as_str()).collect();
    tracing::warn!(
        url = key.target(),
        vary = fields.join(", "),
        max_variants = limit(cx),
        dropped,
        "a page has more variants than are stored, by the fields that its Vary names; normalize them"
    );
}
