//! Helpers: a store in a temporary directory, and functions to fill and read it.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod mounted;

use std::{future::poll_fn, ops::Range, path::PathBuf, sync::Arc};

use bytes::Bytes;
use larder_core::{
    ByteStream, CacheKey, CacheStore as _, Candidate, EntryId, StoreError, StoreErrorKind, StoredBody,
    StoredHead,
};
use larder_disk::{DiskOptions, DiskStore};
use tempfile::TempDir;

/// A temporary directory with a cache directory in it.
pub(crate) struct TestDir(TempDir);

impl TestDir {
    /// Creates the temporary directory.
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("create a directory"))
    }

    /// Returns the path of the cache directory.
    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("cache")
    }

    /// Opens a store with a limit of 256 MiB.
    pub(crate) fn open(&self) -> DiskStore {
        self.sized(256 << 20)
    }

    /// Opens a store with this limit in bytes.
    pub(crate) fn sized(&self, max_bytes: u64) -> DiskStore {
        DiskStore::open(self.path(), DiskOptions::default().with_max_bytes(max_bytes)).expect("open succeeds")
    }

    /// Lists the files of the store.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let list =
            |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        list(self.path()).filter(|path| path.is_dir()).flat_map(list).collect()
    }

    /// Lists the files of the store with names that begin with `prefix`.
    pub(crate) fn files_named(&self, prefix: &str) -> Vec<PathBuf> {
        let named =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
        self.files().into_iter().filter(named).collect()
    }

    /// Returns the bytes that the files occupy in the file system.
    pub(crate) fn used(&self) -> u64 {
        use std::os::unix::fs::MetadataExt as _;
        let blocks = |path: &PathBuf| std::fs::symlink_metadata(path).map_or(0, |metadata| metadata.blocks());
        self.files().iter().map(blocks).sum::<u64>() * 512
    }
}

/// Returns the key of entry `n`.
pub(crate) fn key(n: u64) -> CacheKey {
    larder_testkit::key(&format!("/{n}"))
}

/// Returns a response head.
pub(crate) fn head() -> Arc<StoredHead> {
    Arc::new(larder_testkit::head(&[("content-type", "text/plain")], &[]))
}

/// Returns a body that contains the number of its entry and the position of its bytes.
pub(crate) fn content(n: u64, length: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(length + 16);
    while bytes.len() < length {
        bytes.extend_from_slice(&n.to_le_bytes());
        bytes.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

/// Stores entry `n` with a body of `length` bytes.
pub(crate) async fn put(store: &DiskStore, n: u64, length: usize) -> Result<EntryId, StoreError> {
    let mut writer = store.reserve(&key(n)).await?.begin(head(), None, head().keep_until()).await?;
    for chunk in content(n, length).chunks(64 << 10) {
        writer.write(Bytes::copy_from_slice(chunk)).await?;
    }
    writer.commit().await
}

/// Looks up entry `n`.
pub(crate) async fn find(store: &DiskStore, n: u64) -> Option<Candidate> {
    let found = store.lookup(&key(n)).await.expect("lookup succeeds");
    assert!(found.len() <= 1, "one variant");
    found.first().cloned()
}

/// Reads a stream to its end.
pub(crate) async fn drain(mut stream: ByteStream) -> Result<Vec<u8>, StoreError> {
    let mut read = Vec::new();
    while let Some(chunk) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
        read.extend_from_slice(&chunk?);
    }
    Ok(read)
}

/// Reads a body, or a range of it.
pub(crate) async fn read(body: &StoredBody, range: Option<Range<u64>>) -> Result<Vec<u8>, StoreError> {
    match body {
        StoredBody::Whole(bytes) => Ok(bytes.to_vec()),
        StoredBody::Source(source) => drain(source.stream(range).await?).await,
    }
}

/// Returns whether entry `n` is stored and intact. Panics if it has other bytes, or fails with an
/// unexpected error.
pub(crate) async fn is_intact(store: &DiskStore, n: u64) -> bool {
    let Some(found) = find(store, n).await else { return false };
    match read(&found.body, None).await {
        Ok(bytes) => {
            assert!(bytes == content(n, bytes.len()), "entry {n} has other bytes");
            assert_eq!(Some(bytes.len() as u64), found.body.content_length(), "entry {n} is truncated");
            true
        }
        Err(error) => {
            assert!(
                matches!(error.kind(), StoreErrorKind::Corrupt | StoreErrorKind::Gone),
                "entry {n}: {error}"
            );
            false
        }
    }
}
