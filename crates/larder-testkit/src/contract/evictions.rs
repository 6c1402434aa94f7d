//! Promises about the eviction of one entry: it removes that entry, and revokes nothing.

use std::sync::Arc;

use larder_core::EntryId;

use super::{Store, found, only, pattern, put, read, reader_survives, uncommitted, variant};
use crate::key;

/// Returns the id of the variant with this language.
async fn id_of(store: &Store, language: &str) -> EntryId {
    let all = found(store, &key("/a")).await;
    all.iter().find(|one| one.head == variant(language)).expect("the variant is stored").id
}

/// Checks that an eviction removes one entry of a key, and neither the other variants nor other
/// keys.
pub async fn an_eviction_removes_one_entry(store: Store) {
    let body = pattern(300_000);
    for language in ["de", "en", "fr", "it"] {
        put(&store, &key("/a"), variant(language), if language == "en" { &body } else { b"short" }).await;
    }
    put(&store, &key("/b"), variant("en"), b"b").await;
    for evicted in ["en", "it"] {
        let id = id_of(&store, evicted).await;
        assert!(store.evict(&key("/a"), id).await.expect("it evicts"), "{evicted} was stored");
        assert!(!store.evict(&key("/a"), id).await.expect("a missing entry is not an error"), "{evicted}");
    }
    let left = found(&store, &key("/a")).await;
    let heads: Vec<_> = left.iter().map(|one| Arc::clone(&one.head)).collect();
    assert_eq!(heads, [variant("fr"), variant("de")], "the other variants, newest first");
    for one in &left {
        assert_eq!(read(&one.body, None).await, b"short");
    }
    assert_eq!(read(&only(&store, &key("/b")).await.body, None).await, b"b", "another key");
    for language in ["de", "fr"] {
        let id = id_of(&store, language).await;
        assert!(store.evict(&key("/a"), id).await.expect("it evicts"));
    }
    assert!(found(&store, &key("/a")).await.is_empty(), "every variant was evicted");
    put(&store, &key("/a"), variant("de"), b"new").await;
    assert_eq!(read(&only(&store, &key("/a")).await.body, None).await, b"new");
}

/// Checks that an eviction of the id of an entry that was replaced meanwhile leaves the new entry.
pub async fn an_eviction_leaves_a_newer_entry(store: Store) {
    put(&store, &key("/a"), variant("de"), b"old").await;
    let old = id_of(&store, "de").await;
    put(&store, &key("/a"), variant("de"), b"new").await;
    assert!(!store.evict(&key("/a"), old).await.expect("it evicts"), "the old entry was replaced");
    assert_eq!(read(&only(&store, &key("/a")).await.body, None).await, b"new");
}

/// Checks that an eviction revokes no write that was reserved before, also not one of the same
/// variant. It frees space, and what was evicted is as valid as before.
pub async fn an_eviction_revokes_no_write(store: Store) {
    put(&store, &key("/a"), variant("de"), b"old").await;
    let same = uncommitted(&store, &key("/a"), variant("de"), b"de").await;
    let other = uncommitted(&store, &key("/a"), variant("en"), b"en").await;
    assert!(store.evict(&key("/a"), id_of(&store, "de").await).await.expect("it evicts"));
    same.commit().await.expect("an eviction revoked a write of the same variant");
    other.commit().await.expect("an eviction revoked a write of another variant");
    assert_eq!(found(&store, &key("/a")).await.len(), 2);
}

/// Checks that a reader receives the whole body, or an error, if its entry is evicted meanwhile.
pub async fn a_reader_finishes_an_evicted_body(store: Store) {
    let evict = async |store: &Store| {
        let id = only(store, &key("/a")).await.id;
        assert!(store.evict(&key("/a"), id).await.expect("it evicts"));
    };
    reader_survives(store, evict).await;
}
