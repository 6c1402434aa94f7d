//! Defines request collapsing across processes, for stores that several processes share. Collapsing
//! within a process needs no store: see `engine::miss`.

use std::fmt;

use async_trait::async_trait;

use super::StoreError;
use crate::CacheKey;

/// Allows one of several processes to fetch a key while the others wait.
///
/// # Signatures
///
/// The trait is implemented with `#[async_trait]` of the crate `async-trait`. This page shows the
/// signatures that it generates; written by hand, the
/// method is `async fn claim(&self, key: &CacheKey) -> Result<Claim, StoreError>`.
#[async_trait]
pub trait Leases: fmt::Debug + Send + Sync {
    /// Requests the right to fetch `key`.
    ///
    /// A request claims a key at most three times. If another process holds the lease each time,
    /// the request is forwarded without one.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store could not decide. The engine then fetches without a
    /// lease.
    async fn claim(&self, key: &CacheKey) -> Result<Claim, StoreError>;

    /// Returns whether a lookup that begins after a claim is carried out after it, although the
    /// result of the claim is not known yet. Remote stores do so that send both over one
    /// connection, and the engine then waits for one round trip instead of two. If it is `false`,
    /// the lookup begins when the claim has ended.
    ///
    /// A lookup that is carried out before the claim may miss what the last holder of the lease has
    /// stored, and the key is fetched twice.
    fn precede_lookups(&self) -> bool;
}

/// The result of [`Leases::claim`].
#[derive(Debug)]
pub enum Claim {
    /// This process may fetch. It holds the lease until the response is stored or turns out not to
    /// be storable. Dropping the lease allows a waiting process to continue.
    Granted(Box<dyn Lease>),
    /// Another process is fetching. Wait for its release, then look up again.
    Held(Box<dyn HeldLease>),
}

/// The right to fetch a key. It is released when dropped, and expires if its process dies.
pub trait Lease: fmt::Debug + Send + Sync {}

/// A lease that another process holds.
///
/// # Signatures
///
/// The trait is implemented with `#[async_trait]` of the crate `async-trait`. This page shows the
/// signatures that it generates; written by hand, the
/// method is `async fn released(self: Box<Self>)`.
#[async_trait]
pub trait HeldLease: fmt::Debug + Send {
    /// Waits until the holder has stored the response, has released the lease, or has died.
    ///
    /// The engine waits for at most 30 s by default (`Limits::collapse_timeout`), and then fetches
    /// without a lease.
    async fn released(self: Box<Self>);
}
