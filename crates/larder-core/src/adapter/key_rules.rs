//! Puts the path and query of a request into the form that is looked up and requested, and makes
//! the cache key. Purges go through the same rules.

use std::{borrow::Cow, sync::Arc};

use super::RequestTarget;
use crate::{CacheKey, TargetError, TargetUri};

/// The rules by which the target of a request becomes its cache key. Cloning is cheap.
///
/// What the rules remove from the key has to be removed from the request, too: otherwise one
/// client's parameter would change the response of all. [`path`](Self::path) returns the form for
/// both.
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
}

impl KeyRules {
    /// Sets the query parameters that responses do not depend on.
    #[must_use]
    pub fn with_ignored_query<P: Into<String>>(mut self, names: impl IntoIterator<Item = P>) -> Self {
        self.ignored_query = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the only query parameters that responses depend on.
    #[must_use]
    pub fn with_allowed_query<P: Into<String>>(mut self, names: impl IntoIterator<Item = P>) -> Self {
        self.allowed_query = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Sets whether query parameters are sorted by name.
    #[must_use]
    pub fn with_sorted_query(mut self, sorted: bool) -> Self {
        self.sorted_query = sorted;
        self
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

    /// Returns the key of a request's target.
    ///
    /// # Errors
    ///
    /// Returns a [`TargetError`] if the target is invalid.
    pub fn key(&self, target: &RequestTarget<'_>) -> Result<CacheKey, TargetError> {
        CacheKey::from_parts(target.scheme, &target.authority, &self.path(target.path))
    }

    /// Returns the key of a URL as clients know it, for a purge.
    ///
    /// # Errors
    ///
    /// Returns a [`TargetError`] if the URL is invalid.
    pub fn key_of_url(&self, url: &str) -> Result<CacheKey, TargetError> {
        let target = TargetUri::parse(url)?;
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
