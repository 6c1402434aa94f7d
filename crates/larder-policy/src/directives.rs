//! Parses `Cache-Control` (RFC 9111 §5.2) once, into a struct with a field for each directive that
//! this crate implements. `targeted` and `overrides` select those that apply to this cache. What a
//! directive permits or forbids is decided in `storing`, `freshness`, `reuse` and `stale`.
//!
//! Parsing cannot fail. Of several values for one lifetime the first counts. All other conflicts
//! are resolved to the strictest directive. A lifetime that is not a number counts as zero, which
//! makes the response stale on arrival (§4.2.1 encourages this). A qualified `private` or
//! `no-cache` with an invalid list of names counts as unqualified.
//!
//! An invalid directive restricts, but it permits nothing: `s-maxage=x` neither permits storing
//! (§3) nor sharing a response to a request with `Authorization` (§3.5).

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    header_names::{CACHE_CONTROL, EXPIRES},
    list::{list_members, members_of},
};

/// Largest number of seconds that is represented. Greater values count as this one (§1.2.2).
const MAX_DELTA_SECONDS: u64 = 1 << 31;
/// Longest lifetime that is represented, also in the overrides. Sums and differences with it do not
/// overflow.
pub(crate) const MAX_LIFETIME: Duration = Duration::from_secs(MAX_DELTA_SECONDS);

/// The directives of a response (§5.2.2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ResponseDirectives {
    pub(crate) max_age: Option<Duration>,
    pub(crate) s_maxage: Option<Duration>,
    pub(crate) no_store: bool,
    pub(crate) no_cache: QualifiedDirective,
    pub(crate) private: QualifiedDirective,
    /// `public` without an argument. With one it is invalid, and permits nothing.
    pub(crate) public: bool,
    pub(crate) must_revalidate: bool,
    pub(crate) proxy_revalidate: bool,
    pub(crate) must_understand: bool,
    pub(crate) immutable: bool,
    pub(crate) stale_while_revalidate: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
    /// The directives among `max-age`, `s-maxage` and `must-revalidate` that are invalid.
    pub(crate) invalid: InvalidDirectives,
}

/// The directives that permit something when they are valid, and that are not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct InvalidDirectives {
    pub(crate) max_age: bool,
    pub(crate) s_maxage: bool,
    pub(crate) must_revalidate: bool,
}

/// The argument that a response directive takes (§5.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArgumentType {
    /// The directive is unknown, and ignored (§5.2.3).
    Unknown,
    /// No argument.
    None,
    /// A number of seconds.
    Seconds,
    /// No argument, or a list of field names.
    FieldNames,
}

impl ArgumentType {
    /// Returns the argument type of a directive with this name in lower case.
    pub(crate) fn of(name: &str) -> Self {
        match name {
            "max-age" | "s-maxage" | "stale-while-revalidate" | "stale-if-error" => Self::Seconds,
            "no-cache" | "private" => Self::FieldNames,
            "no-store" | "public" | "must-revalidate" | "proxy-revalidate" | "must-understand"
            | "immutable" | "no-transform" => Self::None,
            _ => Self::Unknown,
        }
    }
}

/// Returns whether a response has the `no-store` directive (§5.2.2.5). `must-understand` (§5.2.2.3)
/// is not considered.
pub fn has_no_store(response: &HeaderMap) -> bool {
    members_of(response, &CACHE_CONTROL)
        .any(|member| split_directive(member).0.eq_ignore_ascii_case(b"no-store"))
}

/// Returns whether a response has the `no-transform` directive: its content must be forwarded
/// unchanged (§5.2.2.6).
pub fn has_no_transform(response: &HeaderMap) -> bool {
    members_of(response, &CACHE_CONTROL)
        .any(|member| split_directive(member).0.eq_ignore_ascii_case(b"no-transform"))
}

/// Sets `Cache-Control: public, max-age=31536000, immutable` on a response that has neither
/// `Cache-Control` nor `Expires`.
///
/// Any cache may then store it for a year, and clients do not revalidate it in that time
/// (RFC 8246). Use it for content that never changes under its URL.
pub fn set_immutable(response: &mut HeaderMap) {
    if !response.contains_key(CACHE_CONTROL) && !response.contains_key(EXPIRES) {
        response.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    }
}

/// Sets `Cache-Control` to this lifetime in whole seconds, for private caches (§5.2.2.1) and for
/// shared ones (§5.2.2.10), replacing the previous value.
///
/// A lifetime for shared caches also permits them to store an error that one request can cause.
pub fn set_max_age(response: &mut HeaderMap, lifetime: Duration) {
    let seconds = lifetime.as_secs();
    let value = format!("max-age={seconds}, s-maxage={seconds}");
    response.extend(HeaderValue::from_str(&value).ok().map(|value| (CACHE_CONTROL, value)));
}

/// A directive that may be limited to named fields, in its *qualified form* (§5.2.2.4, §5.2.2.7).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum QualifiedDirective {
    /// The response does not have the directive.
    #[default]
    Absent,
    /// The directive applies to these fields only.
    Fields(Vec<HeaderName>),
    /// The directive applies to the whole response.
    All,
}

impl QualifiedDirective {
    /// Returns whether the directive applies to the whole response.
    pub(crate) fn is_all(&self) -> bool {
        *self == Self::All
    }

    /// Returns the fields to which a qualified directive applies, or none.
    pub(crate) fn fields(&self) -> &[HeaderName] {
        match self {
            Self::Fields(names) => names,
            _ => &[],
        }
    }

    /// Adds another occurrence of the directive. The strictest combination counts.
    fn add(&mut self, argument: Option<&[u8]>) {
        let named = argument.map(unquoted).and_then(|list| field_names(&list));
        *self = match (std::mem::take(self), named) {
            (Self::All, _) | (_, None) => Self::All,
            (Self::Absent, Some(names)) => Self::Fields(names),
            (Self::Fields(mut names), Some(more)) => {
                names.extend(more);
                Self::Fields(names)
            }
        };
    }
}

/// Parses a list of field names. Returns `None` if it is empty or contains an invalid name.
fn field_names(list: &[u8]) -> Option<Vec<HeaderName>> {
    let names: Option<Vec<_>> =
        list_members(std::iter::once(list)).map(|name| HeaderName::from_bytes(name).ok()).collect();
    names.filter(|names| !names.is_empty())
}

impl ResponseDirectives {
    /// Returns whether `no-store` forbids storing. `must-understand` disables `no-store`
    /// (§5.2.2.3); the `storing` module checks that the status code is understood.
    pub(crate) fn forbids_storing(&self) -> bool {
        self.no_store && !self.must_understand
    }

    /// Returns whether a valid directive permits a shared cache to store the response to a request
    /// with `Authorization`: `public`, `must-revalidate` or `s-maxage` (§3.5).
    pub(crate) fn permits_authorization(&self) -> bool {
        self.public
            || self.must_revalidate && !self.invalid.must_revalidate
            || self.valid_s_maxage().is_some()
    }

    /// Returns `max-age`, or `None` if it is missing or invalid.
    pub(crate) fn valid_max_age(&self) -> Option<Duration> {
        self.max_age.filter(|_| !self.invalid.max_age)
    }

    /// Returns `s-maxage`, or `None` if it is missing or invalid.
    pub(crate) fn valid_s_maxage(&self) -> Option<Duration> {
        self.s_maxage.filter(|_| !self.invalid.s_maxage)
    }

    /// Parses the field lines of a response's `Cache-Control`.
    pub(crate) fn parse<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut directives = Self::default();
        for (name, argument) in list_members(lines).map(split_directive) {
            directives.add(name, argument);
        }
        directives
    }

    /// Adds one directive. Unknown directives are ignored (§5.2.3).
    pub(crate) fn add(&mut self, name: &[u8], argument: Option<&[u8]>) {
        // Returns whether the value is invalid. It then counts as zero.
        let first = |slot: &mut Option<Duration>| {
            let seconds = parse_seconds(argument);
            slot.get_or_insert(seconds.unwrap_or_default());
            seconds.is_none()
        };
        match &*name.to_ascii_lowercase() {
            b"max-age" => self.invalid.max_age |= first(&mut self.max_age),
            b"s-maxage" => self.invalid.s_maxage |= first(&mut self.s_maxage),
            b"stale-while-revalidate" => _ = first(&mut self.stale_while_revalidate),
            b"stale-if-error" => _ = first(&mut self.stale_if_error),
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache.add(argument),
            b"private" => self.private.add(argument),
            b"public" => self.public |= argument.is_none(),
            b"must-revalidate" => {
                self.must_revalidate = true;
                self.invalid.must_revalidate |= argument.is_some();
            }
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand = true,
            b"immutable" => self.immutable = true,
            _ => {}
        }
    }
}

/// The directives that apply to this cache.
#[derive(Debug)]
pub(crate) struct EffectiveDirectives {
    pub(crate) directives: ResponseDirectives,
    /// Whether `Cache-Control` and `Expires` are ignored, since a targeted field or an override
    /// replaces them (RFC 9213 §2.2).
    pub(crate) targeted: bool,
    /// Source of the freshness lifetime.
    pub(crate) source: DirectiveSource,
    /// Whether a response without explicit lifetime may get one from this cache: a heuristic one
    /// (§4.2.2), or the default of the overrides.
    pub(crate) may_guess: bool,
}

/// The source of a response's freshness lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum DirectiveSource {
    /// The response. Its age at arrival counts.
    #[default]
    Origin,
    /// An override. The lifetime is counted from the arrival of the response.
    Override,
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

/// The longest staleness that a request accepts (§5.2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MaxStale {
    /// `max-stale` without an argument: any staleness is accepted.
    Any,
    /// `max-stale` with an argument: staleness up to this duration is accepted.
    AtMost(Duration),
}

impl RequestDirectives {
    /// Parses the field lines of a request's `Cache-Control`.
    pub(crate) fn parse<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut directives = Self::default();
        for (name, argument) in list_members(lines).map(split_directive) {
            match &*name.to_ascii_lowercase() {
                b"max-age" => {
                    directives.max_age.get_or_insert(seconds_or_zero(argument));
                }
                // An invalid `min-fresh` requires more freshness than any response has.
                b"min-fresh" => {
                    directives.min_fresh.get_or_insert(parse_seconds(argument).unwrap_or(Duration::MAX));
                }
                b"max-stale" => {
                    directives.max_stale.get_or_insert(match argument {
                        None => MaxStale::Any,
                        Some(_) => MaxStale::AtMost(seconds_or_zero(argument)),
                    });
                }
                b"stale-if-error" => {
                    directives.stale_if_error.get_or_insert(seconds_or_zero(argument));
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

/// Splits a directive into its name and argument.
///
/// White space around `=` is not allowed (§5.2). Before `=` it becomes part of the name, which
/// makes the directive unknown. After `=` it makes the argument invalid.
fn split_directive(member: &[u8]) -> (&[u8], Option<&[u8]>) {
    match member.iter().position(|byte| *byte == b'=') {
        Some(equals) => (&member[..equals], Some(&member[equals + 1..])),
        None => (member, None),
    }
}

/// Parses delta-seconds (§1.2.2). Returns zero for anything else.
fn seconds_or_zero(argument: Option<&[u8]>) -> Duration {
    parse_seconds(argument).unwrap_or(Duration::ZERO)
}

/// Parses delta-seconds from a token or a quoted string. Recipients ought to accept both forms
/// (§5.2).
fn parse_seconds(argument: Option<&[u8]>) -> Option<Duration> {
    delta_seconds(&unquoted(argument?))
}

/// Parses delta-seconds (§1.2.2), which consist of digits only. Values of 2^31 and more count as
/// 2^31.
pub(crate) fn delta_seconds(digits: &[u8]) -> Option<Duration> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0_u64, |value, digit| {
        value.saturating_mul(10).saturating_add(u64::from(digit - b'0')).min(MAX_DELTA_SECONDS)
    });
    Some(Duration::from_secs(value))
}

/// Returns a token unchanged, or the content of a quoted string without its quotes and escapes
/// (RFC 9110 §5.6.4).
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
