#![doc = include_str!("../README.md")]

mod layer;
mod origin;
mod service;

pub use layer::CacheLayer;
pub use service::CacheService;
