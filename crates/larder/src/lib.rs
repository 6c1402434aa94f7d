#![doc = include_str!("../README.md")]

pub use larder_core as core;

#[cfg(feature = "actix")]
pub use larder_actix as actix;
#[cfg(feature = "compress")]
pub use larder_compress as compress;
#[cfg(feature = "disk")]
pub use larder_disk as disk;
#[cfg(feature = "hyper")]
pub use larder_hyper as hyper;
#[cfg(feature = "memory")]
pub use larder_memory as memory;
#[cfg(feature = "metrics")]
pub use larder_metrics as metrics;
#[cfg(feature = "origins")]
pub use larder_origins as origins;
#[cfg(feature = "redis")]
pub use larder_redis as redis;
#[cfg(feature = "reqwest")]
pub use larder_reqwest as reqwest;
#[cfg(feature = "tiered")]
pub use larder_tiered as tiered;
#[cfg(feature = "tower")]
pub use larder_tower as tower;
#[cfg(feature = "values")]
pub use larder_values as values;

/// The names that most programs need.
pub mod prelude {
    pub use larder_core::{
        Answer, Body, Cache, CacheGroup, CacheStatus, CacheStore, Limits, Origin, Rules, TargetUri,
    };
    #[cfg(feature = "disk")]
    pub use larder_disk::{DiskOptions, DiskStore};
    #[cfg(feature = "hyper")]
    pub use larder_hyper::{HyperOptions, HyperOrigin};
    #[cfg(feature = "memory")]
    pub use larder_memory::MemoryStore;
    #[cfg(feature = "redis")]
    pub use larder_redis::{RedisOptions, RedisStore};
    #[cfg(feature = "reqwest")]
    pub use larder_reqwest::CachedClient;
    #[cfg(feature = "tiered")]
    pub use larder_tiered::TieredStore;
    #[cfg(feature = "tower")]
    pub use larder_tower::CacheLayer;
}
