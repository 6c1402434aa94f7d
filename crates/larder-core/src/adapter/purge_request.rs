//! Reads purges that are requests, as programs for other caches send them: `PURGE`, `BAN` and
//! `PURGEKEYS`, of a URL, of what is below it, or of tags.

use std::{error::Error, fmt};

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{
    KeyRules, PurgeError, PurgePrefix, PurgeUrl,
    tag_pattern::{Pattern, parse_pattern},
};
use crate::{Cache, CacheGroup, Purged, Scope, policy::tags_in_field};

/// The methods of purges.
const METHODS: [&str; 3] = ["PURGE", "BAN", "PURGEKEYS"];
/// Fields of a purge that list tags.
const TAG_FIELDS: [&str; 8] = [
    "surrogate-key",
    "xkey",
    "xkey-purge",
    "xkey-softpurge",
    "cache-tag",
    "cache-tags",
    "edge-cache-tag",
    "purge-cache-tags",
];
/// Fields of a purge that have a regular expression for tags.
const PATTERN_FIELDS: [&str; 3] = ["x-cache-tags", "x-magento-tags-pattern", "x-cache-tags-pattern"];
/// Fields by which a purge only marks responses as stale.
const SOFT_FIELDS: [&str; 3] = ["fastly-soft-purge", "soft-purge", "xkey-softpurge"];
/// Maximum number of tags of one purge.
const MAX_TAGS: usize = 4096;

/// A purge that is a request of its own, as programs for Varnish, nginx and Fastly send it.
///
/// | request | concerns |
/// |---|---|
/// | `PURGE /page` | all responses of the URL |
/// | `PURGE /news/*` | all below it |
/// | `PURGE /news/.*` with `X-Purge-Method: regex` | all below it |
/// | any with `Surrogate-Key`, `xkey`, `xkey-purge` | all with one of the tags |
/// | any with `Cache-Tag`, `Cache-Tags`, `Edge-Cache-Tag` | all with one of the tags |
/// | any with `xkey-softpurge` | all with one of the tags, which are marked as stale |
/// | any with `X-Cache-Tags`, `X-Magento-Tags-Pattern` | all with one of the tags in it |
/// | `BAN` with `X-Host` and `X-Url: ^/news` | all below it |
///
/// With `Fastly-Soft-Purge: 1` or `Soft-Purge: 1`, responses are marked as stale. Of regular
/// expressions, those are read that list names or a beginning; others are errors.
///
/// The caller has to check that the sender may purge.
///
/// ```
/// use http::{HeaderMap, Method};
/// use larder_core::adapter::PurgeRequest;
///
/// let method = Method::from_bytes(b"BAN")?;
/// let mut headers = HeaderMap::new();
/// headers.insert("x-cache-tags", "(^|,)(shelf\\-3|product\\-7)(,|$)".parse()?);
/// let purge = PurgeRequest::parse(&method, "example.com", "/", &headers)?;
/// let tags: Vec<_> = purge.tags().iter().map(|tag| tag.name()).collect();
/// assert_eq!(tags, ["product-7", "shelf-3"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeRequest {
    what: What,
    soft: bool,
}

/// What a purge concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// A URL, without its scheme.
    Url(String),
    /// What is below a URL, without its scheme.
    Below(String),
    Tags(Vec<CacheGroup>),
    Everything,
}

impl PurgeRequest {
    /// Returns whether a request with this method is a purge: `PURGE`, `BAN` or `PURGEKEYS`.
    pub fn is_purge(method: &Method) -> bool {
        METHODS.contains(&method.as_str())
    }

    /// Reads a purge. `authority` is that of the request, and `path` its path and query.
    ///
    /// # Errors
    ///
    /// Returns an [`UnknownPurge`] if it names nothing, or in a way that is not read.
    pub fn parse(
        method: &Method,
        authority: &str,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Self, UnknownPurge> {
        let soft = SOFT_FIELDS.iter().any(|name| headers.get(*name).is_some_and(|value| value != "0"));
        let what = match tags_of(headers)? {
            Some(what) => what,
            None if method.as_str() == "PURGE" => what_of_path(authority, path, headers)?,
            None => banned(authority, headers)?,
        };
        Ok(Self { what, soft })
    }

    /// Returns whether responses are marked as stale, rather than removed.
    pub fn is_soft(&self) -> bool {
        self.soft
    }

    /// Returns the tags that are purged in alphabetical order, if it is a purge of tags.
    pub fn tags(&self) -> &[CacheGroup] {
        match &self.what {
            What::Tags(tags) => tags,
            _ => &[],
        }
    }

    /// Returns the URLs that are purged: the one with `http` and the one with `https`, because the
    /// sender may be behind the server that ends TLS. Each is for [`PurgeUrl`].
    pub fn urls(&self) -> Vec<String> {
        match &self.what {
            What::Url(url) => of_both_schemes(url),
            _ => Vec::new(),
        }
    }

    /// Returns the prefixes that are purged, with `http` and with `https`, for [`PurgePrefix`].
    pub fn prefixes(&self) -> Vec<String> {
        match &self.what {
            What::Below(prefix) => of_both_schemes(prefix),
            _ => Vec::new(),
        }
    }

    /// Returns whether everything is purged.
    pub fn is_everything(&self) -> bool {
        self.what == What::Everything
    }

    /// Purges, and returns how many entries that were, as far as the store knows it.
    ///
    /// `rules` are those by which requests get their keys, of each route if there are several.
    ///
    /// # Errors
    ///
    /// Returns a [`PurgeError`] if the URL is invalid, or if the store cannot confirm the removal.
    ///
    /// # Cancel safety
    ///
    /// If it is dropped, the purge goes on in the background.
    pub async fn purge<'a>(
        &self,
        cache: &Cache,
        rules: impl IntoIterator<Item = &'a KeyRules>,
    ) -> Result<Purged, PurgeError> {
        let rules: Vec<&KeyRules> = rules.into_iter().collect();
        let mut pages = PurgeUrl::default();
        for url in self.urls() {
            pages = pages.and(PurgeUrl::parse(&url, &KeyRules::default())?);
            for rules in &rules {
                pages = pages.and(PurgeUrl::parse(&url, rules)?);
            }
        }
        let has_forms = rules.iter().any(|rules| rules.has_parts());
        let below = self.prefixes().into_iter().map(|prefix| {
            PurgePrefix::parse(&prefix).map(|below| if has_forms { below.and_forms() } else { below })
        });
        let below: Vec<_> = below.collect::<Result<_, _>>()?;
        let mut scopes = pages.scopes();
        scopes.extend(below.iter().flat_map(PurgePrefix::scopes));
        scopes.extend(self.tags().iter().map(Scope::Group));
        scopes.extend(self.is_everything().then_some(Scope::All));
        Ok(cache.purge_each(&scopes, self.soft).await?)
    }
}

/// Returns the tags of a purge, if it has any field of tags.
fn tags_of(headers: &HeaderMap) -> Result<Option<What>, UnknownPurge> {
    let mut tags = Vec::new();
    let mut has_field = false;
    for name in TAG_FIELDS {
        let name = HeaderName::from_static(name);
        has_field |= headers.contains_key(&name);
        tags.extend(separated(headers, &name));
    }
    for name in PATTERN_FIELDS {
        for value in headers.get_all(name) {
            has_field = true;
            match parse_pattern(value.as_bytes()).ok_or_else(|| UnknownPurge::pattern(name))? {
                Pattern::Any => return Ok(Some(What::Everything)),
                Pattern::Names(names) => tags.extend(names),
                Pattern::Prefix(_) => return Err(UnknownPurge::pattern(name)),
            }
        }
    }
    if !has_field {
        return Ok(None);
    }
    if tags.is_empty() {
        return Err(UnknownPurge("the purge has a field of tags without a tag"));
    }
    if tags.len() > MAX_TAGS {
        return Err(UnknownPurge("the purge has more than 4,096 tags"));
    }
    let mut groups: Vec<CacheGroup> = Vec::with_capacity(tags.len());
    tags.sort_unstable();
    tags.dedup();
    groups.extend(tags.iter().map(|tag| CacheGroup::tag(tag)));
    Ok(Some(What::Tags(groups)))
}

/// Returns the tags in a field of a purge. In some fields white space separates them, and in that
/// of Drupal also `|`; commas do so in others.
fn separated(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let is_separator: fn(char) -> bool = match name.as_str() {
        "surrogate-key" | "xkey" | "xkey-purge" | "xkey-softpurge" => |byte| matches!(byte, ' ' | '\t'),
        "cache-tags" | "purge-cache-tags" => |byte| matches!(byte, ' ' | '\t' | '|' | '(' | ')'),
        _ => |_| false,
    };
    let tags = tags_in_field(headers, name);
    tags.flat_map(|tag| tag.split(is_separator).map(str::to_owned).collect::<Vec<_>>())
        .filter(|tag| !tag.is_empty())
        .collect()
}

/// Returns what a `PURGE` without tags concerns.
fn what_of_path(authority: &str, path: &str, headers: &HeaderMap) -> Result<What, UnknownPurge> {
    let method = headers.get("x-purge-method").map(HeaderValue::as_bytes).unwrap_or_default();
    if method.eq_ignore_ascii_case(b"regex") {
        return match parse_pattern(path.as_bytes()) {
            Some(Pattern::Prefix(below)) => Ok(What::Below(format!("{authority}{below}*"))),
            _ => Err(UnknownPurge::pattern("path")),
        };
    }
    Ok(match path.strip_suffix('*') {
        Some(below) => What::Below(format!("{authority}{below}*")),
        None => What::Url(format!("{authority}{path}")),
    })
}

/// Returns what a `BAN` without tags concerns.
fn banned(authority: &str, headers: &HeaderMap) -> Result<What, UnknownPurge> {
    let pattern = |name: &'static str| match headers.get(name) {
        Some(value) => parse_pattern(value.as_bytes()).map(Some).ok_or_else(|| UnknownPurge::pattern(name)),
        None => Ok(None),
    };
    let host = match pattern("x-host")? {
        None => Some(authority.to_owned()),
        Some(Pattern::Any) => None,
        Some(Pattern::Names(names)) if names.len() == 1 => names.into_iter().next(),
        Some(_) => return Err(UnknownPurge::pattern("x-host")),
    };
    let url = pattern("x-url")?;
    match (host, url) {
        (_, None) => Err(UnknownPurge("the purge names nothing: send a path with PURGE, tags, or X-Url")),
        (None, Some(Pattern::Any)) => Ok(What::Everything),
        (Some(host), Some(Pattern::Any)) => Ok(What::Below(format!("{host}/*"))),
        (Some(host), Some(Pattern::Prefix(path))) if path.starts_with('/') => {
            Ok(What::Below(format!("{host}{path}*")))
        }
        (Some(host), Some(Pattern::Names(names))) if names.len() == 1 && names[0].starts_with('/') => {
            // Without an end, it matches what begins with it.
            let is_whole = headers.get("x-url").is_some_and(|value| value.as_bytes().ends_with(b"$"));
            let url = format!("{host}{}", names[0]);
            Ok(if is_whole { What::Url(url) } else { What::Below(url + "*") })
        }
        _ => Err(UnknownPurge::pattern("x-url")),
    }
}

/// Returns the URL with each scheme.
fn of_both_schemes(url: &str) -> Vec<String> {
    ["http", "https"].map(|scheme| format!("{scheme}://{url}")).into()
}

/// The error of a purge that names nothing, or in a way that is not read. The status code of the
/// response is 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownPurge(&'static str);

impl UnknownPurge {
    /// Creates the error of a regular expression.
    fn pattern(field: &str) -> Self {
        Self(match field {
            "path" => "of regular expressions in the path, only a beginning with .* after it is read",
            "x-host" => "of regular expressions in X-Host, only a name and .* are read",
            "x-url" => "of regular expressions in X-Url, only a path, the beginning of one and .* are read",
            _ => "of regular expressions for tags, only those that list them are read",
        })
    }
}

impl fmt::Display for UnknownPurge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for UnknownPurge {}
