#![doc = include_str!("../README.md")]

mod body;
mod connect;
mod error;
mod options;
mod origin;

pub use options::{HyperOptions, OptionsError};
pub use origin::HyperOrigin;
