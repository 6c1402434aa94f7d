//! What a cache tells about itself, for counters and logs.

use std::fmt;

use crate::{CacheStatus, NotStorable, StoreError};

/// Is told what happens in a cache, where it happens. Called on the hot path: count, and return.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Something happened.
    fn on_event(&self, event: &Event<'_>);
}

/// Something that happened in a cache.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A request was answered.
    Answered(&'a CacheStatus),
    /// A response was not stored, by the rules.
    NotStored(NotStorable),
    /// A response is in the store, whole.
    Stored,
    /// The origin's body broke off, or did not have the length that was announced. Nothing was stored.
    BodyBroken,
    /// The store failed. The client was served all the same.
    StoreFailed {
        /// Which step.
        step: StoreStep,
        /// Why; `None` if it did not answer in time.
        error: Option<&'a StoreError>,
    },
}

/// A step of a store's work, named in [`Event::StoreFailed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreStep {
    /// Looking up a key.
    Lookup,
    /// Opening a body.
    Open,
    /// Writing an entry, from its beginning to its commit.
    Write,
    /// Giving an entry a confirmed head.
    Freshen,
    /// Removing a key, a group or everything.
    Remove,
}
