//! Defines the values of structured fields (RFC 9651 §3). `parser` creates them.

use std::borrow::Cow;

/// A value without parameters (§3.3).
///
/// ```
/// use larder_policy::structured::{BareItem, parse_item};
///
/// let item = parse_item(b"1.5;unit=s").expect("an item");
/// assert_eq!(item.value, BareItem::Decimal(1500));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BareItem<'a> {
    /// An integer of at most 15 digits (§3.3.1).
    Integer(i64),
    /// A decimal (§3.3.2) in thousandths, which every decimal is a whole number of.
    Decimal(i64),
    /// A string of printable ASCII, without its quotes and escapes (§3.3.3).
    String(Cow<'a, str>),
    /// A token (§3.3.4).
    Token(&'a str),
    /// A byte sequence, decoded (§3.3.5).
    Bytes(Vec<u8>),
    /// A Boolean (§3.3.6).
    Boolean(bool),
    /// A date in seconds since 1970, without leap seconds (§3.3.7).
    Date(i64),
    /// A string of Unicode, decoded (§3.3.8).
    DisplayString(String),
}

/// Keys with their values, in the order of their first occurrence (§3.1.2). Of several values of
/// one key, the last one counts.
pub type Parameters<'a> = Vec<(&'a str, BareItem<'a>)>;

/// A bare item with its parameters (§3.3).
///
/// ```
/// use larder_policy::structured::{BareItem, parse_item};
///
/// let item = parse_item(b"text;q").expect("an item");
/// assert_eq!(item.parameters, [("q", BareItem::Boolean(true))]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<'a> {
    /// The value.
    pub value: BareItem<'a>,
    /// The parameters.
    pub parameters: Parameters<'a>,
}

/// A member of a list or of a dictionary.
///
/// ```
/// use larder_policy::structured::{ListMember, parse_list};
///
/// let list = parse_list(b"a, (b c);q=1").expect("a list");
/// assert!(matches!(&list[1], ListMember::InnerList(items, parameters) if items.len() == 2));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListMember<'a> {
    /// An item.
    Item(Item<'a>),
    /// A list of items, with the parameters of the list (§3.1.1).
    InnerList(Vec<Item<'a>>, Parameters<'a>),
}
