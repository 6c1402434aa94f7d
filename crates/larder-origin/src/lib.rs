#![doc = include_str!("../README.md")]

mod body;
mod connect;
mod connection;
mod error;
mod failover;
mod framing;
mod header_rewrite;
mod health;
mod options;
mod origin;

pub use failover::{Balance, Failover, FailoverOptions};
pub use header_rewrite::{HeaderRewrite, HeaderRules};
pub use health::{Health, HealthCheck, OriginHealth};
pub use options::{HyperOptions, OptionsError};
pub use origin::HyperOrigin;
