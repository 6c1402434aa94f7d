//! Backends of the tests: a map in memory that can fail, and a directory.

use std::{
    collections::BTreeMap,
    io,
    ops::Bound,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use larder_core::{KeyValue, StoreError, StoreErrorKind, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// A map in memory. Clones share it, as processes share a server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Map(Arc<State>);

#[derive(Debug, Default)]
struct State {
    values: Mutex<BTreeMap<String, (Bytes, Timestamp)>>,
    /// Seed of the faults; zero for none.
    faults: AtomicU64,
    /// Whether a `put` of a head waits for `gate`.
    is_gated: AtomicBool,
    gate: Gate,
}

#[derive(Debug)]
struct Gate {
    arrived: Semaphore,
    open: Semaphore,
}

impl Default for Gate {
    fn default() -> Self {
        Self { arrived: Semaphore::new(0), open: Semaphore::new(0) }
    }
}

impl Map {
    /// Lets about every eighth call fail, before or after it had its effect. Zero ends that.
    pub(crate) fn fail(&self, seed: u64) {
        self.0.faults.store(seed, Ordering::SeqCst);
    }

    /// Lets each `put` of a head wait on its way to the backend.
    pub(crate) fn close_gate(&self) {
        self.0.is_gated.store(true, Ordering::SeqCst);
    }

    /// Waits until a `put` of a head is on its way.
    pub(crate) async fn arrival(&self) {
        self.0.gate.arrived.acquire().await.expect("never closed").forget();
    }

    /// Lets the waiting `put`, and all later ones, go on.
    pub(crate) fn open_gate(&self) {
        self.0.is_gated.store(false, Ordering::SeqCst);
        self.0.gate.open.add_permits(1);
    }

    /// Returns the names that begin with `prefix`.
    pub(crate) fn names(&self, prefix: &str) -> Vec<String> {
        self.0.values.lock().keys().filter(|name| name.starts_with(prefix)).cloned().collect()
    }

    /// Changes the value under `name`, as a broken disk does.
    pub(crate) fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut values = self.0.values.lock();
        let (value, _) = values.get_mut(name).expect("there is such a value");
        let mut bytes = value.to_vec();
        change(&mut bytes);
        *value = bytes.into();
    }

    /// Removes the value under `name`, as a backend that evicts does.
    pub(crate) fn evict(&self, name: &str) {
        self.0.values.lock().remove(name);
    }

    /// Returns whether this call, or its reply, is lost.
    fn is_lost(&self) -> bool {
        let next = |seed: u64| {
            (seed != 0).then(|| {
                let seed = seed ^ (seed << 13);
                let seed = seed ^ (seed >> 7);
                seed ^ (seed << 17)
            })
        };
        let before = self.0.faults.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
        before.is_ok_and(|seed| (seed >> 20).is_multiple_of(16))
    }

    /// Runs a call that may be lost on its way or on the way back.
    fn call<T>(&self, call: impl FnOnce() -> T) -> Result<T, StoreError> {
        let lost = || StoreError::new(StoreErrorKind::Unavailable, "map", "fault injected by the test");
        if self.is_lost() {
            return Err(lost());
        }
        let reply = call();
        if self.is_lost() { Err(lost()) } else { Ok(reply) }
    }
}

#[async_trait]
impl KeyValue for Map {
    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        self.call(|| self.0.values.lock().get(name).map(|(value, _)| value.clone()))
    }

    async fn put(&self, name: &str, value: Bytes, keep_until: Timestamp) -> Result<(), StoreError> {
        assert!(is_name(name), "{name}");
        if name.starts_with('e') && self.0.is_gated.load(Ordering::SeqCst) {
            self.0.gate.arrived.add_permits(1);
            self.0.gate.open.acquire().await.expect("never closed").forget();
        }
        self.call(|| drop(self.0.values.lock().insert(name.to_owned(), (value, keep_until))))
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.call(|| drop(self.0.values.lock().remove(name)))
    }

    async fn scan(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        self.call(|| {
            let from = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
            let values = self.0.values.lock();
            let names = values.range::<str, _>((from, Bound::Unbounded)).map(|(name, _)| name.clone());
            names.take_while(|name| name.starts_with(prefix)).take(limit).collect()
        })
    }
}

/// Returns whether a name is as the trait promises it.
fn is_name(name: &str) -> bool {
    let is_valid = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'.');
    (1..=128).contains(&name.len()) && name.bytes().all(is_valid) && name.as_bytes()[0].is_ascii_lowercase()
}

/// A directory with a file for each value. It calls the file system on the task, which only a test
/// may do.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    next: AtomicU64,
}

impl Directory {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), next: AtomicU64::new(0) }
    }
}

/// Converts an error; a file that does not exist is none.
fn converted<T>(result: io::Result<T>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(StoreError::new(StoreErrorKind::Unavailable, "directory", "I/O error").with_source(error))
        }
    }
}

#[async_trait]
impl KeyValue for Directory {
    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        converted(std::fs::read(self.path.join(name)).map(Bytes::from))
    }

    async fn put(&self, name: &str, value: Bytes, _: Timestamp) -> Result<(), StoreError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let new = self.path.join(format!("tmp.{:p}.{number}", self));
        converted(std::fs::write(&new, value).and_then(|()| std::fs::rename(new, self.path.join(name))))
            .map(drop)
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        converted(std::fs::remove_file(self.path.join(name))).map(drop)
    }

    async fn scan(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        let entries = converted(std::fs::read_dir(&self.path))?.into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> = names.filter(|name| name.starts_with(prefix) && **name > *after).collect();
        names.sort();
        names.truncate(limit);
        Ok(names)
    }
}
