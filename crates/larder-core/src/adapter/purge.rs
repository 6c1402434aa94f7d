//! Translates a URL or a prefix of URLs, as an operator writes it, into the scopes of a purge.

use std::{error::Error, fmt};

use super::KeyRules;
use crate::{
    Cache, CacheGroup, CacheKey, Purged, Scope, StoreError, TargetError, TargetUri,
    error_chain::debug_as_chain, forms_of,
};

/// All stored responses of a URL, for a purge.
///
/// The URL is one that clients use: with its public scheme and host, in any spelling, with
/// parameters that the rules ignore or without. Every form of the URL belongs to it: all variants,
/// and the responses for all headers, cookies, clients and contents that the rules have in the key.
///
/// ```
/// use larder_core::{Cache, StoreError, adapter::{KeyRules, PurgeUrl}};
///
/// async fn purge(cache: &Cache, rules: &KeyRules) -> Result<(), Box<dyn std::error::Error>> {
///     let page = PurgeUrl::parse("HTTPS://Example.com:443/%70age?utm_source=mail", rules)?;
///     let purged = page.purge(cache).await?;
///     println!("removed {purged}");
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PurgeUrl {
    keys: Vec<CacheKey>,
    groups: Vec<CacheGroup>,
}

impl PurgeUrl {
    /// Parses a URL, by the rules of the requests for it.
    ///
    /// # Errors
    ///
    /// Returns a [`TargetError`] if it is not an absolute URL.
    pub fn parse(url: &str, rules: &KeyRules) -> Result<Self, TargetError> {
        let target = TargetUri::parse(url)?;
        let mut this = Self::default();
        this.add(rules.key_of_target(&target)?, rules);
        // `?q=%31` is `?q=1` to most servers, and has a key of its own.
        this.add(rules.key_of_target(&target.decoded())?, rules);
        Ok(this)
    }

    /// Adds what `other` concerns, such as the same URL by the rules of another route.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.keys.extend(other.keys);
        self.groups.extend(other.groups);
        self.without_duplicates()
    }

    /// Adds the keys of the same URL with `extra` added to each ([`CacheKey::with_extra`]).
    #[must_use]
    pub fn and_with_extra(mut self, extra: &[u8]) -> Self {
        let with_extra: Vec<_> = self.keys.iter().map(|key| key.with_extra(extra)).collect();
        self.keys.extend(with_extra);
        self
    }

    /// Returns the scopes to purge, one after the other.
    pub fn scopes(&self) -> Vec<Scope<'_>> {
        self.keys.iter().map(Scope::Key).chain(self.groups.iter().map(Scope::Group)).collect()
    }

    /// Removes the responses, and returns how many entries that were. The number is unknown for
    /// rules with parts beside the URL.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot confirm the removal.
    pub async fn purge(&self, cache: &Cache) -> Result<Purged, StoreError> {
        cache.purge_each(&self.scopes(), false).await
    }

    /// Marks the responses as stale, and returns how many entries that were, as
    /// [`purge`](Self::purge) does.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot confirm that they are stale.
    pub async fn soft_purge(&self, cache: &Cache) -> Result<Purged, StoreError> {
        cache.purge_each(&self.scopes(), true).await
    }

    /// Adds a key of the URL, and the group of its forms.
    fn add(&mut self, key: CacheKey, rules: &KeyRules) {
        if self.keys.contains(&key) {
            return;
        }
        if rules.has_parts() {
            self.groups.push(forms_of(&key));
        }
        self.keys.push(key);
    }

    fn without_duplicates(mut self) -> Self {
        let mut keys = Vec::with_capacity(self.keys.len());
        self.keys.retain(|key| {
            !keys.contains(key) && {
                keys.push(key.clone());
                true
            }
        });
        let mut groups = Vec::with_capacity(self.groups.len());
        self.groups.retain(|group| {
            !groups.contains(group) && {
                groups.push(group.clone());
                true
            }
        });
        self
    }
}

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
    exact: Vec<CacheKey>,
    prefixes: Vec<String>,
    groups: Vec<CacheGroup>,
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
        let mut this = Self { exact: Vec::new(), prefixes: Vec::new(), groups: Vec::new() };
        this.add(&target, any_rest);
        if target.decoded() != target {
            this.add(&target.decoded(), any_rest);
        }
        Ok(this)
    }

    /// Adds one spelling of the prefix.
    fn add(&mut self, target: &TargetUri, any_rest: bool) {
        let text = target.as_str();
        if any_rest || text.ends_with('/') || text.contains('?') {
            self.prefixes.push(text.to_owned());
        } else {
            self.exact.push(CacheKey::new(target));
            self.prefixes.extend([format!("{text}/"), format!("{text}?")]);
        }
    }

    /// Adds the forms of the URL itself, for rules by which a URL has several keys
    /// ([`KeyRules::has_parts`]). Prefixes reach the URLs below it, with all their keys, in any
    /// case.
    #[must_use]
    pub fn and_forms(mut self) -> Self {
        self.groups = self.exact.iter().map(forms_of).collect();
        self
    }

    /// Adds the keys of the URL itself with `extra` added to each ([`CacheKey::with_extra`]).
    #[must_use]
    pub fn and_with_extra(mut self, extra: &[u8]) -> Self {
        let with_extra: Vec<_> = self.exact.iter().map(|key| key.with_extra(extra)).collect();
        self.exact.extend(with_extra);
        self
    }

    /// Returns the scopes to purge, one after the other.
    pub fn scopes(&self) -> Vec<Scope<'_>> {
        let keys = self.exact.iter().map(Scope::Key);
        let groups = self.groups.iter().map(Scope::Group);
        keys.chain(groups).chain(self.prefixes.iter().map(|prefix| Scope::Prefix(prefix))).collect()
    }

    /// Removes the responses, and returns how many entries that were, as far as the store knows it.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot confirm the removal.
    pub async fn purge(&self, cache: &Cache) -> Result<Purged, StoreError> {
        cache.purge_each(&self.scopes(), false).await
    }

    /// Marks the responses as stale, and returns how many entries that were, as far as the store
    /// knows it.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot confirm that they are stale.
    pub async fn soft_purge(&self, cache: &Cache) -> Result<Purged, StoreError> {
        cache.purge_each(&self.scopes(), true).await
    }
}

/// The reason why a purge by a URL failed.
pub enum PurgeError {
    /// The URL is invalid. Nothing was purged.
    Target(TargetError),
    /// The store could not confirm the purge.
    Store(StoreError),
}

impl From<TargetError> for PurgeError {
    fn from(error: TargetError) -> Self {
        Self::Target(error)
    }
}

impl From<StoreError> for PurgeError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Debug for PurgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_as_chain(self, f)
    }
}

impl fmt::Display for PurgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Target(_) => "the URL to purge is invalid",
            Self::Store(_) => "the store could not confirm the purge",
        })
    }
}

impl Error for PurgeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(match self {
            Self::Target(error) => error,
            Self::Store(error) => error,
        })
    }
}
