//! Defines [`KeyValue`], a map that a backend offers, and makes a whole store of it.
//!
//! `names` and `values` define what is stored under which name, `shared` reads and deletes entries,
//! `writer` and `body` write and read bodies, `sweep` finds what dead processes have left. `store`
//! has the operations of the store contract.

mod body;
mod names;
mod shared;
mod store;
mod sweep;
mod values;
mod writer;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use larder_policy::Timestamp;

use super::StoreError;

pub use store::KeyValueStore;

/// A map from names to values, such as a table of a database, a bucket, or a directory. With
/// [`KeyValueStore`] it is a complete [`CacheStore`](crate::CacheStore).
///
/// A name consists of 1 to 128 bytes, which are digits, lower-case letters from `a` to `z`, and
/// dots; it begins with a letter. It is a valid file name and a valid key of an object store. The
/// pieces of long bodies have 1 MiB, most other values are short. The head of a response with the
/// longest header fields and the longest body has 6 MiB.
///
/// # What the store relies on
///
/// 1. A value is replaced and deleted in one step: [`get`](Self::get) returns a value that was put,
///    whole, or none.
/// 2. After a [`put`](Self::put) or a [`delete`](Self::delete) has returned, `get` and
///    [`scan`](Self::scan) reflect it, in every process.
/// 3. A call that has returned has no effect later, also if it returned an error. Whether a call
///    that failed, or was dropped, had its effect is left open.
/// 4. Every call returns in bounded time: use timeouts. Purges, and later writes of the same URL,
///    wait for a call that hangs.
///
/// # What it need not do
///
/// A value that is missing is a miss, never an error. A backend may therefore lose or evict values
/// with names that begin with `e` (heads) or `b` (bodies), for example the least recently used ones
/// if it has a limit. It keeps those that begin with `g` or `s` until their time: they record which
/// groups were removed or marked stale, and have 12 bytes each. Damaged values are detected by
/// their checksums. Values contain cookies and other secrets in clear text: only this cache should
/// have access.
///
/// # Cancel safety
///
/// The future of a `get` and of a `scan` can be dropped at any point. A `put` and a `delete` that
/// matter are run in a task of their own, to their end.
///
/// # Example
///
/// A backend in the memory of this process:
///
/// ```
/// use std::{collections::BTreeMap, ops::Bound, sync::Mutex};
///
/// use bytes::Bytes;
/// use larder_core::{Cache, KeyValue, KeyValueStore, StoreError, Timestamp};
///
/// #[derive(Debug, Default)]
/// struct Map(Mutex<BTreeMap<String, Bytes>>);
///
/// #[async_trait::async_trait]
/// impl KeyValue for Map {
///     async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
///         Ok(self.0.lock().unwrap().get(name).cloned())
///     }
///
///     async fn put(&self, name: &str, value: Bytes, _: Timestamp) -> Result<(), StoreError> {
///         self.0.lock().unwrap().insert(name.to_owned(), value);
///         Ok(())
///     }
///
///     async fn delete(&self, name: &str) -> Result<(), StoreError> {
///         self.0.lock().unwrap().remove(name);
///         Ok(())
///     }
///
///     async fn scan(
///         &self,
///         prefix: &str,
///         after: &str,
///         limit: usize,
///     ) -> Result<Vec<String>, StoreError> {
///         let map = self.0.lock().unwrap();
///         let from = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
///         let names = map.range::<str, _>((from, Bound::Unbounded)).map(|(name, _)| name.clone());
///         Ok(names.take_while(|name| name.starts_with(prefix)).take(limit).collect())
///     }
/// }
///
/// let store = KeyValueStore::new(Map::default());
/// let cache = Cache::builder(std::sync::Arc::new(store)).build();
/// # let _ = cache;
/// ```
#[async_trait]
#[diagnostic::on_unimplemented(
    note = "implement `larder_core::KeyValue` with `#[async_trait]`, and pass it to `KeyValueStore::new`"
)]
pub trait KeyValue: fmt::Debug + Send + Sync + 'static {
    /// Returns the value under `name`, or `None` if there is none. It may return a value after
    /// its time.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the backend failed. To the engine, that is a miss.
    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError>;

    /// Stores `value` under `name` in place of any other. The store has no use for it after
    /// `keep_until`, so the backend may delete it then, earlier as described above, or later; a
    /// backend that never does grows until [`KeyValueStore::sweep`] is called.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] of the kind [`Full`](crate::StoreErrorKind::Full) if there is no
    /// room, or another one if the backend failed. The response is not stored then.
    async fn put(&self, name: &str, value: Bytes, keep_until: Timestamp) -> Result<(), StoreError>;

    /// Deletes the value under `name`. It is not an error if there is none.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the backend cannot confirm that the value is deleted. A purge
    /// returns it to its caller.
    async fn delete(&self, name: &str) -> Result<(), StoreError>;

    /// Returns the names that begin with `prefix` and come after `after`, in the order of their
    /// bytes, at most `limit` of them. An empty `after` comes before all names.
    ///
    /// Fewer than `limit` names mean that there are no more. A name that is put or deleted during
    /// the scan may be included or not.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the backend failed.
    async fn scan(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<String>, StoreError>;
}
