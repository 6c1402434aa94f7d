#![doc = include_str!("../README.md")]

mod store;
mod trust;
mod writer;

pub use store::TieredStore;
