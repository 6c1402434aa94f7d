//! Defines the limits of a memory store. `store` and `writer` apply them.

/// Options of a [`MemoryStore`](crate::MemoryStore): limits in bytes.
///
/// # Examples
///
/// ```
/// use larder_memory::{MemoryOptions, MemoryStore};
///
/// let mut options = MemoryOptions::with_capacity(256 * 1024 * 1024);
/// options.max_unannounced = 1024 * 1024;
/// let store = MemoryStore::new(options);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MemoryOptions {
    /// Memory for everything, in bytes: heads, bodies, bookkeeping, and bodies that are being
    /// written. Default: 512 MiB. Seven eighths are for stored entries; at that limit, entries are
    /// evicted. One eighth is for bodies that are being written; at that limit, further writes fail
    /// with [`Full`](larder_core::StoreErrorKind::Full) and their responses are not stored.
    pub capacity: u64,
    /// Longest body with an announced length, in bytes. Default: an eighth of the capacity. Longer
    /// bodies are rejected before anything is read. Values above 2 GiB count as 2 GiB. A body also
    /// has to fit into the eighth of the capacity for bodies that are being written.
    pub max_object: u64,
    /// Longest body without an announced length, in bytes. Default: 8 MiB, or `max_object` if
    /// that is less. Up to this many bytes are in memory before such a body is rejected. Values
    /// above 2 GiB count as 2 GiB.
    pub max_unannounced: u64,
}

impl MemoryOptions {
    /// Creates options with this capacity in bytes. The other limits follow from it.
    pub fn with_capacity(capacity: u64) -> Self {
        let max_object = capacity / 8;
        Self { capacity, max_object, max_unannounced: max_object.min(8 * 1024 * 1024) }
    }

    /// Returns the bytes that all bodies being written may use together.
    pub(crate) fn writing(&self) -> u64 {
        self.capacity / 8
    }

    /// Returns the bytes that stored entries may use.
    pub(crate) fn stored(&self) -> u64 {
        self.capacity - self.writing()
    }
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self::with_capacity(512 * 1024 * 1024)
    }
}
