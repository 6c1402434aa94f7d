//! Counts the connections of each client over all workers.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Number of parts of the count, each with a lock of its own.
const SHARDS: usize = 16;

/// The number of connections that each client has to the server.
#[derive(Debug)]
pub(super) struct ClientCounts {
    max: usize,
    shards: [Mutex<HashMap<Client, usize>>; SHARDS],
}

/// Whom a connection counts for: an IPv4 address, or a network of IPv6 of the size that one site
/// gets (RFC 6177).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Client {
    V4(u32),
    V6(u64),
}

impl Client {
    /// Returns the client at an address.
    fn at(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments().map(u64::from);
                Self::V6(a << 48 | b << 32 | c << 16 | d)
            }
        }
    }

    /// Returns the part of the count that it belongs to.
    fn shard(self) -> usize {
        let bits = match self {
            Self::V4(bits) => u64::from(bits),
            Self::V6(bits) => bits,
        };
        // Mixes all bits into the upper four.
        (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as usize
    }
}

impl ClientCounts {
    /// Creates a count in which a client may have `max` connections.
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max: max.max(1), shards: Default::default() })
    }

    /// Counts a connection of the client at `address`, until the returned value is dropped. Returns
    /// `None` if that client has as many as it may have.
    pub(super) fn count(self: &Arc<Self>, address: IpAddr) -> Option<CountedClient> {
        let client = Client::at(address);
        match self.shard(client).entry(client) {
            Entry::Occupied(count) if *count.get() >= self.max => return None,
            count => *count.or_default() += 1,
        }
        Some(CountedClient { counts: Arc::clone(self), client })
    }

    fn shard(&self, client: Client) -> MutexGuard<'_, HashMap<Client, usize>> {
        self.shards[client.shard()].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is counted for its client until this is dropped.
#[derive(Debug)]
pub(super) struct CountedClient {
    counts: Arc<ClientCounts>,
    client: Client,
}

impl Drop for CountedClient {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.counts.shard(self.client).entry(self.client) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_a_limit_of_its_own() {
        let counts = ClientCounts::new(2);
        let open = |address: &str| counts.count(address.parse().expect("an address"));
        let first = open("192.0.2.1").expect("the first");
        let second = open("::ffff:192.0.2.1").expect("the second");
        assert!(open("192.0.2.1").is_none(), "the third of one client");
        let other = open("192.0.2.2").expect("another client");
        drop(first);
        let third = open("192.0.2.1").expect("the first has been closed");
        let six = [open("2001:db8::1"), open("2001:db8::2")];
        assert!(open("2001:db8::ffff:3").is_none(), "an address of the same network");
        assert!(open("2001:db8:0:1::1").is_some());
        drop((six, third, second, other));
        let left: usize = counts.shards.iter().map(|shard| shard.lock().expect("no panic").len()).sum();
        assert_eq!(left, 0, "clients without connections use no memory");
    }
}
