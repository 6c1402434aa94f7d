//! Defines the limits of a memory store. `store` and `writer` apply them.

/// Options of a [`MemoryStore`](crate::MemoryStore): limits in bytes.
///
/// # Examples
///
/// ```
/// use larder_memory::{MemoryOptions, MemoryStore};
///
/// let options = MemoryOptions::default().with_capacity(256 << 20).with_max_unannounced(1 << 20);
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
    /// Longest body with an announced length, in bytes. Default (`None`): an eighth of the
    /// capacity. Longer bodies are rejected before anything is read. Values above 2 GiB count as
    /// 2 GiB. A body also has to fit into the eighth of the capacity for bodies that are being
    /// written.
    pub max_object: Option<u64>,
    /// Longest body without an announced length, in bytes. Default (`None`): 8 MiB, or the longest
    /// body with an announced length if that is less. Up to this many bytes are in memory before
    /// such a body is rejected. Values above 2 GiB count as 2 GiB.
    pub max_unannounced: Option<u64>,
}

impl MemoryOptions {
    /// Sets the memory for everything, in bytes ([`capacity`](Self::capacity)).
    #[must_use]
    pub fn with_capacity(mut self, capacity: u64) -> Self {
        self.capacity = capacity;
        self
    }

    /// Sets the longest body with an announced length, in bytes ([`max_object`](Self::max_object)).
    #[must_use]
    pub fn with_max_object(mut self, max_object: u64) -> Self {
        self.max_object = Some(max_object);
        self
    }

    /// Sets the longest body without an announced length, in bytes
    /// ([`max_unannounced`](Self::max_unannounced)).
    #[must_use]
    pub fn with_max_unannounced(mut self, max_unannounced: u64) -> Self {
        self.max_unannounced = Some(max_unannounced);
        self
    }

    /// Returns the length of the longest body that is stored. `announced` is whether its length is
    /// known before its first byte.
    pub(crate) fn longest_body(&self, announced: bool) -> u64 {
        let max_object = self.max_object.unwrap_or(self.capacity / 8);
        if announced { max_object } else { self.max_unannounced.unwrap_or(max_object.min(8 << 20)) }
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
        Self { capacity: 512 << 20, max_object: None, max_unannounced: None }
    }
}
