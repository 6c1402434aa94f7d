#![doc = include_str!("../README.md")]

mod failover;
mod health;
mod rewriting;

pub use failover::{Balance, Failover, FailoverOptions};
pub use health::{Health, HealthCheck, OriginHealth};
pub use rewriting::{FieldRules, Rewriting};
