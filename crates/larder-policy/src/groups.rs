//! Reads cache groups (RFC 9875): sets of responses of one origin that are invalidated together.
//!
//! The `invalidation` module decides which groups an exchange invalidates.

use std::collections::HashSet;

use http::HeaderMap;

use crate::{
    NotStorable, Overrides, TargetUri,
    header_names::CACHE_GROUPS,
    structured::{BareItem, Item, ListMember, combined_lines, parse_list},
};

/// Maximum number of groups of a response, its own and those of the overrides. A response with more
/// is not stored. RFC 9875 §2 requires 32, and parsers of lists support 1,024 (RFC 9651 §3.1).
const MAX_GROUPS: usize = 2048;
/// Maximum length of a group name in bytes. A response in a group with a longer name is not stored.
/// RFC 9875 §2 requires 32 characters, and parsers of strings support 1,024 (RFC 9651 §3.3.3).
const MAX_NAME_LENGTH: usize = 1024;

/// A group of responses of one origin. Groups of different origins are different, even if they have
/// the same name.
///
/// ```
/// use larder_policy::CacheGroup;
///
/// let group = CacheGroup::new("https://example.com", "scripts");
/// assert_eq!((group.origin(), group.name()), ("https://example.com", "scripts"));
/// assert_ne!(group, CacheGroup::new("https://example.org", "scripts"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CacheGroup {
    origin: Box<str>,
    name: Box<str>,
}

impl CacheGroup {
    /// Creates the group `name` of `origin`, which consists of scheme and authority, such as
    /// `https://example.com`.
    pub fn new(origin: &str, name: &str) -> Self {
        Self { origin: origin.into(), name: name.into() }
    }

    /// Returns the origin: scheme and authority.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Returns the name, which is case-sensitive.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Returns the groups of a response, each once: those of the overrides first, then those in its
/// `Cache-Groups`.
///
/// # Errors
///
/// Returns [`NotStorable::Groups`] if there are more groups, or longer names, than are kept. A
/// removal of a group that was left out would miss the response.
pub(crate) fn groups(
    target: &TargetUri,
    fields: &HeaderMap,
    overrides: Option<&Overrides>,
) -> Result<Box<[CacheGroup]>, NotStorable> {
    let own = overrides.map_or(&[][..], |overrides| &*overrides.groups);
    if own.is_empty() && !fields.contains_key(CACHE_GROUPS) {
        return Ok(Box::default());
    }
    let own = own.iter().map(|name| CacheGroup::new(target.origin(), name));
    let listed = groups_in_field(target, fields, &CACHE_GROUPS);
    let mut seen = HashSet::new();
    let mut groups: Vec<_> = own.chain(listed).collect();
    groups.retain(|group| seen.insert(group.name.clone()));
    let kept = groups.len() <= MAX_GROUPS && groups.iter().all(|group| group.name.len() <= MAX_NAME_LENGTH);
    if kept { Ok(groups.into()) } else { Err(NotStorable::Groups) }
}

/// Returns the groups of `target`'s origin that `field` lists. An invalid field lists none
/// (RFC 9651 §4.2).
pub(crate) fn groups_in_field(
    target: &TargetUri,
    fields: &HeaderMap,
    field: &http::HeaderName,
) -> Vec<CacheGroup> {
    let value = combined_lines(fields.get_all(field).iter().map(http::HeaderValue::as_bytes));
    // Members of other types are skipped, and parameters ignored (RFC 9875 §2, §3).
    let names = parse_list(&value).unwrap_or_default().into_iter().filter_map(|member| match member {
        ListMember::Item(Item { value: BareItem::String(name), .. }) => Some(name),
        _ => None,
    });
    names.map(|name| CacheGroup::new(target.origin(), &name)).collect()
}
