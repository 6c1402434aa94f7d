//! Decides whether a response may be stored, and which of its header fields are stored (RFC 9111
//! §3).
//!
//! `freshness` computes the lifetime, `targeted` and `overrides` select the directives that count,
//! `vary` and `groups` read what else is stored. Whether the *body* is complete is for the caller.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::{
    ByteRange, CacheKind, Exchange, FreshnessInfo, LifetimeSource, NotStorable, RequestHead, RequestHeaders,
    Rules, SelectingHeaders, StoredHead, TargetUri, Validator,
    age::{age_value, date_value},
    directives::{DirectiveSource, EffectiveDirectives, ResponseDirectives},
    freshness::is_heuristically_cacheable,
    header_names::{
        AGE, AUTHORIZATION, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, EXPIRES, SET_COOKIE, VARY,
    },
    hop_by_hop::Unstorable,
    request::HeaderFlags,
};

impl Rules {
    /// Returns the head to be stored if the response may be stored (§3).
    ///
    /// `fields` are the header fields as received. The caller is responsible for storing only
    /// complete bodies (§3.3).
    ///
    /// # Errors
    ///
    /// Returns a [`NotStorable`] reason if the response must not be stored. This is a decision and
    /// not a failure.
    pub fn storable<F: RequestHeaders>(
        &self,
        target: &TargetUri,
        request: &RequestHead<'_, F>,
        status: StatusCode,
        fields: &HeaderMap,
        exchange: Exchange,
    ) -> Result<StoredHead, NotStorable> {
        let effective = self.effective_directives(request, status, fields);
        let part = parse_part(status, fields)?;
        self.check_prohibitions(request, status, &effective.directives, fields)?;
        self.check_request_error(request, &effective, status, fields)?;
        let date = date_value(fields, exchange);
        let freshness = self.freshness_info(&effective, status, fields, exchange, date);
        self.check_method(target, request, &effective, fields, &freshness)?;
        self.check_permissions(&effective, status, fields)?;
        let selecting = SelectingHeaders::of(fields, self.additional_selecting_names(), request);
        if selecting.never_matches() {
            return Err(NotStorable::VaryStar);
        }
        let reusable = is_servable_without_validation(&freshness) || Validator::of(fields).is_some();
        if !reusable {
            return Err(NotStorable::NotReusable);
        }
        let groups = self.groups(target, fields)?;
        let fields = self.stored_fields(fields, &effective.directives);
        Ok(StoredHead { status, fields, selecting, freshness, groups, part })
    }

    /// Returns the reason if the header fields of a response alone forbid storing it, whatever
    /// the request.
    ///
    /// This quick check costs nanoseconds. It considers `no-store` and `private` in `Cache-Control`
    /// and the presence of `Set-Cookie`, but neither targeted fields nor overrides. `None` does not
    /// mean that the response may be stored, which [`storable`](Self::storable) decides.
    pub fn forbids_storing<F: RequestHeaders>(&self, fields: &F) -> Option<NotStorable> {
        let directives = ResponseDirectives::parse(fields.lines("cache-control"));
        if directives.forbids_storing() {
            Some(NotStorable::NoStore)
        } else if self.is_unshareable(&directives) {
            Some(NotStorable::PrivateDirective)
        } else {
            self.has_unshareable_cookie(fields).then_some(NotStorable::SetCookie)
        }
    }

    /// Returns whether the response is `private` and this cache is shared (§5.2.2.7).
    fn is_unshareable(&self, directives: &ResponseDirectives) -> bool {
        self.kind == CacheKind::Shared && directives.private.is_all()
    }

    /// Returns whether the response has a cookie that a shared cache must not serve to other users
    /// (§7.3).
    fn has_unshareable_cookie<F: RequestHeaders>(&self, fields: &F) -> bool {
        self.kind == CacheKind::Shared
            && !self.store_set_cookie
            && fields.lines(SET_COOKIE.as_str()).next().is_some()
    }

    /// Computes the freshness information of a response with these fields.
    pub(crate) fn freshness_info(
        &self,
        effective: &EffectiveDirectives,
        status: StatusCode,
        fields: &HeaderMap,
        exchange: Exchange,
        date: crate::Timestamp,
    ) -> FreshnessInfo {
        let directives = &effective.directives;
        let shared = self.kind == CacheKind::Shared;
        let corrected_initial_age = exchange.corrected_initial_age(date, age_value(fields));
        let mut lifetime = self.freshness_lifetime(effective, status, fields, date, exchange.response_time);
        // What may be meant for one user, without anything that allows to share it, is not served
        // without validation, also not while the origin fails.
        let validate_first = !effective.may_guess && !lifetime.from.is_explicit() && !directives.public;
        if effective.source == DirectiveSource::Override {
            // The lifetime of an override is counted from arrival, so the age at arrival does not
            // shorten it.
            lifetime.lifetime = lifetime.lifetime.saturating_add(corrected_initial_age);
            lifetime.from = LifetimeSource::Override;
        }
        FreshnessInfo {
            request_time: exchange.request_time,
            response_time: exchange.response_time,
            corrected_initial_age,
            lifetime,
            date,
            must_revalidate: directives.must_revalidate
                || validate_first
                || shared && (directives.proxy_revalidate || directives.s_maxage.is_some()),
            no_cache: directives.no_cache.is_all(),
            immutable: directives.immutable,
            stale_while_revalidate: directives.stale_while_revalidate,
            stale_if_error: directives.stale_if_error,
        }
    }

    /// Returns the names of selecting header fields that are added to those of `Vary`: those of the
    /// overrides, and in a private cache `Authorization`. Its user may have several accounts, and
    /// the page of one must not be served to another.
    pub(crate) fn additional_selecting_names(&self) -> impl Iterator<Item = HeaderName> {
        let overrides = self.overrides.iter().flat_map(|overrides| overrides.vary.iter().cloned());
        overrides.chain((self.kind == CacheKind::Private).then_some(AUTHORIZATION))
    }

    /// Checks the conditions that forbid storing (§3).
    pub(crate) fn check_prohibitions<F: RequestHeaders>(
        &self,
        request: &RequestHead<'_, F>,
        status: StatusCode,
        directives: &ResponseDirectives,
        fields: &HeaderMap,
    ) -> Result<(), NotStorable> {
        let shared = self.kind == CacheKind::Shared;
        if status.is_informational() {
            return Err(NotStorable::NotFinal);
        }
        if status == StatusCode::NOT_MODIFIED {
            return Err(NotStorable::NotModified);
        }
        if matches!(status.as_u16(), 428 | 429 | 431 | 511) {
            return Err(NotStorable::NeverStoredStatus);
        }
        if directives.must_understand && !is_understood(status) {
            return Err(NotStorable::NotUnderstood);
        }
        if directives.forbids_storing() {
            return Err(NotStorable::NoStore);
        }
        if request.forbids_storing() {
            return Err(NotStorable::RequestNoStore);
        }
        if self.is_unshareable(directives) {
            return Err(NotStorable::PrivateDirective);
        }
        if shared && request.has(HeaderFlags::AUTHORIZATION) && !directives.permits_authorization() {
            return Err(NotStorable::Authorization);
        }
        if self.has_unshareable_cookie(fields) {
            return Err(NotStorable::SetCookie);
        }
        Ok(())
    }

    /// Checks that the response is no error that one client's request may have caused, by fields
    /// that are in no key, unless its lifetime is meant for this cache.
    ///
    /// RFC 9111 permits a cache to store such errors, and requires it nowhere. Any client could
    /// otherwise replace a page with an error for all clients, where the origin adds its lifetime
    /// to errors as well.
    fn check_request_error<F: RequestHeaders>(
        &self,
        request: &RequestHead<'_, F>,
        effective: &EffectiveDirectives,
        status: StatusCode,
        fields: &HeaderMap,
    ) -> Result<(), NotStorable> {
        let suspected = match RequestCause::of(status) {
            // Servers limit the fields of a request, and not all answer 431.
            RequestCause::None => {
                self.kind == CacheKind::Shared
                    && status >= StatusCode::MULTIPLE_CHOICES
                    && has_unusual_length(request.fields())
            }
            RequestCause::Any => self.kind == CacheKind::Shared,
            // `Vary` puts the fields of negotiation into the key.
            RequestCause::Negotiation => self.kind == CacheKind::Shared && !fields.contains_key(VARY),
            RequestCause::Conditions => true,
        };
        if !suspected || self.store_request_errors {
            return Ok(());
        }
        let directives = &effective.directives;
        let is_meant = self.kind == CacheKind::Shared && directives.valid_s_maxage().is_some()
            || effective.targeted && directives.valid_max_age().is_some();
        if is_meant { Ok(()) } else { Err(NotStorable::RequestError) }
    }

    /// Checks that the method has cacheable responses: GET, or POST with an explicit lifetime and a
    /// `Content-Location` equal to the target (RFC 9110 §9.3.3).
    fn check_method<F: RequestHeaders>(
        &self,
        target: &TargetUri,
        request: &RequestHead<'_, F>,
        effective: &EffectiveDirectives,
        fields: &HeaderMap,
        freshness: &FreshnessInfo,
    ) -> Result<(), NotStorable> {
        if *request.method() == Method::GET {
            return Ok(());
        }
        let explicit = freshness.lifetime.from.is_explicit() && !effective.directives.no_cache.is_all();
        let location = fields.get(CONTENT_LOCATION).and_then(|location| location.to_str().ok());
        let is_target =
            || location.is_some_and(|location| target.join(location).is_ok_and(|uri| uri == *target));
        if *request.method() == Method::POST && explicit && is_target() {
            return Ok(());
        }
        Err(NotStorable::Method)
    }

    /// Checks that at least one condition of the list at the end of §3 permits storing.
    fn check_permissions(
        &self,
        effective: &EffectiveDirectives,
        status: StatusCode,
        fields: &HeaderMap,
    ) -> Result<(), NotStorable> {
        let directives = &effective.directives;
        let shared = self.kind == CacheKind::Shared;
        let allowed = directives.public
            || !shared && directives.private.is_all()
            || directives.valid_max_age().is_some()
            || shared && directives.valid_s_maxage().is_some()
            || !effective.targeted && fields.contains_key(EXPIRES)
            || is_heuristically_cacheable(status);
        if allowed { Ok(()) } else { Err(NotStorable::NotPermitted) }
    }

    /// Returns the fields to be stored (§3.1).
    ///
    /// These are all fields except hop-by-hop and proxy fields, and except those that qualified
    /// directives name: `no-cache` (§5.2.2.4) and, in a shared cache, `private` (§5.2.2.7). `Age`
    /// is part of the freshness information, and tags are the groups.
    pub(crate) fn stored_fields(&self, fields: &HeaderMap, directives: &ResponseDirectives) -> HeaderMap {
        let unstorable = Unstorable::of(fields, &self.targets);
        let private = match self.kind {
            CacheKind::Shared => directives.private.fields(),
            CacheKind::Private => &[],
        };
        compact(fields, |name| {
            *name != AGE
                && !unstorable.contains(name)
                && !self.tag_fields.contains(name)
                && !directives.no_cache.fields().contains(name)
                && !private.contains(name)
        })
    }
}

/// Returns a copy of the fields to be stored, with all values in one allocation. The values of
/// received fields are slices of a connection's read buffer, which each of them would otherwise
/// keep in memory.
fn compact(fields: &HeaderMap, is_stored: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let mut copy = if fields.keys().all(&is_stored) {
        // Unlike appending, it hashes no name again.
        fields.clone()
    } else {
        // Unlike removal from a clone, it keeps the order.
        let mut copy = HeaderMap::with_capacity(fields.len());
        for (name, value) in fields.iter().filter(|(name, _)| is_stored(name)) {
            copy.append(name.clone(), value.clone());
        }
        copy
    };
    let mut values = Vec::with_capacity(copy.values().map(HeaderValue::len).sum());
    copy.values().for_each(|value| values.extend_from_slice(value.as_bytes()));
    let mut rest = Bytes::from(values);
    for value in copy.values_mut() {
        let mut copied = HeaderValue::from_maybe_shared(rest.split_to(value.len()))
            .expect("a copy of a valid header value is valid");
        copied.set_sensitive(value.is_sensitive());
        *value = copied;
    }
    copy
}

/// Returns whether the response can be served at least once without validation.
fn is_servable_without_validation(freshness: &FreshnessInfo) -> bool {
    let window = freshness.stale_while_revalidate.max(freshness.stale_if_error);
    let window = window.filter(|_| !freshness.must_revalidate).unwrap_or_default();
    !freshness.no_cache
        && freshness.lifetime.lifetime.saturating_add(window) > freshness.corrected_initial_age
}

/// Returns whether this crate implements the caching requirements of a status code, which makes it
/// *understood* (§3): those of RFC 9110 §15.
fn is_understood(status: StatusCode) -> bool {
    matches!(status.as_u16(),
        200..=206 | 300..=305 | 307 | 308 | 400..=418 | 421 | 422 | 426 | 428 | 429 | 431 | 451 | 500..=505 | 511)
}

/// The fields of a request that can cause an error, although they are in no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestCause {
    /// None: the error is a statement about the resource or the server.
    None,
    /// Any field: its syntax, its length, credentials, a method override.
    Any,
    /// The fields of content negotiation.
    Negotiation,
    /// Conditions, ranges and expectations. They differ between the requests of one client, too.
    Conditions,
}

impl RequestCause {
    /// Returns what can cause an error with this status code.
    ///
    /// 4xx means that the client seems to have erred (RFC 9110 §15.5). Of these, 404, 410 and 451
    /// are about the resource. Of 5xx, a request can cause 500 (a field that a program does not
    /// expect), 501 (`Transfer-Encoding`, a method override), 505 and 510.
    fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            404 | 410 | 451 => Self::None,
            406 => Self::Negotiation,
            412 | 416 | 417 | 425 => Self::Conditions,
            400..=499 | 500 | 501 | 505 | 510 => Self::Any,
            _ => Self::None,
        }
    }
}

/// Longest fields of a request that every server accepts, in bytes with their names. The usual
/// limits of servers are 8 KiB for a line or for all of them; browsers send 1 to 2 KiB.
const USUAL_LENGTH: usize = 4096;
/// Most fields of a request that every server accepts. The usual limits of servers are 100 and
/// more.
const USUAL_FIELDS: usize = 64;

/// Returns whether the fields of a request may be longer, or more, than its origin accepts.
fn has_unusual_length<F: RequestHeaders>(fields: &F) -> bool {
    let (mut length, mut count) = (0, 0);
    fields.names(|name| {
        for line in fields.lines(name) {
            length += name.len() + line.len();
            count += 1;
        }
    });
    length > USUAL_LENGTH || count > USUAL_FIELDS
}

/// Returns the range that a 206 contains, or `None` for other status codes.
fn parse_part(status: StatusCode, fields: &HeaderMap) -> Result<Option<ByteRange>, NotStorable> {
    if status != StatusCode::PARTIAL_CONTENT {
        return Ok(None);
    }
    let mut lines = fields.get_all(CONTENT_RANGE).iter();
    let single = lines.next().filter(|_| lines.next().is_none());
    let part = single.and_then(|value| ByteRange::parse_content_range(value.as_bytes()));
    let part = part.ok_or(NotStorable::InvalidRange)?;
    let length = fields.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let agrees = length.is_none_or(|length| length.parse() == Ok(part.length()));
    if agrees { Ok(Some(part)) } else { Err(NotStorable::InvalidRange) }
}
