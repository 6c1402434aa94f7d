#![doc = include_str!("../README.md")]

mod error;
mod loader;
mod value;

pub use error::{JsonError, ValueError};
pub use value::{Value, Values};
