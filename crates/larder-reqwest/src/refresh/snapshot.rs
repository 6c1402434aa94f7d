//! Detects whether a page has changed: by its content, unless the origin has confirmed that it has
//! not.

use std::hash::Hasher as _;

use bytes::{Bytes, BytesMut};
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

/// A response that was read to its end.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) snapshot: Snapshot,
    /// The response with its body, unless that is too long.
    response: Option<Response>,
}

impl Content {
    /// Reads a response to its end. Its body stays with it if it has at most `max_body` bytes.
    pub(super) async fn read(mut response: Response, max_body: u64) -> Result<Self, Error> {
        let validators = Validators::from_headers(response.headers());
        // No cryptographic hash is needed: digests are compared only within this process.
        let mut hasher = SipHasher13::new();
        let (mut chunks, mut length) = (Vec::new(), 0_u64);
        while let Some(chunk) = response.chunk().await? {
            hasher.write(&chunk);
            length += chunk.len() as u64;
            if length <= max_body {
                chunks.push(chunk);
            } else {
                chunks = Vec::new();
            }
        }
        let response = (length <= max_body).then(|| response.with_content(joined(chunks)));
        let snapshot = Snapshot { validators, digest: hasher.finish128().as_u128() };
        Ok(Self { snapshot, response })
    }

    /// Returns the state, and the response if its content differs from the state before.
    pub(super) fn compared_with(self, before: Option<&Snapshot>) -> (Snapshot, Option<Response>) {
        let is_same = before.is_some_and(|before| before.has_same_content(&self.snapshot));
        (self.snapshot, self.response.filter(|_| !is_same))
    }
}

/// Joins the chunks of a body. A single one is not copied.
fn joined(mut chunks: Vec<Bytes>) -> Bytes {
    if chunks.len() < 2 {
        return chunks.pop().unwrap_or_default();
    }
    let mut all = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
    chunks.iter().for_each(|chunk| all.extend_from_slice(chunk));
    all.freeze()
}

impl Snapshot {
    /// Returns this snapshot if the origin has confirmed that the content is the same (304), so
    /// that the body need not be read.
    ///
    /// The same validators in a response with content prove nothing: some servers send an `ETag` or
    /// a `Last-Modified` that does not change with the content.
    pub(super) fn if_confirmed(&self, response: &Response) -> Option<Self> {
        let validators = Validators::from_headers(response.headers());
        let has_validator = validators.etag.is_some() || validators.last_modified.is_some();
        let is_confirmed = response.outcome() == CacheOutcome::Revalidated && has_validator;
        (is_confirmed && validators == self.validators).then(|| self.clone())
    }

    /// Returns whether both snapshots have the same content, whatever their validators are.
    pub(super) fn has_same_content(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}
