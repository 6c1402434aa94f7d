#![doc = include_str!("../README.md")]

mod body;
mod connect;
mod destination;
mod dial;
mod error;
mod failover;
mod framing;
mod header_rewrite;
mod health;
mod log;
mod options;
mod origin;
mod pool;
#[cfg(feature = "tls")]
mod tls;

pub use failover::{Balance, Failover, FailoverOptions};
pub use header_rewrite::{HeaderRewrite, HeaderRules};
pub use health::{Health, HealthCheck, OriginHealth};
pub use options::{ClientCertificate, HyperOptions, OptionsError, TrustedRoots};
pub use origin::HyperOrigin;
