//! Promises about the numbers that removals return: a number counts entries, not keys, and is
//! correct if there is one.

use std::time::Duration;

use larder_core::{CacheGroup, CacheKey, Scope};

use super::{Store, group, only, plain, put};
use crate::{head, key};

/// Stores two keys in the folder `/news/`, one of them with two variants, and one key elsewhere.
/// The entries of the folder are in the group `g`.
async fn fill(store: &Store) {
    for language in ["de", "en"] {
        let fields = [("vary", "accept-language"), ("cache-groups", "\"g\"")];
        let head = head(&fields, &[("accept-language", language)]);
        put(store, &key("/news/a"), head.into(), language.as_bytes()).await;
    }
    put(store, &key("/news/b"), head(&[("cache-groups", "\"g\"")], &[]).into(), b"b").await;
    put(store, &key("/other"), plain(), b"other").await;
}

/// Returns each scope with the number of its entries in [`fill`].
fn scopes<'a>(page: &'a CacheKey, group: &'a CacheGroup, prefix: &'a str) -> [(Scope<'a>, u64); 5] {
    [
        (Scope::Key(page), 2),
        (Scope::Prefix(prefix), 3),
        (Scope::Prefix(""), 4),
        (Scope::All, 4),
        // The last one: marking a group stale also applies to entries that are stored later.
        (Scope::Group(group), 3),
    ]
}

/// Checks that the number that a removal returns, if there is one, is the number of entries.
pub async fn a_removal_returns_how_many_entries_it_removed(store: Store) {
    let (page, group, prefix) = (key("/news/a"), group("g"), key("/news/").target());
    for (scope, entries) in scopes(&page, &group, &prefix) {
        fill(&store).await;
        let removed = store.remove(scope).await.expect("it removes");
        assert!(removed.entries.is_none_or(|count| count == entries), "{removed:?} of {entries} for {scope}");
        store.remove(Scope::All).await.expect("it removes");
    }
    let removed = store.remove(Scope::Key(&page)).await.expect("it removes");
    assert!(removed.entries.is_none_or(|count| count == 0), "{removed:?} of no entries");
}

/// Checks that the number that marking as stale returns, if there is one, is the number of entries
/// that were fresh before.
pub async fn marking_stale_returns_how_many_entries_it_marked(store: Store) {
    let (page, group, prefix) = (key("/news/a"), group("g"), key("/news/").target());
    for (scope, entries) in scopes(&page, &group, &prefix) {
        fill(&store).await;
        let arrived = only(&store, &key("/other")).await.head.freshness.response_time;
        let at = arrived.saturating_add(Duration::from_secs(1));
        let marked = store.mark_stale(scope, at).await.expect("it marks");
        assert!(marked.entries.is_none_or(|count| count == entries), "{marked:?} of {entries} for {scope}");
        let again = store.mark_stale(scope, at).await.expect("it marks");
        assert!(
            again.entries.is_none_or(|count| count == 0),
            "{again:?} stale entries were marked for {scope}"
        );
        store.remove(Scope::All).await.expect("it removes");
    }
}
