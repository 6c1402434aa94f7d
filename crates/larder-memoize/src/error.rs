//! Why there is no value.

use std::{error::Error, fmt};

use larder_core::FetchError;

/// Why there is no value.
#[derive(Debug)]
#[non_exhaustive]
pub enum ValueError<E> {
    /// It could not be loaded: what the load said.
    Load(E),
    /// It could not be loaded a moment ago, which is remembered ([`Value::negative_ttl`](crate::Value::negative_ttl)).
    NegativelyCached,
    /// What was loaded can't be written as JSON, or not be read again as what it was.
    Json(serde_json::Error),
    /// The load took too long ([`Limits::origin_timeout`](larder_core::Limits::origin_timeout)), or was given up.
    Fetch(FetchError),
}

impl<E: fmt::Display> fmt::Display for ValueError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(error) => write!(f, "the value could not be loaded: {error}"),
            Self::NegativelyCached => f.write_str("the value could not be loaded a moment ago"),
            Self::Json(error) => write!(f, "the value can't be kept: {error}"),
            Self::Fetch(error) => write!(f, "the value was not loaded in time: {error}"),
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
