//! How a request was answered, in a word.

use std::fmt;

use http::StatusCode;
use larder_core::CacheStatus;

/// How a request was answered, in a word; [`CacheStatus`] has the details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// From the cache, without the origin.
    Hit,
    /// From the cache, stale: it was allowed, or the origin failed.
    Stale,
    /// From the cache, after the origin said that it is unchanged.
    Revalidated,
    /// From the origin.
    Miss,
}

impl Outcome {
    pub(crate) fn of(status: &CacheStatus, has_age: bool) -> Self {
        if status.hit || status.ttl.is_some() && status.fwd.is_some() {
            let stale = status.fwd.is_some() || status.ttl.is_some_and(|ttl| ttl < 0);
            return if stale { Self::Stale } else { Self::Hit };
        }
        match status.fwd_status {
            Some(StatusCode::NOT_MODIFIED) => Self::Revalidated,
            // Another request's fetch answered it.
            None if status.collapsed && has_age => Self::Hit,
            _ => Self::Miss,
        }
    }

    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Miss => "miss",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
