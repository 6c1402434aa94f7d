//! Defines the reports of runs. `task` creates them, and this module's parent has their stream.

use std::fmt;

use http::StatusCode;
use reqwest::Url;

use super::snapshot::Validators;
use crate::Error;

/// A report of one run: the page and the outcome.
#[derive(Debug)]
#[non_exhaustive]
pub struct RefreshEvent {
    /// The URL of the page.
    pub url: Url,
    /// The outcome of the run.
    pub outcome: RefreshOutcome,
}

/// The outcome of a run.
#[derive(Debug)]
#[non_exhaustive]
pub enum RefreshOutcome {
    /// The page has the same content as before.
    Unchanged,
    /// The page has changed, or was fetched for the first time. To read it, send a GET request with
    /// the client: the response is in the cache if it may be stored.
    Changed {
        /// The validators before the change; `None` if the page was not stored.
        before: Option<Validators>,
        /// The current validators.
        now: Validators,
    },
    /// The server responded with this error status (400 or above). The stored response is
    /// unchanged.
    ErrorStatus(StatusCode),
    /// The server sent no response, or an incomplete one. The stored response is unchanged.
    Failed(Error),
}

impl RefreshOutcome {
    /// Returns the name in lower case: `unchanged`, `changed`, `refused` (an error status) or
    /// `failed`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Changed { .. } => "changed",
            Self::ErrorStatus(_) => "refused",
            Self::Failed(_) => "failed",
        }
    }
}

impl fmt::Display for RefreshOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::ErrorStatus(status) => write!(f, ": {status}"),
            Self::Failed(error) => write!(f, ": {error}"),
            _ => Ok(()),
        }
    }
}
