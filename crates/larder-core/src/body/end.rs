//! Defines how a body ends: its error, and what those who observe it learn.

use std::error::Error;

/// The reason why a body ended before it was complete.
///
/// Code that reads a body must forward its error: a failed body is never treated as a shorter body.
pub type BodyError = Box<dyn Error + Send + Sync>;

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
