//! Hearing of what others remove, for stores that several processes share.

use std::fmt;

use async_trait::async_trait;

use crate::{CacheGroup, CacheKey};

/// The ability to tell what other processes have removed or replaced: what a nearer copy has to know.
pub trait InvalidationFeed: fmt::Debug + Send + Sync {
    /// Begins to listen.
    fn listen(&self) -> Box<dyn InvalidationStream>;
}

/// Hears of removals, one after the other.
#[async_trait]
pub trait InvalidationStream: fmt::Debug + Send {
    /// The next one. The first is [`Invalidation::Connected`], when listening has begun.
    async fn next(&mut self) -> Invalidation;
}

/// What another process has done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalidation {
    /// What was stored under this key is not what is stored now.
    Key(CacheKey),
    /// Every entry of this group is gone.
    Group(CacheGroup),
    /// Everything is gone, or nobody can say what.
    Everything,
    /// The connection is lost: removals are missed from now on, and no copy may be believed.
    Disconnected,
    /// The connection is there. Whatever was removed before this is for the caller to know.
    Connected,
}
