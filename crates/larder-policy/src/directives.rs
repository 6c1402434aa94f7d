//! `Cache-Control` (RFC 9111 §5.2), read once into a value with a place for each directive that caching knows.
//!
//! Whatever a peer sends has a meaning. Of several lifetimes the first counts. Otherwise, where directives conflict, the
//! strictest reading does. A lifetime that is no number is a response that was stale when it came (§4.2.1 encourages
//! that); a qualified `private` or `no-cache` whose list can't be read is taken for the unqualified one.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    header_names::{CACHE_CONTROL, EXPIRES},
    request::{members, members_of},
};

/// Greater values count as this many seconds (§1.2.2).
const MOST_SECONDS: u64 = 1 << 31;

/// The directives of a response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ResponseDirectives {
    pub(crate) max_age: Option<Duration>,
    pub(crate) s_maxage: Option<Duration>,
    pub(crate) no_store: bool,
    pub(crate) no_cache: QualifiedDirective,
    pub(crate) private: QualifiedDirective,
    pub(crate) public: bool,
    pub(crate) must_revalidate: bool,
    pub(crate) proxy_revalidate: bool,
    pub(crate) must_understand: bool,
    pub(crate) immutable: bool,
    pub(crate) stale_while_revalidate: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
}

/// Whether a response says that nobody may store it (§5.2.2.5).
pub fn has_no_store(response: &HeaderMap) -> bool {
    members_of(response, &CACHE_CONTROL).any(|member| split(member).0.eq_ignore_ascii_case(b"no-store"))
}

/// Whether a response's content must be passed on in the form it has (§5.2.2.6).
pub fn has_no_transform(response: &HeaderMap) -> bool {
    members_of(response, &CACHE_CONTROL).any(|member| split(member).0.eq_ignore_ascii_case(b"no-transform"))
}

/// Says of a response that says nothing of it that anybody may keep it for a year, and need not ask again meanwhile
/// (RFC 8246): for what never changes under its name.
pub fn set_immutable(response: &mut HeaderMap) {
    if !response.contains_key(CACHE_CONTROL) && !response.contains_key(EXPIRES) {
        response.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    }
}

/// Says of a response that it is fresh for so long (§5.2.2.1), to the second.
pub fn set_max_age(response: &mut HeaderMap, lifetime: Duration) {
    let value = format!("max-age={}", lifetime.as_secs());
    response.extend(HeaderValue::from_str(&value).ok().map(|value| (CACHE_CONTROL, value)));
}

/// A directive that may name fields: its *qualified form* (§5.2.2.4, §5.2.2.7).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum QualifiedDirective {
    #[default]
    Absent,
    /// Only these fields are concerned.
    Fields(Vec<HeaderName>),
    /// The whole response is.
    All,
}

impl QualifiedDirective {
    pub(crate) fn is_all(&self) -> bool {
        *self == Self::All
    }

    pub(crate) fn fields(&self) -> &[HeaderName] {
        match self {
            Self::Fields(names) => names,
            _ => &[],
        }
    }

    /// The strictest reading of two.
    fn add(&mut self, argument: Option<&[u8]>) {
        let named = argument.map(unquoted).and_then(|list| field_names(&list));
        *self = match (std::mem::take(self), named) {
            (Self::All, _) | (_, None) => Self::All,
            (Self::Absent, Some(names)) => Self::Fields(names),
            (Self::Fields(mut before), Some(names)) => {
                before.extend(names);
                Self::Fields(before)
            }
        };
    }
}

/// `None` if there is no name, or one that can't be.
fn field_names(list: &[u8]) -> Option<Vec<HeaderName>> {
    let names: Option<Vec<_>> =
        members(std::iter::once(list)).map(|name| HeaderName::from_bytes(name).ok()).collect();
    names.filter(|names| !names.is_empty())
}

impl ResponseDirectives {
    /// `no-store`; `must-understand`, understood, takes its place (§5.2.2.3).
    pub(crate) fn forbid_storing(&self) -> bool {
        self.no_store && !self.must_understand
    }

    /// From the lines of `Cache-Control`.
    pub(crate) fn parse<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut directives = Self::default();
        for (name, argument) in members(lines).map(split) {
            directives.add(name, argument);
        }
        directives
    }

    pub(crate) fn add(&mut self, name: &[u8], argument: Option<&[u8]>) {
        let first = |place: &mut Option<Duration>| {
            place.get_or_insert(seconds(argument));
        };
        match &*name.to_ascii_lowercase() {
            b"max-age" => first(&mut self.max_age),
            b"s-maxage" => first(&mut self.s_maxage),
            b"stale-while-revalidate" => first(&mut self.stale_while_revalidate),
            b"stale-if-error" => first(&mut self.stale_if_error),
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache.add(argument),
            b"private" => self.private.add(argument),
            b"public" => self.public = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand = true,
            b"immutable" => self.immutable = true,
            _ => {}
        }
    }
}

/// The directives of a request (§5.2.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RequestDirectives {
    pub(crate) max_age: Option<Duration>,
    pub(crate) min_fresh: Option<Duration>,
    pub(crate) max_stale: Option<MaxStale>,
    pub(crate) no_cache: bool,
    pub(crate) no_store: bool,
    pub(crate) only_if_cached: bool,
    pub(crate) stale_if_error: Option<Duration>,
}

/// How stale a response may be (§5.2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MaxStale {
    Any,
    AtMost(Duration),
}

impl RequestDirectives {
    /// From the lines of `Cache-Control`.
    pub(crate) fn parse<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut directives = Self::default();
        for (name, argument) in members(lines).map(split) {
            match &*name.to_ascii_lowercase() {
                b"max-age" => {
                    directives.max_age.get_or_insert(seconds(argument));
                }
                // What can't be read asks for more freshness than anything has.
                b"min-fresh" => {
                    directives.min_fresh.get_or_insert(number(argument).unwrap_or(Duration::MAX));
                }
                b"max-stale" => {
                    directives.max_stale.get_or_insert(match argument {
                        None => MaxStale::Any,
                        Some(_) => MaxStale::AtMost(seconds(argument)),
                    });
                }
                b"stale-if-error" => {
                    directives.stale_if_error.get_or_insert(seconds(argument));
                }
                b"no-cache" => directives.no_cache = true,
                b"no-store" => directives.no_store = true,
                b"only-if-cached" => directives.only_if_cached = true,
                _ => {}
            }
        }
        directives
    }
}

/// Name and argument. No white space is allowed around `=` (§5.2): what comes with some is another directive, and so
/// is not understood.
fn split(member: &[u8]) -> (&[u8], Option<&[u8]>) {
    match member.iter().position(|byte| *byte == b'=') {
        Some(equals) => (&member[..equals], Some(&member[equals + 1..])),
        None => (member, None),
    }
}

/// Delta-seconds (§1.2.2); zero for anything else.
fn seconds(argument: Option<&[u8]>) -> Duration {
    number(argument).unwrap_or(Duration::ZERO)
}

/// Token or quoted string: a recipient ought to accept both (§5.2).
fn number(argument: Option<&[u8]>) -> Option<Duration> {
    delta_seconds(&unquoted(argument?))
}

/// Digits and nothing else, 2^31 and beyond as 2^31.
pub(crate) fn delta_seconds(digits: &[u8]) -> Option<Duration> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0_u64, |value, digit| {
        value.saturating_mul(10).saturating_add(u64::from(digit - b'0')).min(MOST_SECONDS)
    });
    Some(Duration::from_secs(value))
}

/// A token as it is, a quoted string without quotes and escapes (RFC 9110 §5.6.4).
fn unquoted(text: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let Some(inner) = text.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
        return text.into();
    };
    if !inner.contains(&b'\\') {
        return inner.into();
    }
    let mut plain = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        plain.extend(if *byte == b'\\' { bytes.next() } else { Some(byte) });
    }
    plain.into()
}
