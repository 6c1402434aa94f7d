//! What this process has seen of its servers, and what is on them.

/// What this process has seen of its servers, and what is on them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisStats {
    /// Keys with responses, on all nodes.
    pub entries: u64,
    /// Bytes of memory that the servers use, for everything they keep.
    pub server_bytes: u64,
    /// Commands of this process that failed or were not answered in time.
    pub failed: u64,
    /// Calls of this process that were not made, since the server had not answered before.
    pub rejected: u64,
    /// Values that were no entries, and were removed.
    pub corrupt: u64,
}
