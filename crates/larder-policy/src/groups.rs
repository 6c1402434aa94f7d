//! Reads cache groups (RFC 9875): sets of responses of one origin that are invalidated together.
//!
//! The `invalidation` module decides which groups an exchange invalidates.

use http::HeaderMap;

use crate::{
    Overrides, TargetUri,
    header_names::CACHE_GROUPS,
    structured::{BareItem, Item, ListMember, combined_lines, parse_list},
};

/// Maximum number of groups of a response. Further ones are ignored. RFC 9875 §2 requires at least
/// 32.
const MAX_GROUPS: usize = 64;
/// Maximum length of a group name in bytes. Longer names are ignored. RFC 9875 §2 requires at least
/// 32 characters.
const MAX_NAME_LENGTH: usize = 128;

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

/// Returns the groups of a response: those in its `Cache-Groups`, and those that the overrides add.
pub(crate) fn groups(
    target: &TargetUri,
    fields: &HeaderMap,
    overrides: Option<&Overrides>,
) -> Box<[CacheGroup]> {
    let listed = if fields.contains_key(CACHE_GROUPS) {
        groups_in_field(target, fields, &CACHE_GROUPS)
    } else {
        Box::default()
    };
    match overrides.map(|overrides| &*overrides.groups) {
        None | Some([]) => listed,
        Some(added) => {
            let mut groups = listed.into_vec();
            groups.extend(added.iter().map(|name| CacheGroup::new(target.origin(), name)));
            groups.truncate(MAX_GROUPS);
            groups.into()
        }
    }
}

/// Returns the groups of `target`'s origin that `field` lists, within the limits for number and
/// length.
pub(crate) fn groups_in_field(
    target: &TargetUri,
    fields: &HeaderMap,
    field: &http::HeaderName,
) -> Box<[CacheGroup]> {
    let value = combined_lines(fields.get_all(field).iter().map(http::HeaderValue::as_bytes));
    // Members of other types are skipped, and parameters ignored (RFC 9875 §2, §3).
    let names = parse_list(&value).unwrap_or_default().into_iter().filter_map(|member| match member {
        ListMember::Item(Item { value: BareItem::String(name), .. }) => Some(name),
        _ => None,
    });
    let short = names.filter(|name| name.len() <= MAX_NAME_LENGTH).take(MAX_GROUPS);
    short.map(|name| CacheGroup::new(target.origin(), &name)).collect()
}
