//! Defines the feed of invalidations by other processes, for stores that several processes share.

use std::fmt;

use async_trait::async_trait;

use crate::{CacheGroup, CacheKey};

/// Reports what other processes remove or replace, so that copies in a near tier can be
/// invalidated.
pub trait InvalidationFeed: fmt::Debug + Send + Sync {
    /// Starts a subscription.
    fn listen(&self) -> Box<dyn InvalidationStream>;
}

/// Receives invalidations in order.
#[async_trait]
pub trait InvalidationStream: fmt::Debug + Send {
    /// Returns the next invalidation, waiting for it if necessary.
    ///
    /// The first is [`Invalidation::Connected`], once the subscription has started.
    async fn next(&mut self) -> Invalidation;
}

/// A change that another process made, or a change of the connection's state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalidation {
    /// The entries under this key were removed or replaced.
    Key(CacheKey),
    /// Every entry of this group was removed.
    Group(CacheGroup),
    /// Every entry was removed, or the extent of the removal is unknown.
    Everything,
    /// The connection was lost. Invalidations are missed from now on, so no near copy may be
    /// served.
    Disconnected,
    /// The connection is established. Invalidations before this point were not reported; the
    /// receiver must treat its copies accordingly.
    Connected,
}
