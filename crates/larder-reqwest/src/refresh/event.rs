//! Defines the reports of runs. `task` creates them, and this module's parent has their stream.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use http::StatusCode;
use reqwest::Url;

use super::snapshot::Validators;
use crate::{Error, Response};

/// A report of one run: the page, the outcome, why, and when the next run is due.
#[derive(Debug)]
#[non_exhaustive]
pub struct RefreshEvent {
    /// The URL of the page.
    pub url: Url,
    /// The outcome of the run.
    pub outcome: RefreshOutcome,
    /// What the outcome is based on.
    pub reason: RefreshReason,
    /// The response of a page that has changed, with its whole body in memory.
    ///
    /// `None` if the page has not changed, if its body is longer than
    /// [`RefresherBuilder::max_body`](crate::RefresherBuilder::max_body), or if the bodies of unread
    /// events have more than 64 MiB already. Then send a GET request with the client: the response
    /// is in the cache if it may be stored.
    pub response: Option<Response>,
    /// The time of the next run of the page, by the wall clock. `None` if there is none: the page
    /// is gone, or its schedule has no further occurrence within 100 years.
    pub next: Option<SystemTime>,
    /// The pause that the server requested with `Retry-After`, within the limit of
    /// [`RefresherBuilder::max_retry_after`](crate::RefresherBuilder::max_retry_after). Until its end
    /// nothing is sent to the host.
    pub retry_after: Option<Duration>,
    /// The bytes of the response, while the event is unread.
    pub(super) unread: Unread,
}

/// What the outcome of a run is based on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefreshReason {
    /// The server has confirmed the stored response (304).
    NotModified,
    /// The content was compared with that of the run before.
    Content,
    /// Another process, or another request, has fetched the page in this round. Its content was
    /// compared with that of the run before.
    Elsewhere,
    /// The status of the response, such as 503 or 410, or a permanent redirect.
    Status,
    /// There was no response, or an incomplete one.
    Failure,
    /// An earlier response of the host has requested a pause; nothing was sent.
    Pause,
}

/// The outcome of a run.
#[derive(Debug)]
#[non_exhaustive]
pub enum RefreshOutcome {
    /// The page has the same content as before.
    Unchanged,
    /// The page has changed, or was fetched for the first time: its bytes differ, whatever its
    /// validators are. [`RefreshEvent::response`] has the response.
    Changed {
        /// The validators before the change; `None` if the page was not stored.
        before: Option<Validators>,
        /// The current validators.
        now: Validators,
    },
    /// The page has moved permanently to this URL (301 or 308). It is followed there, and another
    /// event reports its content. Reported once for each new URL.
    Moved(Url),
    /// The page is gone (410). It was removed from the set.
    Gone,
    /// Nothing was sent, because the page's host has requested a pause. The page is due when that
    /// has passed.
    Blocked,
    /// The server responded with this error status (400 or above). The stored response is
    /// unchanged.
    ErrorStatus(StatusCode),
    /// The server sent no response, or an incomplete one. The stored response is unchanged.
    Failed(Error),
}

impl RefreshReason {
    /// Returns the name in lower case: `not-modified`, `content`, `elsewhere`, `status`, `failure`
    /// or `pause`.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotModified => "not-modified",
            Self::Content => "content",
            Self::Elsewhere => "elsewhere",
            Self::Status => "status",
            Self::Failure => "failure",
            Self::Pause => "pause",
        }
    }
}

impl fmt::Display for RefreshReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl RefreshOutcome {
    /// Returns the name in lower case: `unchanged`, `changed`, `moved`, `gone`, `blocked`,
    /// `refused` (an error status) or `failed`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Changed { .. } => "changed",
            Self::Moved(_) => "moved",
            Self::Gone => "gone",
            Self::Blocked => "blocked",
            Self::ErrorStatus(_) => "refused",
            Self::Failed(_) => "failed",
        }
    }
}

impl fmt::Display for RefreshOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Moved(url) => write!(f, ": {url}"),
            Self::ErrorStatus(status) => write!(f, ": {status}"),
            Self::Failed(error) => write!(f, ": {error}"),
            _ => Ok(()),
        }
    }
}

/// The bytes of responses in events that have not been read. Clones share the sum.
#[derive(Debug, Clone, Default)]
pub(super) struct UnreadBytes(Arc<AtomicU64>);

/// A part of the sum. It is subtracted when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Unread {
    sum: UnreadBytes,
    bytes: u64,
}

impl UnreadBytes {
    /// Adds the bytes of a response, if the sum then has at most `limit`.
    pub(super) fn add(&self, bytes: u64, limit: u64) -> Option<Unread> {
        let added = |sum: u64| sum.checked_add(bytes).filter(|sum| *sum <= limit);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, added).ok()?;
        Some(Unread { sum: self.clone(), bytes })
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.sum.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
