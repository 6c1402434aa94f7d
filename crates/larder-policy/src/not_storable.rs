//! Lists the reasons why a response is not stored. `storing` decides on them.

use std::fmt;

use crate::{StatusReason, reasons};

/// The reason why a response must not be stored (RFC 9111 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotStorable {
    /// The method has no cacheable responses: only GET has, and POST under certain conditions (§3).
    Method,
    /// The response is an interim response (§3).
    NotFinal,
    /// The response is a 304 without a stored response that it validates (§3).
    NotModified,
    /// The response has `must-understand`, and its status code is not understood (§5.2.2.3).
    NotUnderstood,
    /// The response is a 206 with a missing, invalid or repeated `Content-Range`, with several
    /// parts, or with a `Content-Length` that disagrees with its range (§3.3).
    InvalidRange,
    /// The response has `no-store` (§5.2.2.5).
    NoStore,
    /// The request has `no-store` (§5.2.1.5).
    RequestNoStore,
    /// The response has `private`, and this cache is shared (§5.2.2.7).
    PrivateDirective,
    /// The request has `Authorization`, and no directive of the response permits storing (§3.5).
    Authorization,
    /// The response has `Set-Cookie`, and this cache is shared (§7.3; see
    /// [`Rules::store_set_cookie`](crate::Rules::store_set_cookie)).
    SetCookie,
    /// The response has no lifetime, no `public`, and no status code with heuristic freshness (§3).
    NotPermitted,
    /// The response is stale on arrival and has no validator, so that it could never be reused
    /// (§4.3.1).
    NotReusable,
    /// The response has `Vary: *`, which no later request matches (§4.1).
    VaryStar,
    /// The response is an error that fields of the request may have caused which are in no key, and
    /// its lifetime is not meant for this cache (RFC 9110 §15.5; see
    /// [`Rules::store_request_errors`](crate::Rules::store_request_errors)).
    RequestError,
    /// The status code is one that no cache stores: 428, 429, 431 or 511 (RFC 6585 §3 to §6).
    NeverStoredStatus,
    /// The response belongs to more than 2,048 groups, or to one with a name of more than 1,024
    /// bytes (RFC 9875 §2). A removal of a group that is not kept would miss the response.
    Groups,
    /// The header section is longer than the cache stores. It is never returned by [`Rules`](crate::Rules).
    HeadTooLarge,
    /// As many variants are stored under the key as the cache stores, and all are in use. It is
    /// never returned by [`Rules`](crate::Rules).
    TooManyVariants,
}

impl NotStorable {
    /// All reasons, in declaration order.
    pub const ALL: [Self; 18] = [
        Self::Method,
        Self::NotFinal,
        Self::NotModified,
        Self::NotUnderstood,
        Self::InvalidRange,
        Self::NoStore,
        Self::RequestNoStore,
        Self::PrivateDirective,
        Self::Authorization,
        Self::SetCookie,
        Self::NotPermitted,
        Self::NotReusable,
        Self::VaryStar,
        Self::RequestError,
        Self::NeverStoredStatus,
        Self::Groups,
        Self::HeadTooLarge,
        Self::TooManyVariants,
    ];

    /// Returns what the reason means, and what to change so that such a response is stored.
    pub fn reason(self) -> StatusReason {
        reasons::of_not_storable(self)
    }

    /// Returns the section that forbids storing, or on which the limit of this cache is based, such
    /// as `RFC 9111 §5.2.2.5`.
    pub fn section(self) -> &'static str {
        match self {
            Self::Method | Self::NotFinal | Self::NotPermitted | Self::NotModified => "RFC 9111 §3",
            Self::NotUnderstood => "RFC 9111 §5.2.2.3",
            Self::InvalidRange => "RFC 9111 §3.3",
            Self::NoStore => "RFC 9111 §5.2.2.5",
            Self::RequestNoStore => "RFC 9111 §5.2.1.5",
            Self::PrivateDirective => "RFC 9111 §5.2.2.7",
            Self::Authorization => "RFC 9111 §3.5",
            Self::SetCookie => "RFC 9111 §7.3",
            Self::NotReusable => "RFC 9111 §4.3.1",
            Self::VaryStar | Self::TooManyVariants => "RFC 9111 §4.1",
            Self::RequestError => "RFC 9110 §15.5",
            Self::NeverStoredStatus => "RFC 6585 §3",
            Self::Groups => "RFC 9875 §2",
            Self::HeadTooLarge => "RFC 9110 §5.4",
        }
    }

    /// Returns the reason as the `detail` parameter of `Cache-Status`, a token (RFC 9211 §2.8).
    pub fn token(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::NotFinal => "interim",
            Self::NotModified => "not-modified",
            Self::NotUnderstood => "must-understand",
            Self::InvalidRange => "part-unclear",
            Self::NoStore => "no-store",
            Self::RequestNoStore => "request-no-store",
            Self::PrivateDirective => "private",
            Self::Authorization => "authorization",
            Self::SetCookie => "set-cookie",
            Self::NotPermitted => "nothing-allows",
            Self::NotReusable => "no-use",
            Self::VaryStar => "vary-star",
            Self::RequestError => "request-error",
            Self::NeverStoredStatus => "status",
            Self::Groups => "groups",
            Self::HeadTooLarge => "head-too-large",
            Self::TooManyVariants => "too-many-variants",
        }
    }
}

impl NotStorable {
    /// Returns whether the reason is that the exchange concerns one user, while the resource may
    /// have responses that are stored.
    pub(crate) fn concerns_one_user(self) -> bool {
        matches!(self, Self::RequestNoStore | Self::PrivateDirective | Self::Authorization | Self::SetCookie)
    }
}

impl fmt::Display for NotStorable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self {
            Self::Method => "method without cacheable responses",
            Self::NotFinal => "not a final response",
            Self::NotModified => "304 without a stored response",
            Self::NotUnderstood => "status code not understood",
            Self::InvalidRange => "invalid or inconsistent Content-Range",
            Self::NoStore => "no-store in the response",
            Self::RequestNoStore => "no-store in the request",
            Self::PrivateDirective => "private response in a shared cache",
            Self::Authorization => "Authorization in the request",
            Self::SetCookie => "Set-Cookie in a shared cache",
            Self::NotPermitted => "no lifetime or other permission to store",
            Self::NotReusable => "stale on arrival, without a validator",
            Self::VaryStar => "Vary: *",
            Self::RequestError => "error that the request may have caused",
            Self::NeverStoredStatus => "status code that no cache stores",
            Self::Groups => "more or longer cache groups than are kept",
            Self::HeadTooLarge => "header section longer than the cache stores",
            Self::TooManyVariants => "more variants than the cache stores, all in use",
        };
        write!(f, "{reason} ({})", self.section().trim_start_matches("RFC 9111 "))
    }
}
