//! Translates a URL prefix, as an operator writes it, into the scopes of a purge.

use crate::{CacheKey, Scope, TargetError, TargetUri};

/// The stored responses below a URL, for a purge.
///
/// A prefix ends at a segment of the path: `/news` means `/news`, `/news?page=2` and `/news/today`,
/// and not `/newsletter`. A `*` at the end means any rest. Scheme, host and path are normalized as
/// those of requests.
///
/// ```
/// use larder_core::{Scope, adapter::PurgePrefix};
///
/// let news = PurgePrefix::parse("HTTPS://Example.com:443/news")?;
/// assert!(news.scopes().contains(&Scope::Prefix("https://example.com/news/")));
/// assert!(news.scopes().contains(&Scope::Prefix("https://example.com/news?")));
///
/// let any = PurgePrefix::parse("https://example.com/news*")?;
/// assert_eq!(any.scopes(), [Scope::Prefix("https://example.com/news")]);
/// # Ok::<(), larder_core::TargetError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgePrefix {
    exact: Option<CacheKey>,
    prefixes: Vec<String>,
}

impl PurgePrefix {
    /// Parses a prefix: an absolute URL, with `*` at the end or not.
    ///
    /// # Errors
    ///
    /// Returns a [`TargetError`] if it is not the beginning of an absolute URL with a whole host.
    pub fn parse(prefix: &str) -> Result<Self, TargetError> {
        let (url, any_rest) = match prefix.strip_suffix('*') {
            Some(url) => (url, true),
            None => (prefix, false),
        };
        let target = TargetUri::parse(url)?;
        let text = target.as_str();
        if any_rest || text.ends_with('/') || text.contains('?') {
            return Ok(Self { exact: None, prefixes: vec![text.to_owned()] });
        }
        Ok(Self {
            exact: Some(CacheKey::new(&target)),
            prefixes: vec![format!("{text}/"), format!("{text}?")],
        })
    }

    /// Returns the scopes to purge, one after the other.
    pub fn scopes(&self) -> Vec<Scope<'_>> {
        let prefixes = self.prefixes.iter().map(|prefix| Scope::Prefix(prefix));
        self.exact.iter().map(Scope::Key).chain(prefixes).collect()
    }
}
