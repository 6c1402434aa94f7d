#![doc = include_str!("../README.md")]

mod body;
mod connect;
mod connection;
mod error;
mod framing;
mod options;
mod origin;

pub use options::{HyperOptions, OptionsError};
pub use origin::HyperOrigin;
