//! Freshens stored responses (RFC 9111 §4.3.3, §4.3.4, §4.3.5): decides which stored response a 304
//! or a response to HEAD validates, and updates its header fields.
//!
//! The `validation` module makes the conditional request, and `storing` decides whether the updated
//! response may still be stored.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::{
    CacheKind, Exchange, NotStorable, RequestHead, RequestHeaders, Rules, SelectingHeaders, StoredHead,
    TargetUri, Validator,
    age::date_value,
    header_names::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, LAST_MODIFIED, VARY},
    validation::without_weak_prefix,
    vary::NormalForms,
};

/// The effect of a 304 on the stored responses (§4.3.4).
///
/// The enum is exhaustive, so that no match misses a new variant: adding one is a breaking change.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum Freshen {
    /// Candidate `index` was validated. The caller replaces its stored head with this one.
    Updated {
        /// Index of the validated response among the candidates.
        index: usize,
        /// Updated head.
        head: Box<StoredHead>,
    },
    /// Candidate `index` was validated and may be used for this request alone. The caller leaves
    /// what is stored as it is: the 304 concerns one user, as with `Set-Cookie`, `private`, or a
    /// request with `Authorization`.
    ForThisRequest {
        /// Index of the validated response among the candidates.
        index: usize,
        /// Updated head.
        head: Box<StoredHead>,
        /// Reason why the updated head must not be stored.
        why: NotStorable,
    },
    /// Candidate `index` was validated and may be used for this request, but must not be stored any
    /// longer.
    NoLongerStorable {
        /// Index of the validated response among the candidates.
        index: usize,
        /// Updated head.
        head: Box<StoredHead>,
        /// Reason why the response must not be stored.
        why: NotStorable,
    },
    /// The 304 matches none of the stored responses. The caller repeats the request without
    /// conditions.
    Unmatched,
}

/// The effect of a response to HEAD on the responses stored for GET (§4.3.5).
///
/// The enum is exhaustive, so that no match misses a new variant: adding one is a breaking change.
#[derive(Debug, Clone, PartialEq)]
pub enum HeadFreshen {
    /// Candidate `index` was validated. The caller replaces its stored head with this one.
    Updated {
        /// Index of the validated response among the candidates.
        index: usize,
        /// Updated head.
        head: Box<StoredHead>,
    },
    /// Candidate `index` differs from the representation that the origin has now.
    Stale {
        /// Index of the outdated response among the candidates.
        index: usize,
    },
    /// The response to HEAD provides no information about the stored responses.
    Unrelated,
}

/// Fields that describe the stored body. A validating response never updates them (§3.2).
static NEVER_UPDATED: [HeaderName; 5] = [
    CONTENT_LENGTH,
    http::header::CONTENT_ENCODING,
    CONTENT_RANGE,
    ETAG,
    HeaderName::from_static("content-md5"),
];

impl Rules {
    /// Returns the effect of a 304 with these `fields` on the candidates (§4.3.4).
    ///
    /// `selected` is the index of the candidate for which the request was made conditional. The
    /// updated response is checked again: it is [`Freshen::NoLongerStorable`] if, for example, the
    /// 304 contains `no-store`, and [`Freshen::ForThisRequest`] if the exchange is one that a
    /// shared cache must not store.
    pub fn freshen<'c, F: RequestHeaders>(
        &self,
        target: &TargetUri,
        request: &RequestHead<'_, F>,
        candidates: impl IntoIterator<Item = &'c StoredHead>,
        selected: usize,
        fields: &HeaderMap,
        exchange: Exchange,
    ) -> Freshen {
        let candidates: Vec<&StoredHead> = candidates.into_iter().collect();
        let Some(index) = validated_candidate(&candidates, selected, fields) else {
            return Freshen::Unmatched;
        };
        let stored = candidates[index];
        let (head, kept_groups) = self.freshened_head(target, request, stored, fields, exchange);
        let head = Box::new(head);
        // The updated response must still be storable: the 304 may contain `no-store`.
        let storable = self.storable(target, request, head.status, &head.fields, exchange);
        match storable.and_then(|head| kept_groups.map(|()| head)) {
            Ok(_) | Err(NotStorable::NotReusable | NotStorable::Method) => {
                if self.withdraws_sharing(request, stored, &head) {
                    return Freshen::NoLongerStorable { index, head, why: NotStorable::Authorization };
                }
                Freshen::Updated { index, head }
            }
            Err(why) if why.concerns_one_user() => Freshen::ForThisRequest { index, head, why },
            Err(why) => Freshen::NoLongerStorable { index, head, why },
        }
    }

    /// Returns whether a shared cache may have stored the response for a request with
    /// `Authorization`, and the updated head no longer permits that (§3.5).
    fn withdraws_sharing<F: RequestHeaders>(
        &self,
        request: &RequestHead<'_, F>,
        stored: &StoredHead,
        updated: &StoredHead,
    ) -> bool {
        let permits = |head: &StoredHead| {
            let effective = self.effective_directives(request, head.status, &head.fields);
            effective.directives.permits_authorization()
        };
        self.kind == CacheKind::Shared && permits(stored) && !permits(updated)
    }

    /// Returns the effect of a response to HEAD on the stored responses to GET (§4.3.5).
    ///
    /// The first candidate that matches the request's selecting header fields is validated if its
    /// validators and `Content-Length` agree with the new response. Otherwise it is outdated.
    ///
    /// A response that must not be stored changes nothing that is stored, for example one with
    /// `Set-Cookie` in a shared cache. §4.3.5 recommends the update, and does not require it.
    pub fn freshen_by_head<'c, F: RequestHeaders>(
        &self,
        target: &TargetUri,
        request: &RequestHead<'_, F>,
        candidates: impl IntoIterator<Item = &'c StoredHead>,
        status: StatusCode,
        fields: &HeaderMap,
        exchange: Exchange,
    ) -> HeadFreshen {
        let mut normal_forms = NormalForms::of(request);
        let selected = candidates
            .into_iter()
            .enumerate()
            .find(|(_, stored)| stored.selecting.matches_with(&mut normal_forms));
        let Some((index, stored)) = selected else { return HeadFreshen::Unrelated };
        if status != StatusCode::OK || stored.status != StatusCode::OK {
            return HeadFreshen::Unrelated;
        }
        let effective = self.effective_directives(request, status, fields);
        if self.check_prohibitions(request, status, &effective.directives, fields).is_err() {
            return HeadFreshen::Unrelated;
        }
        let same = |name: &HeaderName| match (stored.fields.get(name), fields.get(name)) {
            (Some(stored), Some(new)) => stored == new,
            // A field that the new response does not have cannot disagree.
            (_, None) => true,
            (None, Some(_)) => *name == CONTENT_LENGTH,
        };
        if ![ETAG, LAST_MODIFIED, CONTENT_LENGTH].iter().all(same) {
            return HeadFreshen::Stale { index };
        }
        if Validator::of(fields).is_none() && !fields.contains_key(CONTENT_LENGTH) {
            return HeadFreshen::Unrelated;
        }
        let (head, kept_groups) = self.freshened_head(target, request, stored, fields, exchange);
        let head = Box::new(head);
        if head.selecting.never_matches()
            || kept_groups.is_err()
            || self.withdraws_sharing(request, stored, &head)
        {
            return HeadFreshen::Stale { index };
        }
        HeadFreshen::Updated { index, head }
    }

    /// Returns the stored head, updated with the fields of the new response (§3.2). Each new field
    /// replaces all stored lines of its name, except fields that describe the stored body. The
    /// second value is an error if the head has no groups because they cannot be kept.
    fn freshened_head<F: RequestHeaders>(
        &self,
        target: &TargetUri,
        request: &RequestHead<'_, F>,
        stored: &StoredHead,
        new: &HeaderMap,
        exchange: Exchange,
    ) -> (StoredHead, Result<(), NotStorable>) {
        let mut fields = stored.fields.clone();
        for name in new.keys().filter(|name| !NEVER_UPDATED.contains(name)) {
            let mut lines = new.get_all(name).iter();
            if let Some(first) = lines.next() {
                fields.insert(name.clone(), first.clone());
            }
            for line in lines {
                fields.append(name.clone(), line.clone());
            }
        }
        let effective = self.effective_directives(request, stored.status, &fields);
        let date = date_value(new, exchange);
        // A validating response that came through another cache has an `Age` field. It is still in
        // `fields` here, and counts.
        let freshness = self.freshness_info(&effective, stored.status, &fields, exchange, date);
        let selecting = if new.contains_key(VARY) {
            SelectingHeaders::of(&fields, self.additional_selecting_names(), request)
        } else {
            stored.selecting.clone()
        };
        let (groups, kept) = match self.freshened_groups(target, &stored.groups, new, &fields) {
            Ok(groups) => (groups, Ok(())),
            Err(why) => (Box::default(), Err(why)),
        };
        let fields = self.stored_fields(&fields, &effective.directives);
        (StoredHead { status: stored.status, fields, selecting, freshness, groups, part: stored.part }, kept)
    }
}

/// Returns the index of the candidate that a 304 validates (§4.3.4).
fn validated_candidate(candidates: &[&StoredHead], selected: usize, fields: &HeaderMap) -> Option<usize> {
    // With one candidate, the 304 validates that one, whatever entity tag it contains. Servers that
    // compress on the fly are known to send one entity tag in the response and another in the 304.
    if candidates.len() == 1 {
        return Some(0);
    }
    let tag_of = |index: usize| candidates[index].fields.get(ETAG).map(HeaderValue::as_bytes);
    let modified_of = |index: usize| candidates[index].fields.get(LAST_MODIFIED).map(HeaderValue::as_bytes);
    let order = || std::iter::once(selected).chain(0..candidates.len());
    match Validator::of(fields) {
        Some(Validator::Strong(tag)) => order().find(|index| tag_of(*index) == Some(tag)),
        Some(Validator::Weak(tag)) => {
            order().find(|index| tag_of(*index).map(without_weak_prefix) == Some(without_weak_prefix(tag)))
        }
        Some(Validator::LastModified(modified)) => {
            order().find(|index| modified_of(*index) == Some(modified))
        }
        // The 304 contains no validator. Among several candidates it can only validate the one
        // of which `Last-Modified` was sent, provided that no entity tags were sent. §4.3.4 names
        // fewer cases; but the request had one validator only, so no other response was validated.
        None => tag_of(selected).is_none().then_some(selected),
    }
}
