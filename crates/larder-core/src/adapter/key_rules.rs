//! Puts the path and query of a request into the form that is looked up and requested, and makes
//! the cache key. Purges go through the same rules.
//!
//! [`super::key_parts`] adds what else is in the key, beside the URL.

use std::{borrow::Cow, sync::Arc, time::Duration};

use http::{HeaderName, Method};

use super::{KeyParts, RequestTarget, key_parts::digest};
use crate::{CacheKey, RequestHeaders, TargetError, TargetUri};

/// The rules by which a request gets its cache key. Cloning is cheap.
///
/// What the rules remove from the key has to be removed from the request, too: otherwise one
/// client's parameter would change the response of all. [`path`](Self::path) returns the form for
/// both.
///
/// Beside the URL, request headers, cookies, the [client](Self::partitioned) and the content of a
/// query can be in the key ([`key_with`](Self::key_with)). A purge of the URL reaches all of these
/// forms ([`PurgeUrl`](super::PurgeUrl)).
///
/// ```
/// use larder_core::adapter::KeyRules;
///
/// let rules = KeyRules::default().with_ignored_query(["utm_*", "ref"]).with_sorted_query(true);
/// assert_eq!(rules.path("/p?b=2&utm_source=x&a=1"), "/p?a=1&b=2");
/// let purged = rules.key_of_url("https://example.com/p?a=1&b=2&ref=mail")?;
/// assert_eq!(purged.target(), "https://example.com/p?a=1&b=2");
/// # Ok::<(), larder_core::TargetError>(())
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct KeyRules {
    /// Names of query parameters that responses do not depend on. A `*` at the end matches any
    /// rest. Default: none.
    pub ignored_query: Arc<[String]>,
    /// Names of the only query parameters that responses depend on; the others are ignored. A `*`
    /// at the end matches any rest. Default: none, which means all parameters.
    pub allowed_query: Option<Arc<[String]>>,
    /// Whether query parameters are sorted by name, so that their order makes no difference.
    /// Parameters with the same name stay in order. Default: false.
    pub sorted_query: bool,
    /// Names of request headers that are part of the key, in alphabetical order. Default: none.
    ///
    /// Several lines are one value, joined by commas. A missing header and an empty one are
    /// different. The `Vary` of a response does the same for the headers that it names, but it does
    /// so after the first response, for at most [`Limits::max_variants`](crate::Limits) values.
    pub headers: Arc<[HeaderName]>,
    /// Names of cookies that are part of the key, in alphabetical order. Default: none.
    ///
    /// Names and values are compared as they are sent, with quotes. If a name occurs several times,
    /// all its values count, in their order. If programs could read a value of this name at other
    /// places of the header, such as after a comma, the whole header counts.
    ///
    /// Other cookies are still sent to the origin, and that a request has cookies keeps its meaning
    /// for the caching rules: a shared cache guesses no lifetime for its response, and `private`,
    /// `Set-Cookie` and `Vary: Cookie` apply.
    pub cookies: Arc<[String]>,
    /// Whether the adapter adds a partition to the keys, such as the name of a user, with
    /// [`KeyParts::with_partition`]. It adds none itself: it makes [`has_parts`](Self::has_parts)
    /// true, so that a purge reaches all partitions. `larder-proxy` adds those of its
    /// `RouteRule`s. Default: false.
    pub partitioned: bool,
    /// The methods of which the content is part of the key, and its limits. Default: none, so that
    /// responses to QUERY are not stored.
    pub content: Option<ContentInKey>,
}

/// Which requests are queries, with their content in the key.
///
/// QUERY (RFC 10008) always is. Its content becomes part of the key as a digest, with its
/// `Content-Type`, `Content-Encoding` and `Content-Language` (RFC 10008 §2.7).
///
/// ```
/// use larder_core::adapter::{ContentInKey, KeyRules};
///
/// let searches = ContentInKey::default().with_post(true).with_max_length(16 * 1024);
/// let rules = KeyRules::default().with_content(searches);
/// assert!(rules.is_query(&"QUERY".parse()?) && rules.is_query(&http::Method::POST));
/// # Ok::<(), http::method::InvalidMethod>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContentInKey {
    /// Whether POST is a query, too: the requests change nothing, such as a search. Nothing is
    /// invalidated then. Default: false.
    pub post: bool,
    /// Longest content that is part of the key, in bytes. Requests with more are forwarded, and
    /// their responses are not stored. Default: 64 KiB.
    pub max_length: usize,
    /// Longest time to wait for the content. After that, the request is answered with 408. Default:
    /// 30 s.
    pub timeout: Duration,
}

impl ContentInKey {
    /// Sets whether POST is a query ([`post`](Self::post)).
    #[must_use]
    pub fn with_post(mut self, post: bool) -> Self {
        self.post = post;
        self
    }

    /// Sets the longest content that is part of the key ([`max_length`](Self::max_length)).
    #[must_use]
    pub fn with_max_length(mut self, bytes: usize) -> Self {
        self.max_length = bytes;
        self
    }

    /// Sets the longest time to wait for the content ([`timeout`](Self::timeout)).
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl Default for ContentInKey {
    fn default() -> Self {
        Self { post: false, max_length: 64 * 1024, timeout: Duration::from_secs(30) }
    }
}

impl KeyRules {
    /// Sets the query parameters that responses do not depend on
    /// ([`ignored_query`](Self::ignored_query)). A second call replaces the first.
    #[must_use]
    pub fn with_ignored_query<P: Into<String>>(mut self, names: impl IntoIterator<Item = P>) -> Self {
        self.ignored_query = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the only query parameters that responses depend on
    /// ([`allowed_query`](Self::allowed_query)). A second call replaces the first.
    #[must_use]
    pub fn with_allowed_query<P: Into<String>>(mut self, names: impl IntoIterator<Item = P>) -> Self {
        self.allowed_query = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Sets whether query parameters are sorted by name ([`sorted_query`](Self::sorted_query)).
    #[must_use]
    pub fn with_sorted_query(mut self, sorted: bool) -> Self {
        self.sorted_query = sorted;
        self
    }

    /// Sets the request headers that are part of the key ([`headers`](Self::headers)). A second call
    /// replaces the first.
    #[must_use]
    pub fn with_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        self.headers = names.into();
        self
    }

    /// Sets the cookies that are part of the key ([`cookies`](Self::cookies)). A second call
    /// replaces the first.
    #[must_use]
    pub fn with_cookies<C: Into<String>>(mut self, names: impl IntoIterator<Item = C>) -> Self {
        let mut names: Vec<String> = names.into_iter().map(Into::into).collect();
        names.sort_unstable();
        names.dedup();
        self.cookies = names.into();
        self
    }

    /// Sets whether the adapter adds a partition to the keys ([`partitioned`](Self::partitioned)).
    #[must_use]
    pub fn with_partitioned(mut self, partitioned: bool) -> Self {
        self.partitioned = partitioned;
        self
    }

    /// Sets the methods of which the content is part of the key, and its limits
    /// ([`content`](Self::content)).
    #[must_use]
    pub fn with_content(mut self, content: ContentInKey) -> Self {
        self.content = Some(content);
        self
    }

    /// Returns whether a key can have more than the URL, so that one URL has several keys.
    pub fn has_parts(&self) -> bool {
        !self.headers.is_empty() || !self.cookies.is_empty() || self.partitioned || self.content.is_some()
    }

    /// Returns whether the content of a request with this method is part of the key.
    pub fn is_query(&self, method: &Method) -> bool {
        self.content
            .is_some_and(|content| method.as_str() == "QUERY" || content.post && *method == Method::POST)
    }

    /// Returns the path and query to look up and to request. Borrows if no rule applies.
    pub fn path<'a>(&self, path: &'a str) -> Cow<'a, str> {
        if self.ignored_query.is_empty() && self.allowed_query.is_none() && !self.sorted_query {
            return path.into();
        }
        let Some((before, query)) = path.split_once('?') else { return path.into() };
        let mut kept: Vec<&str> = query.split('&').filter(|parameter| self.keeps(parameter)).collect();
        if self.sorted_query {
            kept.sort_by_key(|parameter| name_of(parameter));
        }
        if kept.is_empty() { before.into() } else { format!("{before}?{}", kept.join("&")).into() }
    }

    /// Returns the key of a request's target. [`key_with`](Self::key_with) adds what else is in the
    /// key.
    ///
    /// # Errors
    ///
    /// Returns a [`TargetError`] if the target is invalid.
    pub fn key(&self, target: &RequestTarget<'_>) -> Result<CacheKey, TargetError> {
        CacheKey::from_parts(target.scheme, &target.authority, &self.path(target.path))
    }

    /// Returns the key of a request: that of its URL, from [`key`](Self::key), with the parts that
    /// these rules name. A partition and the content of a query are always added.
    ///
    /// Use it with [`FetchOptions::with_form_of`](crate::FetchOptions::with_form_of), so that a
    /// purge of the URL reaches the response.
    pub fn key_with<H: RequestHeaders>(&self, url: &CacheKey, parts: &KeyParts<'_, H>) -> CacheKey {
        digest(self, parts).map_or_else(|| url.clone(), |digest| url.with_extra(&digest))
    }

    /// Returns the key of a URL as clients know it. [`PurgeUrl`](super::PurgeUrl) is all that a
    /// purge of the URL concerns.
    ///
    /// # Errors
    ///
    /// Returns a [`TargetError`] if the URL is invalid.
    pub fn key_of_url(&self, url: &str) -> Result<CacheKey, TargetError> {
        self.key_of_target(&TargetUri::parse(url)?)
    }

    /// Returns the key of a target in normal form.
    pub(super) fn key_of_target(&self, target: &TargetUri) -> Result<CacheKey, TargetError> {
        CacheKey::from_parts(target.scheme(), target.authority(), &self.path(target.path_and_query()))
    }

    /// Returns whether responses depend on a parameter, such as `page=2`.
    fn keeps(&self, parameter: &str) -> bool {
        let name = name_of(parameter);
        self.allowed_query.as_deref().is_none_or(|allowed| matches(allowed, &name))
            && !matches(&self.ignored_query, &name)
    }
}

/// Returns the name of a parameter, decoded as applications read it: an encoded letter of an
/// ignored name makes no other name of it.
fn name_of(parameter: &str) -> Cow<'_, str> {
    let name = parameter.split('=').next().unwrap_or_default();
    if !name.contains(['%', '+']) {
        return name.into();
    }
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let encoded = after.first_chunk::<2>().filter(|_| byte == b'%');
        let encoded =
            encoded.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        rest = if encoded.is_some() { &after[2..] } else { after };
        decoded.push(encoded.unwrap_or(if byte == b'+' { b' ' } else { byte }));
    }
    String::from_utf8_lossy(&decoded).into_owned().into()
}

/// Returns whether a name is among `names`, of which those with a `*` at the end match any rest.
fn matches(names: &[String], name: &str) -> bool {
    names.iter().any(|one| match one.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == one,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_parameters_are_ignored() {
        let ignored = KeyRules::default().with_ignored_query(["utm_*", "ref"]);
        let allowed = KeyRules::default().with_allowed_query(["page", "q*"]);
        let sorted = KeyRules::default().with_sorted_query(true);
        for (rules, path, expected) in [
            (&ignored, "/", "/"),
            (&ignored, "/?", "/?"),
            (&ignored, "/?utm_source=a&page=2", "/?page=2"),
            (&ignored, "/?utm_source", "/"),
            (&ignored, "/?ref=1&referrer=2", "/?referrer=2"),
            (&ignored, "/?page=2&utm_source=a&page=3", "/?page=2&page=3"),
            (&ignored, "/?%75tm_source=a", "/"),
            (&ignored, "/?a;utm_source=b", "/?a;utm_source=b"),
            (&allowed, "/?page=1&x=2&query=3", "/?page=1&query=3"),
            (&sorted, "/?b=2&a=1&b=1", "/?a=1&b=2&b=1"),
        ] {
            assert_eq!(rules.path(path), expected, "{path} by {rules:?}");
        }
    }
}
