//! What a store promises that outlives its process: sentences for [`durable_suite!`](crate::durable_suite), which opens it
//! more than once.

/// Makes one test for each sentence about a store that outlives its process. The second argument opens the store in the
/// directory that it gets, which is new for each test.
///
/// ```text
/// larder_testkit::durable_suite!(disk, |path| DiskStore::open(path, DiskOptions::default()).unwrap());
/// ```
#[macro_export]
macro_rules! durable_suite {
    ($name:ident, $open:expr) => {
        $crate::durable_suite!(@each $name, $open;
            what_was_committed_is_there_when_it_is_opened_again
            what_was_not_committed_is_not
            a_removal_outlives_the_process
            two_openings_are_one_store
        );
    };
    (@each $name:ident, $open:expr; $($sentence:ident)*) => {
        mod $name {
            #[allow(unused_imports, reason = "the store's expression may need them")]
            use super::*;
            $(
                #[test]
                fn $sentence() {
                    let folder = $crate::tempfile::tempdir().expect("a directory");
                    let open = |path: &std::path::Path| -> std::sync::Arc<dyn ::larder_core::CacheStore> {
                        let open = $open;
                        std::sync::Arc::new(open(path))
                    };
                    $crate::run($crate::durable_sentences::$sentence(|| open(folder.path())));
                }
            )*
        }
    };
}

/// The same for one sentence more: a gibibyte passes in bounded memory. It measures the memory of the whole process, so it
/// stands alone in a file of tests.
#[macro_export]
macro_rules! bounded_memory_suite {
    ($name:ident, $open:expr) => {
        $crate::durable_suite!(@each $name, $open; a_gibibyte_passes_in_bounded_memory);
    };
}

pub mod durable_sentences {
    //! What a store promises that outlives its process, each as a function that panics if it does not hold.
    #![allow(missing_docs, reason = "each is named after the sentence it checks")]
    #![allow(clippy::missing_panics_doc, reason = "panicking is what they are for")]

    use std::{future::poll_fn, sync::Arc};

    use bytes::Bytes;
    use larder_core::{CacheGroup, CacheStore, StoreErrorKind, StoreWriter, StoredBody, StoredHead};

    use crate::{head, key};

    type Store = Arc<dyn CacheStore>;

    const LENGTHS: [usize; 5] = [0, 1, 5000, 200_000, 3_000_000];

    fn path(n: usize) -> String {
        format!("/{n}")
    }

    fn plain() -> Arc<StoredHead> {
        Arc::new(head(&[], &[]))
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    async fn begun(store: &Store, path: &str, body: &[u8]) -> Box<dyn StoreWriter> {
        let mut writer = store
            .reserve(&key(path))
            .await
            .expect("it reserves")
            .begin(plain(), None)
            .await
            .expect("it begins");
        for chunk in body.chunks(50_000) {
            writer.write(Bytes::copy_from_slice(chunk)).await.expect("it takes a chunk");
        }
        writer
    }

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

    pub async fn what_was_committed_is_there_when_it_is_opened_again(open: impl Fn() -> Store) {
        let store = open();
        for (n, length) in LENGTHS.into_iter().enumerate() {
            begun(&store, &path(n), &pattern(length)).await.commit().await.expect("it commits");
        }
        drop(store);
        let store = open();
        for (n, length) in LENGTHS.into_iter().enumerate() {
            assert!(content(&store, &path(n)).await == Some(pattern(length)), "{length} bytes");
        }
    }

    pub async fn what_was_not_committed_is_not(open: impl Fn() -> Store) {
        let store = open();
        let writers =
            [begun(&store, "/short", b"half").await, begun(&store, "/long", &pattern(500_000)).await];
        assert!(content(&open(), "/short").await.is_none());
        drop(writers);
        drop(store);
        let store = open();
        assert!(content(&store, "/short").await.is_none() && content(&store, "/long").await.is_none());
    }

    pub async fn a_removal_outlives_the_process(open: impl Fn() -> Store) {
        let store = open();
        begun(&store, "/a", b"a").await.commit().await.expect("it commits");
        let grouped = Arc::new(head(&[("cache-groups", "\"g\"")], &[]));
        let writer = store
            .reserve(&key("/b"))
            .await
            .expect("it reserves")
            .begin(grouped, Some(0))
            .await
            .expect("it begins");
        writer.commit().await.expect("it commits");
        store.remove(&key("/a")).await.expect("it removes");
        store.invalidate_group(&CacheGroup::new("http://example.com", "g")).await.expect("it removes");
        drop(store);
        let store = open();
        assert!(content(&store, "/a").await.is_none() && content(&store, "/b").await.is_none());
    }

    pub async fn two_openings_are_one_store(open: impl Fn() -> Store) {
        let (one, other) = (open(), open());
        for (n, length) in LENGTHS.into_iter().enumerate() {
            begun(&one, &path(n), &pattern(length)).await.commit().await.expect("it commits");
            assert!(content(&other, &path(n)).await == Some(pattern(length)), "{length} bytes");
            let late = begun(&one, &path(n), b"late").await;
            other.remove(&key(&path(n))).await.expect("it removes");
            assert!(content(&one, &path(n)).await.is_none(), "{length} bytes");
            let refused = late.commit().await.expect_err("it was begun before the removal");
            assert_eq!(refused.kind(), StoreErrorKind::Gone);
        }
    }

    /// Where it takes one: a store may refuse.
    pub async fn a_gibibyte_passes_in_bounded_memory(open: impl Fn() -> Store) {
        let store = open();
        let chunk = Bytes::from(pattern(1 << 20));
        let Ok(mut writer) =
            store.reserve(&key("/a")).await.expect("it reserves").begin(plain(), Some(1 << 30)).await
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

    /// Bytes of memory that this process has; zero where nobody tells.
    fn resident() -> usize {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
    }
}
