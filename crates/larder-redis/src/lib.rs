#![doc = include_str!("../README.md")]

// Where to change what:
//
// - atomic steps on the server (Lua): `scripts`; names of keys: `keys`; bytes of a value: `record`
// - finding an entry: `lookup`, `body`; writing one: `writer`
// - removal: `store` (key, group, epoch), `scan` (URL prefix, everything)
// - invalidations of other processes: `invalidations`; leases: `leases`, `lease_events`
// - servers and URLs: `options`, `connect`, `connection`; commands and timeouts: `client`, `breaker`

mod body;
mod breaker;
mod client;
mod connect;
mod connection;
mod error;
mod invalidations;
mod keys;
mod lease_events;
mod leases;
mod lookup;
mod options;
mod record;
mod scan;
mod scripts;
mod stats;
mod store;
mod token;
mod writer;

pub use options::{RedisConnectError, RedisOptions};
pub use stats::RedisStats;
pub use store::RedisStore;
