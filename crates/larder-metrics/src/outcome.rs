//! What became of a request, in one word.

use larder_core::{CacheStatus, Fwd};

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// From the cache, fresh.
    Hit,
    /// From the cache, past its freshness: while it is revalidated, or since the origin failed.
    Stale,
    /// From the cache, after the origin has confirmed it.
    Revalidated,
    /// From another request's fetch.
    Collapsed,
    /// From the origin.
    Miss,
    /// From the origin, since the method or the request keeps the cache out of it.
    Pass,
    /// The origin gave no response, and nothing stored could stand in.
    Failed,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Hit, Self::Stale, Self::Revalidated, Self::Collapsed, Self::Miss, Self::Pass, Self::Failed];

    /// From what the cache says of its answer.
    pub fn of(status: &CacheStatus) -> Self {
        let stale = status.ttl.is_some_and(|ttl| ttl < 0);
        match status.fwd {
            _ if status.hit => {
                if stale {
                    Self::Stale
                } else {
                    Self::Hit
                }
            }
            _ if status.collapsed => Self::Collapsed,
            Some(_) if status.detail == Some("stale-if-error") => Self::Stale,
            Some(_) if status.fwd_status.is_some_and(|code| code == 304) => Self::Revalidated,
            Some(Fwd::Method | Fwd::Request | Fwd::Bypass) if status.fwd_status.is_some() => Self::Pass,
            Some(_) if status.fwd_status.is_some() => Self::Miss,
            _ => Self::Failed,
        }
    }

    /// As a label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Collapsed => "collapsed",
            Self::Miss => "miss",
            Self::Pass => "pass",
            Self::Failed => "failed",
        }
    }
}
