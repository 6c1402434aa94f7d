#![doc = include_str!("../README.md")]

// Where to change what:
//
// - atomic steps on the server (Lua): `client/scripts`
// - names of keys: `entries/keys`; bytes of a value: `entries/record`; TTLs: `entries/ttl`;
//   `FORMAT.md` describes all of them
// - finding an entry: `entries/lookup`, `entries/body`
// - writing one: `entries/writer`; replacing its head: `entries/freshen`
// - removal: `entries/removal` (key), `entries/groups`, `entries/scan` (URL prefix, everything)
// - order of removals and writes: `entries/barrier`; lost removals: `entries/suspects`
// - invalidations of other processes: `fleet/messages`, `fleet/invalidations`; waiting for them:
//   `fleet/acknowledgements`; fetches in other processes: `fleet/removals`
// - leases: `fleet/leases`, `fleet/lease_events`
// - URLs: `client/servers`; connecting: `client/sentinels`, `client/connect`, `client/connection`
// - commands and timeouts: `client`, `client/breaker`
// - what all parts share: `shared`; the operations of the contract: `store`

mod client;
mod entries;
mod error;
mod fleet;
mod options;
mod shared;
mod stats;
mod store;
mod token;

pub use error::RedisConnectError;
pub use options::RedisOptions;
pub use stats::RedisStats;
pub use store::RedisStore;
