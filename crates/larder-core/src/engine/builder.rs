//! How a cache is put together.
use crate::*;
use std::{sync::Arc, time::Duration};
/// Settings of a cache
#[derive(Debug)]
pub struct CacheBuilder {}
impl CacheBuilder {
    pub fn rules(self, rules: Rules) -> Self { self }
    /// This cache's name in `Cache-Status`, default `larder`
    pub fn name(self, name: &str) -> Self { self }
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self { self }
    pub fn limits(self, limits: Limits) -> Self { self }
    pub fn build(self) -> Cache { unimplemented!() }
}
/// Bounds on what one request, key or cache may use.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits { pub max_object: u64, pub origin_timeout: Duration }
impl Default for Limits { fn default() -> Self { unimplemented!() } }
