//! Defines [`StoreError`], the error of a store's operations. A client gets none of them while the
//! origin responds.

use std::{borrow::Cow, error::Error, fmt};

use crate::error_chain::debug_as_chain;

/// The error of a store operation.
///
/// The engine reacts to each of these by *using the origin*: a client never receives a `StoreError`
/// while the origin responds. Only a purge returns it to its caller. The [kind](Self::kind) is for
/// counters and logs; only [`Gone`](StoreErrorKind::Gone) also affects control flow, since it is
/// not a failure.
///
/// `Display` prints this error alone, without its sources, and never a URL, a header value or a
/// key, because those may be secret. The sources are available through [`source`](Error::source).
///
/// ```
/// use larder_core::{StoreError, StoreErrorKind};
///
/// let error = StoreError::new(StoreErrorKind::Unavailable, "redis", "no reply within 1 s");
/// assert_eq!(error.to_string(), "redis store is unavailable: no reply within 1 s");
/// ```
pub struct StoreError {
    kind: StoreErrorKind,
    store: &'static str,
    detail: Cow<'static, str>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The kind of a store error. Each kind needs a different reaction of the store or of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The store did not respond, or not in time. A later attempt may succeed.
    Unavailable,
    /// The store is full, or this response alone exceeds its limit. An operator can raise the
    /// limit.
    Full,
    /// The bytes that were read are not the bytes that were written. The store has removed the
    /// entry.
    Corrupt,
    /// The entry was removed, replaced or evicted after it was looked up or reserved. This is
    /// normal in a cache that is being purged or is full.
    Gone,
}

impl StoreErrorKind {
    /// All kinds, in declaration order.
    pub const ALL: [Self; 4] = [Self::Unavailable, Self::Full, Self::Corrupt, Self::Gone];

    /// Returns the name in lower case, such as `unavailable`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Full => "full",
            Self::Corrupt => "corrupt",
            Self::Gone => "gone",
        }
    }
}

impl StoreError {
    /// Creates an error of the store named `store`, such as `"memory"`.
    ///
    /// `detail` states what failed on what and, where possible, what an operator can do.
    pub fn new(kind: StoreErrorKind, store: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, store, detail: detail.into(), source: None }
    }

    /// Creates a [`Full`](StoreErrorKind::Full) error for a body longer than the `max_len` bytes
    /// that the store named `store` accepts.
    pub fn too_long(store: &'static str, max_len: u64) -> Self {
        let detail = format!("the body is longer than {max_len} bytes (raise max_object)");
        Self::new(StoreErrorKind::Full, store, detail)
    }

    /// Sets the underlying error, which [`source`](Error::source) returns.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the kind of failure.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Returns the name of the store that failed.
    pub fn store(&self) -> &'static str {
        self.store
    }
}

impl StoreError {
    /// Appends a hint to the detail.
    pub(crate) fn with_hint(mut self, hint: &str) -> Self {
        self.detail = format!("{}; {hint}", self.detail).into();
        self
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.kind {
            StoreErrorKind::Unavailable => "is unavailable",
            StoreErrorKind::Full => "is full",
            StoreErrorKind::Corrupt => "had a corrupt entry",
            StoreErrorKind::Gone => "no longer has the entry",
        };
        write!(f, "{} store {state}: {}", self.store, self.detail)
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_as_chain(self, f)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
