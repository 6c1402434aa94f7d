//! Parses structured fields (RFC 9651): items, lists and dictionaries of all types.
//!
//! In this crate, `targeted` reads dictionaries and `groups` lists. Parsing is strict, as §4.2
//! requires: one error makes the whole field invalid, and an invalid field counts as absent.
//!
//! There is no limit on the number of members, parameters or characters: a field is as long as the
//! header section that contains it, which the connection limits. Parsing takes time and memory in
//! proportion to the length of the field.

mod item;
mod parser;

use std::borrow::Cow;

pub use self::item::{BareItem, Item, ListMember, Parameters};
use self::parser::{Map, Parser};

/// Returns the value of a field over all its lines, in order (§4.2; RFC 9110 §5.2). A field of one
/// line is borrowed.
///
/// ```
/// use larder_policy::structured::combined_lines;
///
/// assert_eq!(&*combined_lines([&b"a"[..], b"b"]), b"a, b");
/// ```
pub fn combined_lines<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Cow<'a, [u8]> {
    let mut lines = lines.into_iter();
    let mut value = Cow::Borrowed(lines.next().unwrap_or_default());
    for line in lines {
        let value = value.to_mut();
        value.extend_from_slice(b", ");
        value.extend_from_slice(line);
    }
    value
}

/// Parses a dictionary (§4.2.2): keys with their members, in the order of their first occurrence.
/// Of several members with one key, the last one counts. Returns `None` if the field is invalid.
///
/// ```
/// use larder_policy::structured::parse_dictionary;
///
/// let members = parse_dictionary(b"max-age=60, no-store").expect("a dictionary");
/// assert_eq!(members[1].0, "no-store");
/// assert!(parse_dictionary(b"max-age=60,").is_none());
/// ```
pub fn parse_dictionary(field: &[u8]) -> Option<Vec<(&str, ListMember<'_>)>> {
    let mut input = Parser::new(field)?;
    let mut members = Map::default();
    while !input.at_end() {
        let key = input.key()?;
        let member = if input.take(b'=') {
            input.member()?
        } else {
            ListMember::Item(Item { value: BareItem::Boolean(true), parameters: input.parameters()? })
        };
        members.set(key, member);
        input.comma()?;
    }
    Some(members.entries)
}

/// Parses a list (§4.2.1). Returns `None` if the field is invalid.
///
/// ```
/// use larder_policy::structured::parse_list;
///
/// assert_eq!(parse_list(b"a, b").expect("a list").len(), 2);
/// assert!(parse_list(b"").expect("a list").is_empty());
/// ```
pub fn parse_list(field: &[u8]) -> Option<Vec<ListMember<'_>>> {
    let mut input = Parser::new(field)?;
    let mut members = Vec::new();
    while !input.at_end() {
        members.push(input.member()?);
        input.comma()?;
    }
    Some(members)
}

/// Parses an item (§4.2.3). Returns `None` if the field is invalid or empty.
///
/// ```
/// use larder_policy::structured::{BareItem, parse_item};
///
/// let item = parse_item(b"@1659578233").expect("an item");
/// assert_eq!(item.value, BareItem::Date(1_659_578_233));
/// ```
pub fn parse_item(field: &[u8]) -> Option<Item<'_>> {
    let mut input = Parser::new(field)?;
    let item = input.item()?;
    input.at_end().then_some(item)
}
