//! The contract of stores that persist entries, for [`durable_suite!`](crate::durable_suite): its
//! functions open the same store more than once.

/// Generates one test for each promise of a store that persists entries.
///
/// The first argument names the generated module. The second is a closure that opens the store in
/// a directory (`&Path`) and returns it by value; each test passes a new, empty directory. One of
/// the tests has the directory open twice at the same time, as two processes would.
///
/// ```text
/// larder_testkit::durable_suite!(disk, |path| DiskStore::open(path, DiskOptions::default()).unwrap());
/// ```
#[macro_export]
macro_rules! durable_suite {
    ($name:ident, $open:expr) => {
        $crate::durable_suite!(@each $name, $open;
            a_committed_entry_survives_reopening
            an_uncommitted_entry_does_not_survive_reopening
            a_removal_survives_reopening
            two_handles_share_one_store
        );
    };
    (@each $name:ident, $open:expr; $($promise:ident)*) => {
        mod $name {
            #[allow(unused_imports, reason = "the store's expression may need them")]
            use super::*;
            $(
                #[test]
                fn $promise() {
                    let folder = $crate::tempfile::tempdir().expect("a directory");
                    let open = |path: &std::path::Path| -> std::sync::Arc<dyn $crate::larder_core::CacheStore> {
                        let open = $open;
                        std::sync::Arc::new(open(path))
                    };
                    $crate::run($crate::durable_contract::$promise(|| open(folder.path())));
                }
            )*
        }
    };
}

/// Generates one test that writes and reads a body of 1 GiB with at most 16 MiB of additional
/// memory. A store that rejects a body of that length passes. Memory is measured on Linux only.
///
/// The arguments are those of [`durable_suite!`](crate::durable_suite). The test measures the
/// memory of the whole process, so it must be the only test of its file.
#[macro_export]
macro_rules! bounded_memory_suite {
    ($name:ident, $open:expr) => {
        $crate::durable_suite!(@each $name, $open; a_gibibyte_body_uses_bounded_memory);
    };
}

pub mod durable_contract {
    //! The promises of a store that persists entries: one function for each, which panics if the
    //! store breaks it.
    #![allow(clippy::missing_panics_doc, reason = "a contract function panics if the store breaks it")]

    use std::{future::poll_fn, sync::Arc};

    use bytes::Bytes;
    use larder_core::{CacheGroup, CacheStore, Scope, StoreErrorKind, StoreWriter, StoredBody, StoredHead};

    use crate::{head, key};

    type Store = Arc<dyn CacheStore>;

    const LENGTHS: [usize; 5] = [0, 1, 5000, 200_000, 3_000_000];

    /// Returns the path of entry `n`.
    fn path(n: usize) -> String {
        format!("/{n}")
    }

    /// Returns a head without `Vary` and without groups.
    fn plain() -> Arc<StoredHead> {
        Arc::new(head(&[], &[]))
    }

    /// Returns a body in which each byte depends on its position.
    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    /// Reserves, begins and writes an entry without committing it.
    async fn uncommitted(store: &Store, path: &str, body: &[u8]) -> Box<dyn StoreWriter> {
        let mut writer = store
            .reserve(&key(path))
            .await
            .expect("it reserves")
            .begin(plain(), None, plain().keep_until())
            .await
            .expect("it begins");
        for chunk in body.chunks(50_000) {
            writer.write(Bytes::copy_from_slice(chunk)).await.expect("it takes a chunk");
        }
        writer
    }

    /// Reads the body of the newest entry. Returns `None` if there is no entry.
    async fn content(store: &Store, path: &str) -> Option<Vec<u8>> {
        let found = store.lookup(&key(path)).await.expect("it looks up");
        match &found.first()?.body {
            StoredBody::Whole(bytes) => Some(bytes.to_vec()),
            StoredBody::Source(source) => {
                let mut stream = source.stream(None).await.expect("it opens");
                let mut all = Vec::new();
                while let Some(chunk) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
                    all.extend_from_slice(&chunk.expect("it reads"));
                }
                Some(all)
            }
        }
    }

    /// Checks that committed entries are found after the store has been closed and opened again.
    pub async fn a_committed_entry_survives_reopening(open: impl Fn() -> Store) {
        let store = open();
        for (n, length) in LENGTHS.into_iter().enumerate() {
            uncommitted(&store, &path(n), &pattern(length)).await.commit().await.expect("it commits");
        }
        drop(store);
        let store = open();
        for (n, length) in LENGTHS.into_iter().enumerate() {
            assert!(content(&store, &path(n)).await == Some(pattern(length)), "{length} bytes");
        }
    }

    /// Checks that a second handle and a reopened store do not find entries that were not
    /// committed.
    pub async fn an_uncommitted_entry_does_not_survive_reopening(open: impl Fn() -> Store) {
        let store = open();
        let writers = [
            uncommitted(&store, "/short", b"half").await,
            uncommitted(&store, "/long", &pattern(500_000)).await,
        ];
        assert!(content(&open(), "/short").await.is_none());
        drop(writers);
        drop(store);
        let store = open();
        assert!(content(&store, "/short").await.is_none() && content(&store, "/long").await.is_none());
    }

    /// Checks that entries removed by key or by group stay removed after reopening.
    pub async fn a_removal_survives_reopening(open: impl Fn() -> Store) {
        let store = open();
        uncommitted(&store, "/a", b"a").await.commit().await.expect("it commits");
        let grouped = Arc::new(head(&[("cache-groups", "\"g\"")], &[]));
        let writer = store
            .reserve(&key("/b"))
            .await
            .expect("it reserves")
            .begin(grouped, Some(0), plain().keep_until())
            .await
            .expect("it begins");
        writer.commit().await.expect("it commits");
        store.remove(Scope::Key(&key("/a"))).await.expect("it removes");
        store.remove(Scope::Group(&CacheGroup::new("http://example.com", "g"))).await.expect("it removes");
        drop(store);
        let store = open();
        assert!(content(&store, "/a").await.is_none() && content(&store, "/b").await.is_none());
    }

    /// Checks that two open handles of one directory see each other's commits and removals.
    pub async fn two_handles_share_one_store(open: impl Fn() -> Store) {
        let (one, other) = (open(), open());
        for (n, length) in LENGTHS.into_iter().enumerate() {
            uncommitted(&one, &path(n), &pattern(length)).await.commit().await.expect("it commits");
            assert!(content(&other, &path(n)).await == Some(pattern(length)), "{length} bytes");
            let late = uncommitted(&one, &path(n), b"late").await;
            other.remove(Scope::Key(&key(&path(n)))).await.expect("it removes");
            assert!(content(&one, &path(n)).await.is_none(), "{length} bytes");
            let refused = late.commit().await.expect_err("the write was begun before the removal");
            assert_eq!(refused.kind(), StoreErrorKind::Gone);
        }
    }

    /// Checks that a body of 1 GiB is written and read with at most 16 MiB of additional memory. A
    /// store may refuse such a body: then there is nothing to check.
    pub async fn a_gibibyte_body_uses_bounded_memory(open: impl Fn() -> Store) {
        let store = open();
        let chunk = Bytes::from(pattern(1 << 20));
        let Ok(mut writer) = store
            .reserve(&key("/a"))
            .await
            .expect("it reserves")
            .begin(plain(), Some(1 << 30), plain().keep_until())
            .await
        else {
            return;
        };
        let before = resident();
        for _ in 0..1024 {
            writer.write(chunk.clone()).await.expect("it takes a chunk");
        }
        writer.commit().await.expect("it commits");
        let found = store.lookup(&key("/a")).await.expect("it looks up");
        let StoredBody::Source(source) = &found[0].body else { panic!("a gibibyte in memory") };
        let mut stream = source.stream(None).await.expect("it opens");
        let mut length = 0;
        while let Some(read) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            let read = read.expect("it reads");
            let at = length % chunk.len();
            let (end, rest) = read.split_at(read.len().min(chunk.len() - at));
            assert!(*end == chunk[at..at + end.len()] && *rest == chunk[..rest.len()]);
            length += read.len();
        }
        assert_eq!(length, 1 << 30);
        let added = resident().saturating_sub(before);
        assert!(added <= 16 << 20, "{} MiB of memory", added >> 20);
    }

    /// Returns the resident memory of this process in bytes, or zero where `/proc` does not exist.
    fn resident() -> usize {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
    }
}
