#![doc = include_str!("../README.md")]

mod body;
mod breaker;
mod client;
mod connect;
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
