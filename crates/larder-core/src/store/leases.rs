//! Request collapsing across processes, for stores that several of them share.

use std::fmt;

use async_trait::async_trait;

use super::StoreError;
use crate::CacheKey;

/// The ability to let one of several processes fetch a key while the others wait.
#[async_trait]
pub trait Leases: fmt::Debug + Send + Sync {
    /// Asks for the right to fetch `key`.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`] means that nobody can tell: the engine fetches.
    async fn claim(&self, key: &CacheKey) -> Result<Claim, StoreError>;
}

/// The answer to [`Leases::claim`].
#[derive(Debug)]
pub enum Claim {
    /// Fetch, and hold this until the response is stored or turned out not to be storable.
    /// Dropping it lets a waiter of another process go on.
    Granted(Box<dyn Lease>),
    /// Somebody else fetches: wait, then look up again.
    Held(Box<dyn HeldLease>),
}

/// The right to fetch a key. Given back when dropped; runs out by itself when its holder dies.
pub trait Lease: fmt::Debug + Send + Sync {}

/// A lease that another process holds.
#[async_trait]
pub trait HeldLease: fmt::Debug + Send {
    /// Returns when the holder has stored the response, given up or died. The engine bounds the wait.
    async fn released(self: Box<Self>);
}
