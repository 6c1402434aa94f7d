#![doc = include_str!("../README.md")]

// Where to change what:
//
// - atomic steps on the server (Lua): `scripts`; names of keys: `keys`; bytes of a value: `record`
// - finding an entry: `lookup`, `body`; writing one: `writer`; replacing its head: `freshen`
// - removal: `removal` (key, group), `scan` (URL prefix, everything); against writes: `barrier`
// - how long values are stored: `ttl`; what all parts share: `shared`
// - invalidations of other processes: `messages`, `invalidations`; leases: `leases`, `lease_events`
// - servers and URLs: `options`, `connect`, `connection`
// - commands and timeouts: `client`, `breaker`

mod barrier;
mod body;
mod breaker;
mod client;
mod connect;
mod connection;
mod error;
mod freshen;
mod invalidations;
mod keys;
mod lease_events;
mod leases;
mod lookup;
mod messages;
mod options;
mod record;
mod removal;
mod scan;
mod scripts;
mod shared;
mod stats;
mod store;
mod token;
mod ttl;
mod writer;

pub use options::{RedisConnectError, RedisOptions};
pub use stats::RedisStats;
pub use store::RedisStore;
