//! Removing, and making stale, what begins so.

use std::time::Duration;

use super::{Store, found, lifetime, only, pattern, plain, put, read};
use crate::key;

pub async fn a_prefix_is_removed(store: Store) {
    for path in ["/news/a", "/news/b", "/other"] {
        put(&store, &key(path), plain(), path.as_bytes()).await;
    }
    put(&store, &key("/news/c"), plain(), &pattern(300_000)).await;
    let url = key("/news/").target();
    assert_eq!(store.remove_prefix(&url).await.expect("it removes"), 3);
    for path in ["/news/a", "/news/b", "/news/c"] {
        assert!(found(&store, &key(path)).await.is_empty(), "{path} was left");
    }
    assert_eq!(found(&store, &key("/other")).await.len(), 1, "what begins otherwise was removed");
    assert_eq!(store.remove_prefix(&url).await.expect("it removes"), 0);
}

pub async fn a_prefix_is_outdated(store: Store) {
    let second = Duration::from_secs(1);
    for path in ["/news/a", "/news/b", "/other"] {
        put(&store, &key(path), plain(), path.as_bytes()).await;
    }
    let fresh = lifetime(&store, &key("/other")).await;
    let at = only(&store, &key("/other")).await.head.freshness.response_time.saturating_add(second);
    let url = key("/news/").target();
    store.mark_prefix_stale(&url, at).await.expect("it outdates");
    for path in ["/news/a", "/news/b"] {
        assert!(lifetime(&store, &key(path)).await <= second, "{path} is fresh past that instant");
        assert_eq!(read(&only(&store, &key(path)).await.body, None).await, path.as_bytes());
    }
    assert_eq!(lifetime(&store, &key("/other")).await, fresh);
    store.mark_prefix_stale("", at).await.expect("it outdates");
    assert!(lifetime(&store, &key("/other")).await <= second, "everything");
}
