//! Promises about URL prefixes: removing all entries with a prefix, and marking them stale.

use std::time::Duration;

use super::{Store, found, lifetime, only, pattern, plain, put, read};
use crate::key;

/// Checks that removing a prefix removes all entries with it, returns their number, and removes no
/// others.
pub async fn removing_a_prefix_removes_all_its_urls(store: Store) {
    for path in ["/news/a", "/news/b", "/other"] {
        put(&store, &key(path), plain(), path.as_bytes()).await;
    }
    put(&store, &key("/news/c"), plain(), &pattern(300_000)).await;
    let url = key("/news/").target();
    assert_eq!(store.remove_prefix(&url).await.expect("it removes"), 3);
    for path in ["/news/a", "/news/b", "/news/c"] {
        assert!(found(&store, &key(path)).await.is_empty(), "{path} was left");
    }
    assert_eq!(found(&store, &key("/other")).await.len(), 1, "an entry without the prefix was removed");
    assert_eq!(store.remove_prefix(&url).await.expect("it removes"), 0);
}

/// Checks that marking a prefix stale ends the freshness of all entries with it and keeps their
/// bodies. The empty prefix is the prefix of all.
pub async fn marking_a_prefix_stale_marks_all_its_urls(store: Store) {
    let second = Duration::from_secs(1);
    for path in ["/news/a", "/news/b", "/other"] {
        put(&store, &key(path), plain(), path.as_bytes()).await;
    }
    let fresh = lifetime(&store, &key("/other")).await;
    let at = only(&store, &key("/other")).await.head.freshness.response_time.saturating_add(second);
    let url = key("/news/").target();
    store.mark_prefix_stale(&url, at).await.expect("it marks");
    for path in ["/news/a", "/news/b"] {
        assert!(lifetime(&store, &key(path)).await <= second, "{path} is fresh after that time");
        assert_eq!(read(&only(&store, &key(path)).await.body, None).await, path.as_bytes());
    }
    assert_eq!(lifetime(&store, &key("/other")).await, fresh);
    store.mark_prefix_stale("", at).await.expect("it marks");
    assert!(lifetime(&store, &key("/other")).await <= second, "the empty prefix marks everything");
}
