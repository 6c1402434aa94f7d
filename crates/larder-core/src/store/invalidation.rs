//! Defines the feed of invalidations by other processes, for stores that several processes share.
//!
//! `larder-redis` provides it, and `larder-tiered` applies it to its near tier.

use std::{fmt, time::Instant};

use async_trait::async_trait;

use crate::{CacheGroup, CacheKey};

/// Reports what other processes remove, replace or mark as stale, so that copies in a near tier can
/// be invalidated.
///
/// Changes by this process need not be reported: a wrapper such as `larder-tiered` sees those
/// calls.
pub trait InvalidationFeed: fmt::Debug + Send + Sync {
    /// Starts a subscription, which ends when the returned stream is dropped.
    fn listen(&self) -> Box<dyn InvalidationStream>;
}

/// Receives invalidations in order.
#[async_trait]
pub trait InvalidationStream: fmt::Debug + Send {
    /// Returns the next invalidation, waiting for it if necessary.
    ///
    /// The first is [`Invalidation::Connected`], once the subscription has started. After a lost
    /// connection the stream reconnects without help.
    async fn next(&mut self) -> Invalidation;
}

/// A change that another process made, or a change of the connection's state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalidation {
    /// The entries under this key changed: one of them was removed, replaced or freshened, or a
    /// further variant was stored.
    Key(CacheKey),
    /// Every entry of this group was removed or marked as stale.
    Group(CacheGroup),
    /// Every entry was removed, or any number of entries was removed or marked as stale.
    Everything,
    /// The feed is known to have missed nothing so far, and near copies may be served until this
    /// time, unless a later one follows. A feed that never sends it is alive while it is connected.
    AliveUntil(Instant),
    /// The connection was lost. Invalidations are missed from now on, so no near copy may be
    /// served.
    Disconnected,
    /// The connection is established. Invalidations may have been missed before this point, so the
    /// receiver must remove all its copies before it serves any again.
    Connected,
}
