#![doc = include_str!("../README.md")]

mod balance;
mod body;
mod budget;
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
mod upgrade;
mod url_rewrite;

pub use balance::Balance;
pub use failover::{Failover, FailoverOptions};
pub use header_rewrite::{HeaderRewrite, HeaderRules};
pub use health::{Health, HealthCheck, OriginHealth};
pub use options::{ClientCertificate, HyperOptions, OptionsError, TrustedRoots};
pub use origin::HyperOrigin;
pub use url_rewrite::UrlRewrite;
