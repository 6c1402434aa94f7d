//! Defines how a body ends: its error, and what those who observe it learn.

use std::{error::Error, fmt};

/// The reason why a body ended before it was complete.
///
/// Code that reads a body must forward its error: a failed body is never treated as a shorter body.
pub type BodyError = Box<dyn Error + Send + Sync>;

/// The reason why [`Body::into_bytes`](crate::Body::into_bytes) returned no bytes.
///
/// ```
/// use larder_core::{Body, BodyReadError};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let too_long = Body::from("hello").into_bytes(4).await;
/// assert!(matches!(too_long, Err(BodyReadError::TooLong { limit: 4 })));
/// # });
/// ```
#[derive(Debug)]
pub enum BodyReadError {
    /// The body is longer than this limit, in bytes.
    TooLong {
        /// The limit that was passed to `into_bytes`.
        limit: usize,
    },
    /// The body failed: it is incomplete.
    Failed(BodyError),
}

impl fmt::Display for BodyReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { limit } => write!(f, "the body is longer than {limit} bytes"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl Error for BodyReadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::TooLong { .. } => None,
            Self::Failed(error) => error.source(),
        }
    }
}

/// How a body ended; see [`Body::on_end`](crate::Body::on_end).
///
/// ```
/// use larder_core::{Body, BodyEnd};
///
/// let body = Body::from("hello").on_end(|end| assert_eq!(end, BodyEnd::Dropped));
/// drop(body);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BodyEnd {
    /// The body was read to its end.
    Complete,
    /// The body failed: its reader got an error.
    Failed,
    /// The body was dropped before its end, for example because the client disconnected.
    Dropped,
}

/// What an observer of a body learns.
#[derive(Debug)]
pub(crate) enum BodyEvent {
    /// A chunk of this many bytes was read.
    Chunk(u64),
    /// The body has ended. No event follows.
    End(BodyEnd),
}
