//! Defines the options and their defaults. The servers are not an option but a URL, which
//! `client/servers` parses.

use std::time::Duration;

/// Options of a [`RedisStore`](crate::RedisStore). Each has a default.
///
/// ```
/// use std::time::Duration;
///
/// use larder_redis::RedisOptions;
///
/// let mut options = RedisOptions::default();
/// options.prefix = "shop".to_owned();
/// options.command_timeout = Duration::from_millis(20);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RedisOptions {
    /// First part of the name of each Redis key. Caches with different prefixes can share a server.
    /// `{` and `}` become `_`. Default: `larder`.
    pub prefix: String,
    /// Timeout for connecting. [`RedisStore::connect`](crate::RedisStore::connect) allows ten times
    /// as long for the first connection. Default: 100 ms.
    pub connect_timeout: Duration,
    /// Timeout of a command. A command that takes longer fails, which is a miss to the engine.
    /// Default: 50 ms.
    pub command_timeout: Duration,
    /// Largest body in bytes. A response with a longer body is not stored. Default: 64 MiB; values
    /// above 512 MiB are reduced to 512 MiB.
    pub max_object: u64,
    /// Certificate authorities to trust for servers over TLS, in PEM. They replace the default.
    /// Default: empty, which means Mozilla's root certificates.
    pub root_certificates: Vec<u8>,
    /// Whether connecting succeeds if the servers can't be reached or do not respond. Every lookup
    /// is then a miss until they are available. An invalid URL or rejected credentials are an error
    /// in any case. Default: `false`.
    pub lazy_connect: bool,
    /// Time after which a lease expires unless its holder renews it. The holder renews it three
    /// times in this period. Default: 6 s.
    pub lease_duration: Duration,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            prefix: "larder".to_owned(),
            connect_timeout: Duration::from_millis(100),
            command_timeout: Duration::from_millis(50),
            max_object: 64 << 20,
            root_certificates: Vec::new(),
            lazy_connect: false,
            lease_duration: Duration::from_secs(6),
        }
    }
}
