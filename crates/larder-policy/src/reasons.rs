//! Explains the words of `Cache-Status` for people: what each means, and what to change. The words
//! themselves are those of `status` and `not_storable`.

use std::fmt;

use crate::{CacheDetail, ForwardReason, NotStorable};

/// An explanation of one word of `Cache-Status`: a forward reason, or a detail.
///
/// The [page of all words](https://docs.rs/larder-policy/latest/larder_policy/cache_status_words)
/// is generated from these.
///
/// ```
/// use larder_policy::{CacheDetail, NotStorable};
///
/// let reason = CacheDetail::NotStored(NotStorable::SetCookie).reason();
/// assert_eq!(reason.word, "set-cookie");
/// assert_eq!(reason.section, "RFC 9111 §7.3");
/// println!("{}\n{}", reason.meaning, reason.advice);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatusReason {
    /// The word, such as `no-store`.
    pub word: &'static str,
    /// What the word means, in whole sentences.
    pub meaning: &'static str,
    /// What to do if the response was expected to come from the cache, in whole sentences.
    pub advice: &'static str,
    /// The section of the RFC that requires or describes this.
    pub section: &'static str,
}

/// Writes the meaning with the section, then the advice.
impl fmt::Display for StatusReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = self.meaning.trim_end_matches('.');
        write!(f, "{meaning} ({}). {}", self.section, self.advice)
    }
}

/// Creates the explanation of a forward reason.
pub(crate) fn of_forward(reason: ForwardReason) -> StatusReason {
    let (meaning, advice, section) = match reason {
        ForwardReason::Bypass => (
            "The cache was configured not to handle the request, or the request is to switch protocols.",
            "Look for a rule with `bypass` that matches the request.",
            "RFC 9211 §2.2",
        ),
        ForwardReason::Method => (
            "The method is not one that a stored response answers, such as POST, PUT or DELETE.",
            "Nothing, if the request changes something. A query by POST can be cached where the content \
             is configured to be in the key.",
            "RFC 9111 §4",
        ),
        ForwardReason::UriMiss => (
            "No response is stored for this URL: it is the first request, or the response was removed, \
             evicted or never stored.",
            "Send the request again. If the reason stays, the detail of the first response shows why it \
             was not stored. Parameters that differ in each request, such as of campaigns, can be ignored.",
            "RFC 9111 §4",
        ),
        ForwardReason::VaryMiss => (
            "Responses are stored for this URL, for other values of the request fields that `Vary` lists.",
            "Let the origin list fewer fields in `Vary`, or replace the values of such a field by a few, \
             such as the languages that the site has.",
            "RFC 9111 §4.1",
        ),
        ForwardReason::Miss => (
            "Responses are stored for this URL, and none of them can be used for this request.",
            "Nothing: the response of the origin is stored if that is possible.",
            "RFC 9111 §4",
        ),
        ForwardReason::Request => (
            "The client's directives or conditions require the origin, such as `no-cache` of a browser's reload.",
            "Send the request without them, or configure the cache to ignore the directives of clients.",
            "RFC 9111 §5.2.1",
        ),
        ForwardReason::Stale => (
            "The stored response has reached the end of its lifetime.",
            "Let the origin send a longer `max-age`, or `stale-while-revalidate`. With an `ETag` it can \
             answer 304, which costs no body.",
            "RFC 9111 §4.2",
        ),
        ForwardReason::Partial => (
            "Only a part of the response is stored, and the request needs more.",
            "Nothing: the rest is stored as it arrives.",
            "RFC 9111 §3.3",
        ),
    };
    StatusReason { word: reason.token(), meaning, advice, section }
}

/// Creates the explanation of a detail.
pub(crate) fn of_detail(detail: CacheDetail) -> StatusReason {
    const DETAIL: &str = "RFC 9211 §2.8";
    let (meaning, advice, section) = match detail {
        CacheDetail::NotStored(reason) => return of_not_storable(reason),
        CacheDetail::Storing => (
            "The response is being stored while it is sent.",
            "Nothing: the next request finds it, unless the body or the store fails before the end.",
            DETAIL,
        ),
        CacheDetail::StaleIfError => (
            "The origin failed, and a stored response was served although it is stale.",
            "Look at the origin: its error is in the log.",
            "RFC 5861 §4",
        ),
        CacheDetail::OnlyIfCached => (
            "The request has `only-if-cached`, and no stored response satisfies it.",
            "Send the request without the directive once.",
            "RFC 9111 §5.2.1.7",
        ),
        CacheDetail::BadTarget => (
            "The URL of the request cannot be fetched.",
            "Correct the URL, or the `Host` field: the host must be a name or an address, with an optional port.",
            "RFC 9110 §7.1",
        ),
        CacheDetail::OriginUnreachable => (
            "No connection to the origin could be established.",
            "Check that the origin runs and listens at the configured address. The log has the cause.",
            "RFC 9110 §15.6.3",
        ),
        CacheDetail::OriginProtocolError => (
            "The origin closed the connection before the response was complete, or sent something that is not HTTP.",
            "Look at the log for the cause, and at the log of the origin for a crash.",
            "RFC 9110 §15.6.3",
        ),
        CacheDetail::OriginTimeout => (
            "The origin did not send the head of its response in time.",
            "Look for the slow request at the origin, or raise the timeout.",
            "RFC 9110 §15.6.5",
        ),
        CacheDetail::OriginBusy => (
            "Too many requests to the origin were in progress or waiting.",
            "Raise the limit of connections to the origin, or make more of its responses cacheable.",
            "RFC 9110 §15.6.4",
        ),
        CacheDetail::RequestBodyFailed => (
            "The content of the request did not arrive in full.",
            "Nothing: the client has closed the connection, or has sent too slowly.",
            "RFC 9110 §15.5.9",
        ),
        CacheDetail::Closing => {
            ("The exchange was cancelled, for example by a shutdown.", "Send the request again.", DETAIL)
        }
        CacheDetail::Refused => (
            "The request was rejected before it reached the cache.",
            "Look at the status code and the text of the response: they name the limit or the rule.",
            DETAIL,
        ),
        CacheDetail::Upgrade => (
            "The request is to switch protocols, such as to WebSocket. The two connections are joined, and nothing \
             is stored.",
            "Nothing.",
            "RFC 9110 §7.8",
        ),
    };
    StatusReason { word: detail.token(), meaning, advice, section }
}

/// Creates the explanation of a response that was not stored.
pub(crate) fn of_not_storable(reason: NotStorable) -> StatusReason {
    let (meaning, advice) = match reason {
        NotStorable::Method => (
            "The method has no cacheable responses: only GET has, and a query if its content is in the key.",
            "Use GET for what is read. A query by POST can be cached where its content is configured to be in the key.",
        ),
        NotStorable::NotFinal => ("The response is an interim one (1xx).", "Nothing."),
        NotStorable::NotModified => (
            "The response is a 304 for which no response is stored: the client has sent the condition.",
            "Nothing: a request without a condition stores the page.",
        ),
        NotStorable::NotUnderstood => (
            "The response has `must-understand`, and its status code is not one that this cache implements.",
            "Let the origin leave out `must-understand`, or send another status code.",
        ),
        NotStorable::InvalidRange => (
            "The response is a 206 with a missing or invalid `Content-Range`, or with a length that disagrees with it.",
            "Correct the range responses of the origin, or let it answer requests for ranges with 200.",
        ),
        NotStorable::NoStore => (
            "The response has `no-store`.",
            "If it is the same for all users, let the origin send `Cache-Control: public, max-age=60` instead. \
             Many frameworks add `no-store` to pages with a session.",
        ),
        NotStorable::RequestNoStore => (
            "The request has `no-store`.",
            "Send the request without it, or configure the cache to ignore the directives of clients.",
        ),
        NotStorable::PrivateDirective => (
            "The response has `private`, so that a shared cache must not store it.",
            "If it is the same for all users, let the origin send `public`. Otherwise add the user to the key.",
        ),
        NotStorable::Authorization => (
            "The request has `Authorization`, and the response has no directive that permits a shared cache to store it.",
            "If it is the same for all users, let the origin send `public` or `s-maxage`. Otherwise add the user to \
             the key.",
        ),
        NotStorable::SetCookie => (
            "The response has `Set-Cookie`, and every user of a shared cache would get the same cookie.",
            "Let the origin set the cookie in another response, or configure that responses with cookies are stored \
             if the cookie is the same for all.",
        ),
        NotStorable::NotPermitted => (
            "The response has no lifetime, nothing else that permits storing it, and a status code that is not \
             cacheable by default.",
            "Let the origin send `Cache-Control: max-age=60`, or configure a default lifetime.",
        ),
        NotStorable::NotReusable => (
            "The response is stale on arrival and has neither `ETag` nor `Last-Modified`: no later request could use it.",
            "Let the origin send a `max-age` greater than 0, or an `ETag`.",
        ),
        NotStorable::VaryStar => (
            "The response has `Vary: *`: it depends on something that no request shows.",
            "Let the origin list the request fields that the response depends on.",
        ),
        NotStorable::RequestError => (
            "The response is an error that fields of this request may have caused. One client could otherwise replace \
             the page with an error for all.",
            "If the error is the same for all clients, let the origin send `s-maxage` or `CDN-Cache-Control` with it.",
        ),
        NotStorable::NeverStoredStatus => (
            "No cache stores a response with this status code: 428, 429, 431 or 511.",
            "Nothing: they concern one client or one network.",
        ),
        NotStorable::Groups => (
            "The response has more than 2,048 groups (tags), or one with a name of more than 1,024 bytes.",
            "Let the origin send fewer or shorter tags.",
        ),
        NotStorable::HeadTooLarge => (
            "The header section of the response is longer than the cache stores.",
            "Let the origin send fewer or shorter fields, or raise the limit of the stored head.",
        ),
        NotStorable::TooManyVariants => (
            "As many variants of this URL are stored as the cache allows, and all of them are in use.",
            "Let the origin list fewer fields in `Vary`, replace the values of such a field by a few, or raise the \
             limit of variants.",
        ),
    };
    StatusReason { word: reason.token(), meaning, advice, section: reason.section() }
}
