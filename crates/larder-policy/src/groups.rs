//! Cache groups (RFC 9875): responses of one origin that are invalidated together.

use http::HeaderMap;

use crate::{Overrides, TargetUri, header_names::CACHE_GROUPS, structured::strings};

/// Groups beyond this many are ignored; RFC 9875 §2 asks for at least 32.
const MOST_GROUPS: usize = 64;
/// Names beyond this length are ignored; RFC 9875 §2 asks for at least 32 characters.
const LONGEST_NAME: usize = 128;

/// A group of one origin's responses. Two origins' groups of the same name are two groups.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CacheGroup {
    origin: Box<str>,
    name: Box<str>,
}

impl CacheGroup {
    /// The group called `name` of `origin`: scheme and authority, such as `https://example.com`.
    pub fn new(origin: &str, name: &str) -> Self {
        Self { origin: origin.into(), name: name.into() }
    }

    /// Scheme and authority.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The name; case matters.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The groups that a response says it belongs to, and those that the cache's user says.
pub(crate) fn groups(
    target: &TargetUri,
    fields: &HeaderMap,
    overrides: Option<&Overrides>,
) -> Box<[CacheGroup]> {
    let named =
        if fields.contains_key(CACHE_GROUPS) { named(target, fields, &CACHE_GROUPS) } else { Box::default() };
    match overrides.map(|overrides| &*overrides.groups) {
        None | Some([]) => named,
        Some(more) => {
            let mut groups = named.into_vec();
            groups.extend(more.iter().map(|name| CacheGroup::new(target.origin(), name)));
            groups.truncate(MOST_GROUPS);
            groups.into()
        }
    }
}

/// The groups of `target`'s origin that a field names, bounded.
pub(crate) fn named(target: &TargetUri, fields: &HeaderMap, field: &http::HeaderName) -> Box<[CacheGroup]> {
    let names = strings(fields.get_all(field).iter().map(http::HeaderValue::as_bytes)).unwrap_or_default();
    let short = names.iter().filter(|name| name.len() <= LONGEST_NAME).take(MOST_GROUPS);
    short.map(|name| CacheGroup::new(target.origin(), name)).collect()
}
