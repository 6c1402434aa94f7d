//! Larder's stores, through the trait `CacheStore`.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use larder_core::{CacheStore, Scope, StoreErrorKind, StoredBody, StoredHead};
use larder_disk::{DiskOptions, DiskStore};
use larder_memory::MemoryStore;
use larder_testkit::fixtures;

use super::{Making, Subject, setting};

pub(super) struct Ours {
    store: Arc<dyn CacheStore>,
    head: Arc<StoredHead>,
    _folder: Option<tempfile::TempDir>,
}

impl Ours {
    pub(super) fn on(store: impl CacheStore) -> Arc<dyn Subject> {
        Arc::new(Self { store: Arc::new(store), head: fixtures::head(), _folder: None })
    }
}

pub(super) fn memory() -> Making {
    Box::pin(async { Ours::on(MemoryStore::with_capacity(1 << 30)) })
}

/// Opens the store with its defaults.
pub(super) fn disk() -> Making {
    Box::pin(async {
        let folder = tempfile::tempdir().expect("a folder");
        let store =
            DiskStore::open(folder.path().join("larder"), DiskOptions::default().with_max_bytes(8 << 30));
        let store = Arc::new(store.expect("it opens"));
        Arc::new(Ours { store, head: fixtures::head(), _folder: Some(folder) }) as Arc<dyn Subject>
    })
}

#[async_trait]
impl Subject for Ours {
    async fn get(&self, n: u64) -> usize {
        let found = self.store.lookup(&setting::key(n)).await.expect("it looks up");
        match &found[0].body {
            StoredBody::Whole(bytes) => bytes.len(),
            StoredBody::Source(source) => {
                let mut stream = source.stream(None).await.expect("it opens");
                let mut length = 0;
                while let Some(piece) = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
                    length += piece.expect("it is whole").len();
                }
                length
            }
        }
    }

    async fn put(&self, n: u64, body: Bytes) {
        // If two tasks store one key, the one that reserved earlier may be refused.
        if let Err(error) = fixtures::put(&*self.store, &setting::key(n), &self.head, body).await {
            assert_eq!(error.kind(), StoreErrorKind::Gone, "{error}");
        }
    }

    async fn remove(&self, n: u64) {
        self.store.remove(Scope::Key(&setting::key(n))).await.expect("it removes");
    }

    async fn freshen(&self, n: u64) {
        let key = setting::key(n);
        let id = self.store.lookup(&key).await.expect("it looks up")[0].id;
        self.store.freshen(&key, id, Arc::clone(&self.head), self.head.keep_until()).await.expect("it is there");
    }
}
