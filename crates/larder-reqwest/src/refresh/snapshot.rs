//! Whether a page is another than before: by its validators, and by its content where they can't tell.

use std::hash::Hasher as _;

use http::{
    HeaderMap, HeaderValue,
    header::{ETAG, LAST_MODIFIED},
};
use siphasher::sip128::{Hasher128 as _, SipHasher13};

use crate::{CacheOutcome, Error, Response};

/// What tells one state of a page from another (RFC 9110 §8.8).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Validators {
    /// Its entity tag.
    pub etag: Option<HeaderValue>,
    /// When the server says that it was changed.
    pub last_modified: Option<HeaderValue>,
}

impl Validators {
    fn of(fields: &HeaderMap) -> Self {
        Self { etag: fields.get(ETAG).cloned(), last_modified: fields.get(LAST_MODIFIED).cloned() }
    }
}

/// A page as it was last seen.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) validators: Validators,
    content: u128,
}

impl Snapshot {
    /// Reads it to its end, without keeping it.
    pub(super) async fn of(mut response: Response) -> Result<Self, Error> {
        let validators = Validators::of(response.headers());
        // Not for safety: the same page has the same digest, for as long as this process lives.
        let mut hasher = SipHasher13::new();
        while let Some(chunk) = response.chunk().await? {
            hasher.write(&chunk);
        }
        Ok(Self { validators, content: hasher.finish128().as_u128() })
    }

    /// The same with the response's validators, if it need not be read to know that the content is the same.
    pub(super) fn if_unchanged_validators(&self, response: &Response) -> Option<Self> {
        let validators = Validators::of(response.headers());
        let confirmed = response.outcome() == CacheOutcome::Revalidated && validators.last_modified.is_some();
        let same = validators == self.validators && (validators.etag.is_some() || confirmed);
        same.then(|| Self { validators, content: self.content })
    }

    /// Whether the content is the same, whatever else is.
    pub(super) fn is_same(&self, now: &Self) -> bool {
        self.content == now.content
    }
}
