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
/// let options =
///     RedisOptions::default().with_prefix("shop").with_command_timeout(Duration::from_millis(20));
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
    /// Default: `None`, which is 50 ms, or four times the round trip to a server that is farther
    /// away, but at most 1 s. The round trip is measured on each new connection. A Cluster has
    /// 50 ms in any case.
    pub command_timeout: Option<Duration>,
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
    /// times in this period. If a process dies, the others wait for as long. Default: 2 s.
    pub lease_duration: Duration,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            prefix: "larder".to_owned(),
            connect_timeout: Duration::from_millis(100),
            command_timeout: None,
            max_object: 64 << 20,
            root_certificates: Vec::new(),
            lazy_connect: false,
            lease_duration: Duration::from_secs(2),
        }
    }
}

impl RedisOptions {
    /// Sets the first part of the name of each Redis key ([`prefix`](Self::prefix)).
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the timeout for connecting ([`connect_timeout`](Self::connect_timeout)).
    #[must_use]
    pub fn with_connect_timeout(mut self, connect_timeout: Duration) -> Self {
        self.connect_timeout = connect_timeout;
        self
    }

    /// Sets the timeout of a command ([`command_timeout`](Self::command_timeout)).
    #[must_use]
    pub fn with_command_timeout(mut self, command_timeout: Duration) -> Self {
        self.command_timeout = Some(command_timeout);
        self
    }

    /// Sets the largest body that is stored, in bytes ([`max_object`](Self::max_object)).
    #[must_use]
    pub fn with_max_object(mut self, max_object: u64) -> Self {
        self.max_object = max_object;
        self
    }

    /// Sets the certificate authorities to trust for servers over TLS, in PEM
    /// ([`root_certificates`](Self::root_certificates)).
    #[must_use]
    pub fn with_root_certificates(mut self, root_certificates: impl Into<Vec<u8>>) -> Self {
        self.root_certificates = root_certificates.into();
        self
    }

    /// Sets whether connecting succeeds if the servers can't be reached or do not respond
    /// ([`lazy_connect`](Self::lazy_connect)).
    #[must_use]
    pub fn with_lazy_connect(mut self, lazy_connect: bool) -> Self {
        self.lazy_connect = lazy_connect;
        self
    }

    /// Sets the time after which a lease expires unless its holder renews it
    /// ([`lease_duration`](Self::lease_duration)).
    #[must_use]
    pub fn with_lease_duration(mut self, lease_duration: Duration) -> Self {
        self.lease_duration = lease_duration;
        self
    }
}

/// Timeout of a command to a server nearby.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(50);
/// Longest timeout of a command that is derived from the round trip.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(1);
/// Timeout of a command, as a multiple of the round trip.
const ROUND_TRIPS: u32 = 4;

impl RedisOptions {
    /// Returns the timeout of a command to a server at this distance.
    pub(crate) fn command_timeout_at(&self, round_trip: Duration) -> Duration {
        let derived = (round_trip * ROUND_TRIPS).clamp(SHORTEST_TIMEOUT, LONGEST_TIMEOUT);
        self.command_timeout.unwrap_or(derived)
    }

    /// Returns the longest time that a command to one server may take, at any distance.
    pub(crate) fn longest_command_timeout(&self) -> Duration {
        self.command_timeout.unwrap_or(LONGEST_TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_follows_the_round_trip() {
        let (ms, derived) = (Duration::from_millis, RedisOptions::default());
        for (round_trip, timeout) in [(0, 50), (12, 50), (60, 240), (400, 1000)] {
            assert_eq!(derived.command_timeout_at(ms(round_trip)), ms(timeout), "{round_trip} ms");
            let given = RedisOptions::default().with_command_timeout(ms(20));
            assert_eq!(given.command_timeout_at(ms(round_trip)), ms(20));
        }
    }
}
