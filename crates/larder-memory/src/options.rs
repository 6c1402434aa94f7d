//! What a memory store may use.

/// The limits of a [`MemoryStore`](crate::MemoryStore), in bytes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MemoryOptions {
    /// Most bytes in all: heads, bodies, bookkeeping, and the bodies that are being written. Default: 512 MiB.
    pub capacity: u64,
    /// Longest body of announced length. Longer ones are refused before anything is read. Default: an eighth of
    /// the capacity, which is also what all bodies being written may take together.
    pub max_object: u64,
    /// Longest body whose length was not announced: so much is held before it is known that it is too long.
    /// Default: 8 MiB, or `max_object` if that is less.
    pub max_unannounced: u64,
}

impl MemoryOptions {
    /// The defaults for a store of this capacity.
    pub fn with_capacity(capacity: u64) -> Self {
        let max_object = capacity / 8;
        Self { capacity, max_object, max_unannounced: max_object.min(8 * 1024 * 1024) }
    }

    /// What bodies that are being written may take together.
    pub(crate) fn writing(&self) -> u64 {
        self.capacity / 8
    }

    /// What is left for what is stored.
    pub(crate) fn stored(&self) -> u64 {
        self.capacity - self.writing()
    }
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self::with_capacity(512 * 1024 * 1024)
    }
}
