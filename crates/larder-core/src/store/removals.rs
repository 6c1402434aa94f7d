//! Defines how a process learns that another one has removed a key, for stores that several
//! processes share. The engine compares tokens before a request shares a fetch in progress: see
//! `engine::miss`.

use std::fmt;

use async_trait::async_trait;

use super::StoreError;
use crate::CacheKey;

/// Reports whether a key may have been removed since an earlier time, by any process.
///
/// # Signatures
///
/// The trait is implemented with `#[async_trait]` of the crate `async-trait`. This page shows the
/// signatures that it generates; written by hand, the
/// method is `async fn token(&self, key: &CacheKey) -> Result<RemovalToken, StoreError>`.
#[async_trait]
pub trait Removals: fmt::Debug + Send + Sync {
    /// Returns the token of `key`. It differs from all earlier ones if the key, any group, a prefix
    /// of its URL or everything has been removed in between, by this process or another.
    ///
    /// A token that was read after a removal has returned never equals one from before it. The
    /// token may also change without a removal, which only makes requests fetch again.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store could not be read.
    async fn token(&self, key: &CacheKey) -> Result<RemovalToken, StoreError>;
}

/// What [`Removals::token`] returns: equal tokens mean that nothing was removed in between.
///
/// ```
/// use larder_core::RemovalToken;
///
/// // The sequence number of a key's last removal.
/// assert_ne!(RemovalToken(7), RemovalToken(8));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RemovalToken(pub u64);
