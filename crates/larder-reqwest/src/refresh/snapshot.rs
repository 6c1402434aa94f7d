//! Detects whether a page has changed: by its validators, or by its content if they are not
//! sufficient.

use std::hash::Hasher as _;

use http::{
    HeaderMap, HeaderValue,
    header::{ETAG, LAST_MODIFIED},
};
use siphasher::sip128::{Hasher128 as _, SipHasher13};

use crate::{CacheOutcome, Error, Response};

/// The validators of a page: headers that change when its content changes (RFC 9110 §8.8).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Validators {
    /// The `ETag` header.
    pub etag: Option<HeaderValue>,
    /// The `Last-Modified` header.
    pub last_modified: Option<HeaderValue>,
}

impl Validators {
    /// Reads the validators from a response's headers.
    fn from_headers(headers: &HeaderMap) -> Self {
        Self { etag: headers.get(ETAG).cloned(), last_modified: headers.get(LAST_MODIFIED).cloned() }
    }
}

/// The state of a page after its last successful run.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) validators: Validators,
    /// Hash of the body.
    digest: u128,
}

impl Snapshot {
    /// Reads a response to its end and hashes its body, without storing it.
    pub(super) async fn read(mut response: Response) -> Result<Self, Error> {
        let validators = Validators::from_headers(response.headers());
        // No cryptographic hash is needed: digests are compared only within this process.
        let mut hasher = SipHasher13::new();
        while let Some(chunk) = response.chunk().await? {
            hasher.write(&chunk);
        }
        Ok(Self { validators, digest: hasher.finish128().as_u128() })
    }

    /// Returns this snapshot if the response's validators prove that the content is unchanged, so
    /// that the body need not be read.
    ///
    /// An equal `ETag` is proof. An equal `Last-Modified` alone is proof only if the origin
    /// revalidated the stored response (304).
    pub(super) fn if_validators_match(&self, response: &Response) -> Option<Self> {
        let validators = Validators::from_headers(response.headers());
        let revalidated =
            response.outcome() == CacheOutcome::Revalidated && validators.last_modified.is_some();
        let unchanged = validators == self.validators && (validators.etag.is_some() || revalidated);
        unchanged.then(|| Self { validators, digest: self.digest })
    }

    /// Returns whether both snapshots have the same content, whatever their validators are.
    pub(super) fn has_same_content(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}
