//! [`ValueError`]: the reasons why a call returned no value.

use std::{error::Error, fmt};

use larder_core::FetchError;

/// The text of [`ValueError::NegativelyCached`].
const NEGATIVELY_CACHED: &str = "an earlier load of the value failed, and the failure is still cached";

/// The error of [`Value::get_or_try_insert_with`](crate::Value::get_or_try_insert_with).
#[non_exhaustive]
pub enum ValueError<E> {
    /// The load that this caller ran failed with this error.
    Load(E),
    /// A load failed earlier or in another caller, and the failure is cached
    /// ([`Value::negative_ttl`](crate::Value::negative_ttl)).
    NegativelyCached,
    /// The loaded value could not be converted to JSON, or the JSON could not be converted back.
    Json(JsonError),
    /// The load took longer than [`Limits::origin_timeout`](larder_core::Limits::origin_timeout),
    /// or was aborted.
    Fetch(FetchError),
}

/// The reason why a value could not be converted to JSON or back; its message names the place.
///
/// ```
/// use larder_memoize::{JsonError, ValueError};
///
/// fn json_error<E>(error: &ValueError<E>) -> Option<&JsonError> {
///     if let ValueError::Json(error) = error { Some(error) } else { None }
/// }
/// ```
#[derive(Debug)]
pub struct JsonError(serde_json::Error);

impl JsonError {
    /// Wraps the error of a conversion.
    pub(crate) fn new(error: serde_json::Error) -> Self {
        Self(error)
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for JsonError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl<E: fmt::Display> fmt::Display for ValueError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(error) => write!(f, "the value could not be loaded: {error}"),
            Self::NegativelyCached => f.write_str(NEGATIVELY_CACHED),
            Self::Json(error) => write!(f, "the value could not be converted to or from JSON: {error}"),
            Self::Fetch(error) => write!(f, "the load of the value did not complete: {error}"),
        }
    }
}

impl<E: fmt::Debug> fmt::Debug for ValueError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(error) => write!(f, "the value could not be loaded: {error:?}"),
            Self::NegativelyCached => f.write_str(NEGATIVELY_CACHED),
            Self::Json(error) => write!(f, "the value could not be converted to or from JSON: {error}"),
            Self::Fetch(error) => write!(f, "the load of the value did not complete: {error:?}"),
        }
    }
}

impl<E: Error + 'static> Error for ValueError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Load(error) => Some(error),
            Self::NegativelyCached => None,
            Self::Json(error) => Some(error),
            Self::Fetch(error) => Some(error),
        }
    }
}
