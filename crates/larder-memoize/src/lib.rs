#![doc = include_str!("../README.md")]

mod error;
mod loader;
mod value;

pub use error::ValueError;
pub use value::{Value, Values};
