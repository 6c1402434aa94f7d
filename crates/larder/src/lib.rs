#![doc = include_str!("../README.md")]

pub use http;
pub use larder_core as core;

#[cfg(feature = "actix")]
pub use larder_actix as actix;
#[cfg(feature = "cassette")]
pub use larder_cassette as cassette;
#[cfg(feature = "compress")]
pub use larder_compress as compress;
#[cfg(feature = "disk")]
pub use larder_disk as disk;
#[cfg(feature = "memoize")]
pub use larder_memoize as memoize;
#[cfg(feature = "memory")]
pub use larder_memory as memory;
#[cfg(feature = "metrics")]
pub use larder_metrics as metrics;
#[cfg(feature = "origin")]
pub use larder_origin as origin;
#[cfg(feature = "proxy")]
pub use larder_proxy as proxy;
#[cfg(feature = "redis")]
pub use larder_redis as redis;
#[cfg(feature = "client")]
pub use larder_reqwest as client;
#[cfg(feature = "tiered")]
pub use larder_tiered as tiered;
#[cfg(feature = "tower")]
pub use larder_tower as tower;

/// The names that most programs need, of the modules that the features select.
pub mod prelude {
    pub use larder_core::{
        Body, Cache, CacheGroup, CacheKey, CacheResponse, CacheStatus, CacheStore, FetchError, Limits,
        Origin, OriginError, Rules, Scope, TargetUri,
    };
    #[cfg(feature = "disk")]
    pub use larder_disk::{DiskOptions, DiskStore};
    #[cfg(feature = "memory")]
    pub use larder_memory::MemoryStore;
    #[cfg(feature = "origin")]
    pub use larder_origin::{HyperOptions, HyperOrigin};
    #[cfg(feature = "redis")]
    pub use larder_redis::{RedisOptions, RedisStore};
    #[cfg(feature = "client")]
    pub use larder_reqwest::CachedClient;
    #[cfg(feature = "tiered")]
    pub use larder_tiered::TieredStore;
    #[cfg(feature = "tower")]
    pub use larder_tower::CacheLayer;
}
