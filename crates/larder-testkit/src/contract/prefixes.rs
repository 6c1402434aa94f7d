//! Promises about URL prefixes and single keys: removing or marking stale all entries of the scope.

use std::time::Duration;

use larder_core::{CacheKey, Scope};

use super::{Store, found, lifetime, only, pattern, plain, put, read, variant};
use crate::key;

/// Checks that removing a prefix removes all entries with it, returns their number or none, and
/// removes no others.
pub async fn removing_a_prefix_removes_all_its_urls(store: Store) {
    for path in ["/news/a", "/news/b", "/other"] {
        put(&store, &key(path), plain(), path.as_bytes()).await;
    }
    put(&store, &key("/news/c"), plain(), &pattern(300_000)).await;
    let url = key("/news/").target();
    let removed = store.remove(Scope::Prefix(&url)).await.expect("it removes");
    assert!(removed.entries.is_none_or(|count| count == 3), "{removed:?} of 3 entries");
    for path in ["/news/a", "/news/b", "/news/c"] {
        assert!(found(&store, &key(path)).await.is_empty(), "{path} was left");
    }
    assert_eq!(found(&store, &key("/other")).await.len(), 1, "an entry without the prefix was removed");
    let removed = store.remove(Scope::Prefix(&url)).await.expect("it removes");
    assert!(removed.entries.is_none_or(|count| count == 0), "{removed:?} of no entries");
}

/// Checks that marking a prefix stale ends the freshness of all entries with it and keeps their
/// bodies.
pub async fn marking_a_prefix_stale_marks_all_its_urls(store: Store) {
    let second = Duration::from_secs(1);
    for path in ["/news/a", "/news/b", "/other"] {
        put(&store, &key(path), plain(), path.as_bytes()).await;
    }
    let fresh = lifetime(&store, &key("/other")).await;
    let at = only(&store, &key("/other")).await.head.freshness.response_time.saturating_add(second);
    let url = key("/news/").target();
    store.mark_stale(Scope::Prefix(&url), at).await.expect("it marks");
    for path in ["/news/a", "/news/b"] {
        assert!(lifetime(&store, &key(path)).await <= second, "{path} is fresh after that time");
        assert_eq!(read(&only(&store, &key(path)).await.body, None).await, path.as_bytes());
    }
    assert_eq!(lifetime(&store, &key("/other")).await, fresh);
}

/// Checks that the empty prefix removes and marks the same entries as the scope of everything.
pub async fn the_empty_prefix_is_everything(store: Store) {
    let second = Duration::from_secs(1);
    let other = CacheKey::from_parts("https", "other.example", "/").expect("a path that begins with /");
    let keys = [key("/a"), key("/a").with_extra(b"x"), other];
    for scope in [Scope::Prefix(""), Scope::All] {
        for key in &keys {
            put(&store, key, plain(), b"x").await;
        }
        let fresh = only(&store, &keys[0]).await.head.freshness.response_time;
        store.mark_stale(scope, fresh.saturating_add(second)).await.expect("it marks");
        for key in &keys {
            assert!(lifetime(&store, key).await <= second, "{key:?} is fresh after {scope} was marked");
        }
        store.remove(scope).await.expect("it removes");
        for key in &keys {
            assert!(found(&store, key).await.is_empty(), "{key:?} was left after the removal of {scope}");
        }
    }
}

/// Checks that marking a key stale ends the freshness of all its variants and of no other key, and
/// keeps their bodies.
pub async fn marking_a_key_stale_marks_all_its_variants(store: Store) {
    let second = Duration::from_secs(1);
    put(&store, &key("/a"), variant("de"), b"de").await;
    put(&store, &key("/a"), variant("en"), &pattern(300_000)).await;
    put(&store, &key("/ab"), plain(), b"other").await;
    let fresh = lifetime(&store, &key("/ab")).await;
    let at = only(&store, &key("/ab")).await.head.freshness.response_time.saturating_add(second);
    store.mark_stale(Scope::Key(&key("/a")), at).await.expect("it marks");
    let variants = found(&store, &key("/a")).await;
    assert_eq!(variants.len(), 2, "the entries stay");
    for one in &variants {
        assert!(one.head.freshness.lifetime.lifetime <= second, "a variant is fresh after that time");
        let expected =
            if one.head.selecting == variant("de").selecting { b"de".to_vec() } else { pattern(300_000) };
        assert!(read(&one.body, None).await == expected, "the body stays");
    }
    assert_eq!(lifetime(&store, &key("/ab")).await, fresh, "another key was marked");
    let none = store.mark_stale(Scope::Key(&key("/none")), at).await.expect("a key without entries");
    assert!(none.entries.is_none_or(|count| count == 0), "{none:?} of no entries");
}
