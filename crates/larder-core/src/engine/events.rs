//! Defines the events of a cache, for counters and logs. The other files of the engine report them;
//! `larder-metrics` counts them.

use std::fmt;

use crate::{CacheStatus, NotStorable, StoreError};

/// Receives the events of a cache, on the task in which they occur.
///
/// It is called on the hot path: an implementation should count and return.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use larder_core::{Event, Observer};
///
/// #[derive(Debug, Default)]
/// struct Hits(AtomicU64);
///
/// impl Observer for Hits {
///     fn on_event(&self, event: &Event<'_>) {
///         if let Event::Answered(status) = event
///             && status.hit
///         {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
/// ```
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Handles one event.
    fn on_event(&self, event: &Event<'_>);
}

/// An event of a cache.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A request was answered.
    Answered(&'a CacheStatus),
    /// A response was not stored because the caching rules do not allow it.
    NotStored(NotStorable),
    /// A response was stored completely.
    Stored,
    /// The origin's body ended early, or its length differs from the announced length. Nothing was
    /// stored.
    BodyBroken,
    /// A store operation failed. Requests are served nevertheless; a purge returns the error.
    StoreFailed {
        /// The operation.
        step: StoreStep,
        /// The error, or `None` if the operation did not finish in time.
        error: Option<&'a StoreError>,
    },
}

/// An operation of a store, named in [`Event::StoreFailed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreStep {
    /// Looking up a key, or claiming its lease.
    Lookup,
    /// Opening a body.
    Open,
    /// Writing an entry, from its reservation to its commit.
    Write,
    /// Replacing the head of a validated entry.
    Freshen,
    /// Removing, or marking as stale, a key, a group, a prefix or everything.
    Remove,
}
