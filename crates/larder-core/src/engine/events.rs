//! Defines the events of a cache, for counters, logs and traces. The other files of the engine
//! report them; `larder-metrics` counts them.

use std::{fmt, time::Duration};

use http::{Method, StatusCode};

use crate::{CacheKey, CacheOutcome, CacheStatus, NotStorable, StoreError};

/// Receives the events of a cache, on the task in which they occur.
///
/// It is called on the hot path: an implementation should count and return.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use larder_core::{CacheOutcome, Event, Observer};
///
/// #[derive(Debug, Default)]
/// struct Hits(AtomicU64);
///
/// impl Observer for Hits {
///     fn on_event(&self, event: &Event<'_>) {
///         if let Event::Answered(answered) = event
///             && answered.outcome == CacheOutcome::Hit
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
    /// A request was answered: the head of its response is ready, or the request failed.
    Answered(Answered<'a>),
    /// The body of an answered request has ended.
    Finished(Finished<'a>),
    /// A response was not stored because the caching rules do not allow it.
    NotStored(NotStored<'a>),
    /// A response was stored completely.
    Stored(Stored<'a>),
    /// A body from the origin was incomplete.
    BodyBroken(BodyBroken<'a>),
    /// A variant was removed from the store, because its key has too many
    /// ([`Limits::max_variants`](crate::Limits::max_variants)).
    VariantEvicted(VariantEvicted<'a>),
    /// A store operation failed, or the store refused it. Requests are served nevertheless; a purge
    /// returns the error. It is also logged as a warning, at most every 10 s for each operation,
    /// unless the entry was removed meanwhile.
    StoreFailed(StoreFailed<'a>),
}

/// The data of [`Event::Answered`]: how one request was answered.
///
/// A request that was not answered because its future was dropped has no event.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Answered<'a> {
    /// The key of the request.
    pub key: &'a CacheKey,
    /// The method of the request.
    pub method: &'a Method,
    /// How the request was handled, in one word.
    pub outcome: CacheOutcome,
    /// How the request was handled, in detail (RFC 9211).
    pub cache_status: &'a CacheStatus,
    /// The status code of the response. For a failed request, that of
    /// [`FetchError::status`](crate::FetchError::status).
    pub status: StatusCode,
    /// The time that the lookup took.
    pub lookup: Duration,
    /// The time from sending the request to the origin until the head of its response arrived.
    /// `None` if this request was not sent to the origin, or got no response from it.
    pub origin_head: Option<Duration>,
}

/// The data of [`Event::Finished`]: what was sent to the client, and how long it took.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Finished<'a> {
    /// How the request was answered.
    pub answered: Answered<'a>,
    /// Length in bytes of the body that the client received. A body that is whole in memory counts
    /// as received once it has been returned to the adapter.
    pub bytes_sent: u64,
    /// How many of these bytes the origin sent for this request; the others were stored, or fetched
    /// for another request.
    pub bytes_from_origin: u64,
    /// The time from the start of the lookup to the end of the body.
    pub whole: Duration,
    /// Whether the body was complete. It was not if it failed or the client stopped reading.
    pub complete: bool,
}

/// The data of [`Event::NotStored`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct NotStored<'a> {
    /// The key of the response.
    pub key: &'a CacheKey,
    /// The rule that does not allow it.
    pub reason: NotStorable,
}

/// The data of [`Event::Stored`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Stored<'a> {
    /// The key of the response.
    pub key: &'a CacheKey,
    /// Length of the body in bytes.
    pub bytes: u64,
}

/// The data of [`Event::BodyBroken`]: the origin's body ended early, or its length differs from the
/// announced length. Nothing was stored.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct BodyBroken<'a> {
    /// The key of the response.
    pub key: &'a CacheKey,
}

/// The data of [`Event::VariantEvicted`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct VariantEvicted<'a> {
    /// The key of the variant.
    pub key: &'a CacheKey,
}

/// The data of [`Event::StoreFailed`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct StoreFailed<'a> {
    /// The operation.
    pub step: StoreStep,
    /// The error, or `None` if the operation did not finish in time.
    pub error: Option<&'a StoreError>,
}

impl StoreFailed<'_> {
    /// Returns the reason in one word: the name of the error's kind
    /// ([`StoreErrorKind::name`](crate::StoreErrorKind::name)), or `timeout`.
    pub fn reason(&self) -> &'static str {
        self.error.map_or("timeout", |error| error.kind().name())
    }
}

/// An operation of a store, named in [`StoreFailed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreStep {
    /// Looking up a key, or claiming its lease.
    Lookup,
    /// Opening a body.
    Open,
    /// Reading a body that was opened.
    Read,
    /// Writing an entry, from its reservation to its commit.
    Write,
    /// Replacing the head of a validated entry.
    Freshen,
    /// Removing, or marking as stale, a key, a group, a prefix or everything, or evicting an entry.
    Remove,
}

impl StoreStep {
    /// All steps, in declaration order.
    pub const ALL: [Self; 6] =
        [Self::Lookup, Self::Open, Self::Read, Self::Write, Self::Freshen, Self::Remove];

    /// Returns the name in lower case, such as `lookup`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::Freshen => "freshen",
            Self::Remove => "remove",
        }
    }
}

impl fmt::Display for StoreStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
