//! Whether a response may be stored, and what is kept of it (RFC 9111 §3).

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::{
    ByteRange, CacheKind, Exchange, FreshnessInfo, LifetimeFrom, RequestHead, RequestHeaders, Rules,
    SelectingHeaders, StoredHead, TargetUri, Validator,
    age::{age_value, date_value},
    directives::{RequestDirectives, ResponseDirectives},
    freshness::is_heuristically_cacheable,
    groups::groups,
    header_names::{AGE, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, EXPIRES, SET_COOKIE},
    hop_by_hop::Unstorable,
    overrides::DirectiveSource,
    request::HeaderFlags,
    targeted::Effective,
};

/// Why a response must not be stored (RFC 9111 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotStorable {
    /// Only GET, and POST under conditions, have responses that are of use again (§3).
    Method,
    /// An interim response (§3).
    NotFinal,
    /// A 304 on its own.
    NotModified,
    /// `must-understand`, and the status code is not (§5.2.2.3).
    NotUnderstood,
    /// A 206 whose `Content-Range` is missing, of several parts, or disagrees with its length (§3.3).
    PartUnclear,
    /// `no-store` on the response (§5.2.2.5).
    NoStore,
    /// `no-store` on the request (§5.2.1.5).
    RequestNoStore,
    /// `private`, and this cache is shared (§5.2.2.7).
    PrivateDirective,
    /// The request carried `Authorization`, and nothing on the response allows it (§3.5).
    Authorization,
    /// It sets a cookie, and this cache is shared (§7.3; see [`Rules::store_set_cookie`]).
    SetCookie,
    /// Neither a lifetime, nor `public`, nor a status code that may be reused without (§3).
    NothingAllows,
    /// It would be stale at once, and has no validator to ask with (§4.3.1): of no use.
    NoUse,
    /// `Vary: *`: no later request matches (§4.1).
    VaryStar,
}

impl NotStorable {
    /// The section that says so.
    pub fn section(self) -> &'static str {
        match self {
            Self::Method | Self::NotFinal | Self::NothingAllows | Self::NotModified => "RFC 9111 §3",
            Self::NotUnderstood => "RFC 9111 §5.2.2.3",
            Self::PartUnclear => "RFC 9111 §3.3",
            Self::NoStore => "RFC 9111 §5.2.2.5",
            Self::RequestNoStore => "RFC 9111 §5.2.1.5",
            Self::PrivateDirective => "RFC 9111 §5.2.2.7",
            Self::Authorization => "RFC 9111 §3.5",
            Self::SetCookie => "RFC 9111 §7.3",
            Self::NoUse => "RFC 9111 §4.3.1",
            Self::VaryStar => "RFC 9111 §4.1",
        }
    }

    /// The `detail` of `Cache-Status` (RFC 9211 §2.8): a token.
    pub fn token(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::NotFinal => "interim",
            Self::NotModified => "not-modified",
            Self::NotUnderstood => "must-understand",
            Self::PartUnclear => "part-unclear",
            Self::NoStore => "no-store",
            Self::RequestNoStore => "request-no-store",
            Self::PrivateDirective => "private",
            Self::Authorization => "authorization",
            Self::SetCookie => "set-cookie",
            Self::NothingAllows => "nothing-allows",
            Self::NoUse => "no-use",
            Self::VaryStar => "vary-star",
        }
    }
}

impl fmt::Display for NotStorable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Method => "method not understood",
            Self::NotFinal => "not a final response",
            Self::NotModified => "nothing to confirm",
            Self::NotUnderstood => "status not understood",
            Self::PartUnclear => "part unclear",
            Self::NoStore | Self::RequestNoStore => "no-store",
            Self::PrivateDirective => "private",
            Self::Authorization => "authorization",
            Self::SetCookie => "set-cookie",
            Self::NothingAllows => "nothing allows it",
            Self::NoUse => "stale at once, without validator",
            Self::VaryStar => "Vary: *",
        };
        write!(f, "{what} ({})", self.section().trim_start_matches("RFC 9111 "))
    }
}

impl Rules {
    /// May this response be stored, and if so: what is kept of it (§3).
    ///
    /// `fields` are the response's as received. That its body is complete is the caller's to know (§3.3).
    ///
    /// # Errors
    ///
    /// A decision, not a failure: why it must not.
    pub fn storable<F: RequestHeaders>(
        &self,
        target: &TargetUri,
        request: &RequestHead<'_, F>,
        status: StatusCode,
        fields: &HeaderMap,
        exchange: Exchange,
    ) -> Result<StoredHead, NotStorable> {
        let effective = self.effective_directives(status, fields);
        let part = part(status, fields)?;
        self.forbidden(request, status, &effective.directives, fields)?;
        let date = date_value(fields, exchange);
        let terms = self.terms(&effective, status, fields, exchange, date);
        self.understood_method(target, request, &effective, fields, &terms)?;
        self.allowed(&effective, status, fields)?;
        let selecting = SelectingHeaders::of(fields, self.selecting_too(), request);
        if selecting.never_matches() {
            return Err(NotStorable::VaryStar);
        }
        let useful = terms.is_of_use() || Validator::of(fields).is_some();
        if !useful {
            return Err(NotStorable::NoUse);
        }
        let groups = groups(target, fields, self.overrides.as_deref());
        let fields = self.stored_fields(fields, &effective.directives);
        Ok(StoredHead { status, fields, selecting, freshness: terms, groups, part })
    }

    /// Whether a response says outright that it must not be stored: what can be told from its fields alone, in nanoseconds.
    /// `None` says nothing: [`storable`](Self::storable) does.
    pub fn refuses<F: RequestHeaders>(&self, fields: &F) -> Option<NotStorable> {
        let directives = ResponseDirectives::parse(fields.lines("cache-control"));
        if directives.forbid_storing() {
            Some(NotStorable::NoStore)
        } else if self.is_for_one(&directives) {
            Some(NotStorable::PrivateDirective)
        } else {
            self.sets_cookie(fields).then_some(NotStorable::SetCookie)
        }
    }

    /// `private`, and this cache is shared (§5.2.2.7).
    fn is_for_one(&self, directives: &ResponseDirectives) -> bool {
        self.kind == CacheKind::Shared && directives.private.is_all()
    }

    /// A cookie that others must not get (§7.3).
    fn sets_cookie<F: RequestHeaders>(&self, fields: &F) -> bool {
        self.kind == CacheKind::Shared
            && !self.store_set_cookie
            && fields.lines(SET_COOKIE.as_str()).next().is_some()
    }

    /// The terms of a response with these fields.
    pub(crate) fn terms(
        &self,
        effective: &Effective,
        status: StatusCode,
        fields: &HeaderMap,
        exchange: Exchange,
        date: crate::Timestamp,
    ) -> FreshnessInfo {
        let directives = &effective.directives;
        let shared = self.kind == CacheKind::Shared;
        let corrected_initial_age = exchange.corrected_initial_age(date, age_value(fields));
        let mut lifetime = self.freshness_lifetime(directives, !effective.targeted, status, fields, date);
        if effective.source == DirectiveSource::User {
            // How old it was on its arrival is not the user's concern.
            lifetime.lifetime = lifetime.lifetime.saturating_add(corrected_initial_age);
            lifetime.from = LifetimeFrom::Override;
        }
        FreshnessInfo {
            request_time: exchange.request_time,
            response_time: exchange.response_time,
            corrected_initial_age,
            lifetime,
            date,
            must_revalidate: directives.must_revalidate
                || shared && (directives.proxy_revalidate || directives.s_maxage.is_some()),
            no_cache: directives.no_cache.is_all(),
            immutable: directives.immutable,
            stale_while_revalidate: directives.stale_while_revalidate,
            stale_if_error: directives.stale_if_error,
        }
    }

    /// Names that select beside those of `Vary`.
    pub(crate) fn selecting_too(&self) -> &[HeaderName] {
        self.overrides.as_ref().map_or(&[], |overrides| &overrides.vary)
    }

    /// What speaks against storing.
    fn forbidden<F: RequestHeaders>(
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
        if directives.must_understand && !is_understood(status) {
            return Err(NotStorable::NotUnderstood);
        }
        if directives.forbid_storing() {
            return Err(NotStorable::NoStore);
        }
        let asked = request.lines(HeaderFlags::CACHE_CONTROL, "cache-control").map(RequestDirectives::parse);
        if asked.is_some_and(|asked| asked.no_store) {
            return Err(NotStorable::RequestNoStore);
        }
        if self.is_for_one(directives) {
            return Err(NotStorable::PrivateDirective);
        }
        let allows_authorization =
            directives.public || directives.must_revalidate || directives.s_maxage.is_some();
        if shared && request.has(HeaderFlags::AUTHORIZATION) && !allows_authorization {
            return Err(NotStorable::Authorization);
        }
        if self.sets_cookie(fields) {
            return Err(NotStorable::SetCookie);
        }
        Ok(())
    }

    /// GET; and POST, whose response is a later GET's too if it says how long, and that it is this resource's
    /// (RFC 9110 §9.3.3).
    fn understood_method<F: RequestHeaders>(
        &self,
        target: &TargetUri,
        request: &RequestHead<'_, F>,
        effective: &Effective,
        fields: &HeaderMap,
        terms: &FreshnessInfo,
    ) -> Result<(), NotStorable> {
        if *request.method() == Method::GET {
            return Ok(());
        }
        let explicit = terms.lifetime.from.is_explicit() && !effective.directives.no_cache.is_all();
        let location = fields.get(CONTENT_LOCATION).and_then(|location| location.to_str().ok());
        let of_target =
            || location.is_some_and(|location| target.join(location).is_ok_and(|is| is == *target));
        if *request.method() == Method::POST && explicit && of_target() {
            return Ok(());
        }
        Err(NotStorable::Method)
    }

    /// What speaks for it: the list at the end of §3.
    fn allowed(
        &self,
        effective: &Effective,
        status: StatusCode,
        fields: &HeaderMap,
    ) -> Result<(), NotStorable> {
        let directives = &effective.directives;
        let shared = self.kind == CacheKind::Shared;
        let allowed = directives.public
            || !shared && directives.private.is_all()
            || directives.max_age.is_some()
            || shared && directives.s_maxage.is_some()
            || !effective.targeted && fields.contains_key(EXPIRES)
            || is_heuristically_cacheable(status);
        if allowed { Ok(()) } else { Err(NotStorable::NothingAllows) }
    }

    /// §3.1: all fields but those of one hop or one proxy, and those that must not be reused without validation
    /// (§5.2.2.4) or not by others (§5.2.2.7). `Age` is in the terms.
    pub(crate) fn stored_fields(&self, fields: &HeaderMap, directives: &ResponseDirectives) -> HeaderMap {
        let unstorable = Unstorable::of(fields);
        let private = match self.kind {
            CacheKind::Shared => directives.private.fields(),
            CacheKind::Private => &[],
        };
        compact(fields, |name| {
            *name != AGE
                && !unstorable.contains(name)
                && !directives.no_cache.fields().contains(name)
                && !private.contains(name)
        })
    }
}

/// A copy of these fields with all values in one chunk of memory of its own: as they came they are slices of a connection's read
/// buffer, which would live as long as the shortest of them.
fn compact(fields: &HeaderMap, keeps: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let mut values = Vec::with_capacity(fields.values().map(HeaderValue::len).sum());
    fields.values().for_each(|value| values.extend_from_slice(value.as_bytes()));
    let mut rest = Bytes::from(values);
    let mut copy = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields {
        let bytes = rest.split_to(value.len());
        if !keeps(name) {
            continue;
        }
        let mut same = HeaderValue::from_maybe_shared(bytes).expect("its bytes were a value before");
        same.set_sensitive(value.is_sensitive());
        copy.append(name.clone(), same);
    }
    copy
}

impl FreshnessInfo {
    /// Whether it could be served even once without asking.
    fn is_of_use(&self) -> bool {
        let window = self.stale_while_revalidate.max(self.stale_if_error).unwrap_or_default();
        !self.no_cache && self.lifetime.lifetime + window > self.corrected_initial_age
    }
}

/// Status codes whose caching requirements this crate implements (§3: *understood*): those of RFC 9110 §15.
fn is_understood(status: StatusCode) -> bool {
    matches!(status.as_u16(),
        200..=206 | 300..=305 | 307 | 308 | 400..=418 | 421 | 422 | 426 | 428 | 429 | 431 | 451 | 500..=505 | 511)
}

/// The part that a 206 says it is.
fn part(status: StatusCode, fields: &HeaderMap) -> Result<Option<ByteRange>, NotStorable> {
    if status != StatusCode::PARTIAL_CONTENT {
        return Ok(None);
    }
    let mut lines = fields.get_all(CONTENT_RANGE).iter();
    let one = lines.next().filter(|_| lines.next().is_none());
    let part = one.and_then(|value| ByteRange::parse_content_range(value.as_bytes()));
    let part = part.ok_or(NotStorable::PartUnclear)?;
    let length = fields.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let agrees = length.is_none_or(|length| length.parse() == Ok(part.length()));
    if agrees { Ok(Some(part)) } else { Err(NotStorable::PartUnclear) }
}
