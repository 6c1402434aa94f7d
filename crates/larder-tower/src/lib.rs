#![doc = include_str!("../README.md")]

mod layer;
mod origin;
mod service;
mod target;

pub use layer::CacheLayer;
pub use service::CacheService;
