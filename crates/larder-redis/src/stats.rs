//! Defines the public statistics: counters of this process, and figures read from the servers.
//! `RedisStore::stats` collects them.

/// Counters of this process and figures of its servers, as [`RedisStore::stats`] returns them.
///
/// [`RedisStore::stats`]: crate::RedisStore::stats
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisStats {
    /// Cache keys that have at least one stored response, on all nodes.
    pub entries: u64,
    /// Bytes of memory that the servers use for all their data, including that of other programs.
    pub server_bytes: u64,
    /// Commands of this process, since it connected, that got no usable response: the connection
    /// failed, the command timed out, or the server is loading, read-only or without its cluster.
    /// Other error replies, such as that of a full server, are not counted.
    pub failed: u64,
    /// Commands that this process did not send because the circuit breaker was open.
    pub rejected: u64,
    /// Stored values that were damaged or were not entries of this store. Each was removed.
    pub corrupt: u64,
}
