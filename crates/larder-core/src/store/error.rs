//! Why a store could not do what it was asked.

use std::{borrow::Cow, error::Error, fmt};

/// A store could not do what it was asked.
///
/// To the engine every one of these means *use the origin*: a client never sees a `StoreError`
/// while the origin can answer. The [kind](Self::kind) only decides what is counted and whether the
/// store is left alone for a while.
///
/// `Display` prints this level alone, and never a URL, a field value or a key: those may be secret.
/// Causes are in [`source`](Error::source).
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    store: &'static str,
    detail: Cow<'static, str>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Told apart because the engine, or a person, does something different about each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Nobody answered, or not in time. Later may be better.
    Unavailable,
    /// There is no room, or this response alone is over the limit. A person raises the limit.
    Full,
    /// What was read is not what was written. The store has removed it before it says so.
    Corrupt,
    /// Removed, replaced or evicted since it was looked up. Ordinary: counted, not logged.
    Gone,
}

impl StoreError {
    /// An error of the store called `store`, such as `"memory"`; `detail` says what failed on what and, where
    /// a person can do something about it, what.
    pub fn new(kind: StoreErrorKind, store: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, store, detail: detail.into(), source: None }
    }

    /// A body that is longer than the `most` bytes that the store called `store` takes: [`Full`](StoreErrorKind::Full).
    pub fn too_long(store: &'static str, most: u64) -> Self {
        let detail = format!("the body is longer than {most} bytes (raise max_object)");
        Self::new(StoreErrorKind::Full, store, detail)
    }

    /// Keeps the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Which store failed.
    pub fn store(&self) -> &'static str {
        self.store
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.kind {
            StoreErrorKind::Unavailable => "is unavailable",
            StoreErrorKind::Full => "is full",
            StoreErrorKind::Corrupt => "held a corrupt entry",
            StoreErrorKind::Gone => "no longer has the entry",
        };
        write!(f, "{} store {state}: {}", self.store, self.detail)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
