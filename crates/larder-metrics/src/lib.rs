#![doc = include_str!("../README.md")]

mod counters;
mod outcome;

pub use counters::{Counters, Counts};
pub use outcome::Outcome;
