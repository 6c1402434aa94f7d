//! What one request wants beyond its own fields.

use std::{fmt, sync::Arc};

use http::{HeaderMap, Method, StatusCode, Uri};

use crate::Overrides;

/// What one request wants beyond its own fields. The default wants nothing. Cloning is cheap.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct FetchOptions {
    /// What this cache's user says of the response.
    pub overrides: Option<OverrideFn>,
    /// Longest body of this response that is stored, in bytes; [`Limits::max_object`](crate::Limits::max_object), if that
    /// is less.
    pub max_object: Option<u64>,
    /// The request asks for something and changes nothing, though its method is not GET: its response may be stored and
    /// reused for the same question. Whoever says so puts what is asked, the content and its type, into the key
    /// ([`CacheKey::with_extra`](crate::CacheKey::with_extra)), and looks up with GET as the method. The content has to be
    /// in memory. Responses are not validated with conditions: those of other methods mean something else
    /// (RFC 9110 §13.1.2).
    pub body_in_key: bool,
}

type Says = dyn Fn(&ResponseContext<'_>) -> Overrides + Send + Sync;

/// What the cache's user says of a response, once its head is here.
#[derive(Clone)]
pub struct OverrideFn(Arc<Says>);

/// A response that has arrived, and what was asked.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ResponseContext<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The request's target, absolute.
    pub uri: &'a Uri,
    /// The request's fields.
    pub request_headers: &'a HeaderMap,
    /// The response's status; of a confirmation (304), that of the response that is confirmed.
    pub status: StatusCode,
    /// The response's fields; of a confirmation, those of the response that is confirmed, before it is freshened.
    pub headers: &'a HeaderMap,
}

impl OverrideFn {
    /// Decides by what has arrived. Called once for each response from the origin.
    pub fn by(says: impl Fn(&ResponseContext<'_>) -> Overrides + Send + Sync + 'static) -> Self {
        Self(Arc::new(says))
    }

    /// The same for all.
    pub fn always(overrides: Overrides) -> Self {
        Self::by(move |_| overrides.clone())
    }

    /// What this says, and where it says nothing, what `others` say ([`Overrides::or`]).
    #[must_use]
    pub fn or(self, others: Option<Self>) -> Self {
        match others {
            None => self,
            Some(others) => Self::by(move |arrived| self.of(arrived).or(others.of(arrived))),
        }
    }

    /// What is said of this response.
    pub fn of(&self, arrived: &ResponseContext<'_>) -> Overrides {
        (self.0)(arrived)
    }
}

impl fmt::Debug for OverrideFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Overriding")
    }
}
