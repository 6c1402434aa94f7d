//! Makes the key of a request from its URL and from what else the route has in its keys: headers,
//! cookies, and the content of a query.

use http::request::Parts;
use larder_core::{
    Body, BodyError, CacheKey,
    adapter::{KeyParts, KeyRules, RequestContent},
};

use crate::content::{ContentFailure, ContentLimits, ContentOutcome, limited};

/// The key of a request.
#[derive(Debug)]
pub(crate) struct RequestKey {
    pub(crate) key: CacheKey,
    /// The key of the URL, if the key has more parts.
    pub(crate) url: Option<CacheKey>,
    /// Whether the content is a part of the key.
    pub(crate) has_content: bool,
    /// Whether the request is a query, also if its content is too long for a key.
    pub(crate) is_query: bool,
}

/// The content of a request: as the server has it, or already read in part, with its outcome.
pub(crate) enum RequestBody<B> {
    Unread(B),
    Read(Body, Option<ContentOutcome>),
}

impl<B> RequestBody<B>
where
    B: http_body::Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
{
    /// Returns the content to forward, with its limits and their outcome.
    ///
    /// # Errors
    ///
    /// Returns [`ContentFailure::TooLong`] if the announced length is beyond the limit.
    pub(crate) fn limited(
        self,
        limits: ContentLimits,
    ) -> Result<(Body, Option<ContentOutcome>), ContentFailure> {
        match self {
            Self::Unread(content) => limited(content, limits),
            Self::Read(content, outcome) => Ok((content, outcome)),
        }
    }
}

impl RequestKey {
    /// Creates the key of a request that depends on its URL only.
    pub(crate) fn of_url(url: CacheKey) -> Self {
        Self { key: url, url: None, has_content: false, is_query: false }
    }

    /// Creates the key of a request that bypasses the cache. `has_forms`: the URL may have other
    /// keys.
    pub(crate) fn of_bypass(url: CacheKey, has_forms: bool) -> Self {
        Self { url: has_forms.then(|| url.clone()), ..Self::of_url(url) }
    }

    /// Creates the key of a request that depends on more than its URL. Reads the content of a
    /// query, and returns the content to forward.
    ///
    /// # Errors
    ///
    /// Returns a [`ContentFailure`] if the content of a query did not arrive.
    pub(crate) async fn with_parts<B>(
        url: CacheKey,
        (rules, partition): (&KeyRules, Option<&[u8]>),
        head: &Parts,
        content: B,
        limits: ContentLimits,
    ) -> Result<(Self, RequestBody<B>), ContentFailure>
    where
        B: http_body::Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
    {
        let mut parts = KeyParts::new(&head.headers);
        if let Some(partition) = partition {
            parts = parts.with_partition(partition);
        }
        let keyed = |parts: &_, has_content, is_query| {
            let key = rules.key_with(&url, parts);
            Self { key, url: Some(url.clone()), has_content, is_query }
        };
        if !rules.is_query(&head.method) {
            return Ok((keyed(&parts, false, false), RequestBody::Unread(content)));
        }
        let (content, outcome) = limited(content, limits)?;
        match RequestContent::read(content, &rules.content.unwrap_or_default()).await {
            Ok(RequestContent::Whole(content)) => {
                let keyed = keyed(&parts.with_query(&head.method, &content), true, true);
                Ok((keyed, RequestBody::Read(content.into(), None)))
            }
            Ok(RequestContent::Longer(content)) => {
                Ok((keyed(&parts, false, true), RequestBody::Read(content, outcome)))
            }
            // Without a failure of the content itself, the time for it has passed.
            Err(_) => {
                let failure = outcome.and_then(|outcome| outcome.failure());
                Err(failure.unwrap_or(ContentFailure::TimedOut))
            }
        }
    }
}
