//! Reads cache groups (RFC 9875): sets of responses of one origin that are invalidated together.
//! Other caches call them tags, and read them from fields of their own ([`Rules::tag_fields`]).
//!
//! The `invalidation` module decides which groups an exchange invalidates.

use std::{borrow::Cow, collections::HashSet};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    NotStorable, Rules, TargetUri,
    header_names::CACHE_GROUPS,
    structured::{BareItem, Item, ListMember, combined_lines, parse_list},
};

/// The origin in the groups that are tags. It is no origin of a URL.
const OF_TAGS: &str = "*";
/// Fields of tags that separate them by white space. In others, commas do.
const SEPARATED_BY_SPACE: [&str; 2] = ["surrogate-key", "xkey"];
/// Fields of tags in which white space and commas separate them: those of Drupal.
const SEPARATED_BY_BOTH: [&str; 2] = ["cache-tags", "purge-cache-tags"];
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

    /// Creates the group of a tag, as other caches read it from fields such as `Surrogate-Key`
    /// ([`Rules::tag_fields`]). It has the responses of all origins: programs that purge tags do
    /// not name the host.
    ///
    /// ```
    /// use larder_policy::CacheGroup;
    ///
    /// assert_eq!(CacheGroup::tag("product-7").origin(), "*");
    /// ```
    pub fn tag(name: &str) -> Self {
        Self::new(OF_TAGS, name)
    }

    /// Returns the origin: scheme and authority, or `*` for a [tag](Self::tag).
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Returns the name, which is case-sensitive.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Rules {
    /// Returns the groups of a response, each once: those of the overrides first, then those in its
    /// `Cache-Groups`, and those in its fields of tags.
    ///
    /// # Errors
    ///
    /// Returns [`NotStorable::Groups`] if there are more groups, or longer names, than are kept. A
    /// removal of a group that was left out would miss the response.
    pub(crate) fn groups(
        &self,
        target: &TargetUri,
        fields: &HeaderMap,
    ) -> Result<Box<[CacheGroup]>, NotStorable> {
        let own = self.overrides.as_deref().map_or(&[][..], |overrides| &*overrides.groups);
        if own.is_empty() && !fields.contains_key(CACHE_GROUPS) && !self.has_tags(fields) {
            return Ok(Box::default());
        }
        let own = own.iter().map(|name| CacheGroup::new(target.origin(), name));
        let listed = groups_in_field(target, fields, &CACHE_GROUPS);
        let tags = self.tag_fields.iter().flat_map(|field| tags_in_field(fields, field));
        distinct(own.chain(listed).chain(tags.map(|tag| CacheGroup::tag(&tag))))
    }

    /// Returns the groups of a stored response that was validated by one with the `new` fields.
    /// `fields` are the stored fields, updated by the new ones, and `stored` the groups so far.
    ///
    /// Fields of tags are not stored. If the new response has none, the groups so far stay.
    ///
    /// # Errors
    ///
    /// As [`groups`](Self::groups).
    pub(crate) fn freshened_groups(
        &self,
        target: &TargetUri,
        stored: &[CacheGroup],
        new: &HeaderMap,
        fields: &HeaderMap,
    ) -> Result<Box<[CacheGroup]>, NotStorable> {
        let groups = self.groups(target, fields)?;
        if self.tag_fields.is_empty() || self.has_tags(new) {
            return Ok(groups);
        }
        distinct(groups.iter().chain(stored).cloned())
    }

    /// Returns whether a response has a field of tags.
    fn has_tags(&self, fields: &HeaderMap) -> bool {
        self.tag_fields.iter().any(|field| fields.contains_key(field))
    }

    /// Removes the fields of tags ([`tag_fields`](Self::tag_fields)) from a response that is sent to
    /// a client. They are meant for this cache.
    ///
    /// ```
    /// use http::{HeaderMap, HeaderName, HeaderValue};
    /// use larder_policy::Rules;
    ///
    /// let mut fields = HeaderMap::new();
    /// fields.insert("surrogate-key", HeaderValue::from_static("product-7 shelf-3"));
    /// let rules = Rules::shared().with_tag_fields([HeaderName::from_static("surrogate-key")]);
    /// rules.strip_tags(&mut fields);
    /// assert!(fields.is_empty());
    /// ```
    pub fn strip_tags(&self, fields: &mut HeaderMap) {
        self.tag_fields.iter().for_each(|field| drop(fields.remove(field)));
    }
}

/// Returns the groups without repetitions.
///
/// # Errors
///
/// Returns [`NotStorable::Groups`] if there are more, or longer names, than are kept.
fn distinct(groups: impl Iterator<Item = CacheGroup>) -> Result<Box<[CacheGroup]>, NotStorable> {
    let mut seen = HashSet::new();
    let mut groups: Vec<_> = groups.collect();
    groups.retain(|group| seen.insert(group.clone()));
    let kept = groups.len() <= MAX_GROUPS && groups.iter().all(|group| group.name.len() <= MAX_NAME_LENGTH);
    if kept { Ok(groups.into()) } else { Err(NotStorable::Groups) }
}

/// Returns the tags in all lines of a field. They are separated by white space in `Surrogate-Key`
/// and `xkey`, by white space or commas in `Cache-Tags` and `Purge-Cache-Tags`, and by commas in
/// others. Bytes that are not UTF-8 are replaced, as in the name of a purge.
pub fn tags_in_field<'a>(
    fields: &'a HeaderMap,
    field: &HeaderName,
) -> impl Iterator<Item = Cow<'a, str>> + use<'a> {
    let by_both = SEPARATED_BY_BOTH.contains(&field.as_str());
    let by_space = by_both || SEPARATED_BY_SPACE.contains(&field.as_str());
    let by_comma = by_both || !by_space;
    let is_separator = move |byte: &u8| by_space && matches!(byte, b' ' | b'\t') || by_comma && *byte == b',';
    let lines = fields.get_all(field).iter().map(HeaderValue::as_bytes);
    lines
        .flat_map(move |line| line.split(is_separator))
        .map(<[u8]>::trim_ascii)
        .filter(|tag| !tag.is_empty())
        .map(String::from_utf8_lossy)
}

/// Returns the groups of `target`'s origin that `field` lists. An invalid field lists none
/// (RFC 9651 §4.2).
pub(crate) fn groups_in_field(target: &TargetUri, fields: &HeaderMap, field: &HeaderName) -> Vec<CacheGroup> {
    let value = combined_lines(fields.get_all(field).iter().map(HeaderValue::as_bytes));
    // Members of other types are skipped, and parameters ignored (RFC 9875 §2, §3).
    let names = parse_list(&value).unwrap_or_default().into_iter().filter_map(|member| match member {
        ListMember::Item(Item { value: BareItem::String(name), .. }) => Some(name),
        _ => None,
    });
    names.map(|name| CacheGroup::new(target.origin(), &name)).collect()
}
