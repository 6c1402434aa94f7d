//! What a confirmation does to what is stored (RFC 9111 §4.3.3, §4.3.4, §4.3.5).

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::{
    Exchange, NotStorable, RequestHead, RequestHeaders, Rules, SelectingHeaders, StoredHead, TargetUri,
    Validator,
    age::date_value,
    groups::groups,
    header_names::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, LAST_MODIFIED, VARY},
    validation::opaque,
};

/// What a 304 does.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[must_use]
pub enum Freshen {
    /// Candidate `index` is confirmed: keep this head in place of its own.
    Updated {
        /// Its place among the candidates.
        index: usize,
        /// The new head.
        head: Box<StoredHead>,
    },
    /// It is confirmed for this answer, but may not be kept any longer.
    NoLongerStorable {
        /// Its place among the candidates.
        index: usize,
        /// The new head.
        head: Box<StoredHead>,
        /// Why.
        why: NotStorable,
    },
    /// The 304 selects none of the stored responses: ask again without conditions.
    Unmatched,
}

/// What a response to HEAD does to what is stored for GET (§4.3.5).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum HeadFreshen {
    /// Candidate `index` is confirmed.
    Updated {
        /// Its place among the candidates.
        index: usize,
        /// The new head.
        head: Box<StoredHead>,
    },
    /// Candidate `index` is another representation than the origin has now.
    Outdated {
        /// Its place among the candidates.
        index: usize,
    },
    /// It says nothing about what is stored.
    Unrelated,
}

/// Of the body that is stored, and not of the response that confirms it (§3.2).
const NEVER_UPDATED: [HeaderName; 5] = [
    CONTENT_LENGTH,
    http::header::CONTENT_ENCODING,
    CONTENT_RANGE,
    ETAG,
    HeaderName::from_static("content-md5"),
];

impl Rules {
    /// What a 304 with these fields confirms (§4.3.4). `selected` is the candidate that was asked about.
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
        let Some(index) = confirmed(&candidates, selected, fields) else { return Freshen::Unmatched };
        let head = Box::new(self.updated(target, request, candidates[index], fields, exchange));
        // The response as it is now has to be storable still: the 304 may have brought `no-store`.
        match self.storable(target, request, head.status, &head.fields, exchange) {
            Ok(_) | Err(NotStorable::NoUse | NotStorable::Method) => Freshen::Updated { index, head },
            Err(why) => Freshen::NoLongerStorable { index, head, why },
        }
    }

    /// What a response to HEAD says of the stored responses to GET (§4.3.5): those it selects are confirmed if validators
    /// and length agree, and outdated otherwise.
    pub fn freshen_by_head<'c, F: RequestHeaders>(
        &self,
        target: &TargetUri,
        request: &RequestHead<'_, F>,
        candidates: impl IntoIterator<Item = &'c StoredHead>,
        status: StatusCode,
        fields: &HeaderMap,
        exchange: Exchange,
    ) -> HeadFreshen {
        let selected =
            candidates.into_iter().enumerate().find(|(_, stored)| stored.selecting.matches(request));
        let Some((index, stored)) = selected else { return HeadFreshen::Unrelated };
        if status != StatusCode::OK || stored.status != StatusCode::OK {
            return HeadFreshen::Unrelated;
        }
        let same = |name: &HeaderName| match (stored.fields.get(name), fields.get(name)) {
            (Some(stored), Some(new)) => stored == new,
            // What the new response does not say can't disagree.
            (_, None) => true,
            (None, Some(_)) => *name == CONTENT_LENGTH,
        };
        if ![ETAG, LAST_MODIFIED, CONTENT_LENGTH].iter().all(same) {
            return HeadFreshen::Outdated { index };
        }
        if Validator::of(fields).is_none() && !fields.contains_key(CONTENT_LENGTH) {
            return HeadFreshen::Unrelated;
        }
        let head = Box::new(self.updated(target, request, stored, fields, exchange));
        HeadFreshen::Updated { index, head }
    }

    /// §3.2: each field of the new response takes the place of the stored lines of its name, but for those that
    /// describe the stored body.
    fn updated<F: RequestHeaders>(
        &self,
        target: &TargetUri,
        request: &RequestHead<'_, F>,
        stored: &StoredHead,
        new: &HeaderMap,
        exchange: Exchange,
    ) -> StoredHead {
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
        let effective = self.effective_directives(stored.status, &fields);
        let date = date_value(new, exchange);
        // `Age` is still among the fields, if the confirmation came through another cache.
        let terms = self.terms(&effective, stored.status, &fields, exchange, date);
        let selecting = if new.contains_key(VARY) {
            SelectingHeaders::of(&fields, self.selecting_too(), request)
        } else {
            stored.selecting.clone()
        };
        let fields = self.stored_fields(&fields, &effective.directives);
        let groups = groups(target, &fields, self.overrides.as_deref());
        StoredHead { status: stored.status, fields, selecting, freshness: terms, groups, part: stored.part }
    }
}

/// Which candidate a 304 is about.
fn confirmed(candidates: &[&StoredHead], selected: usize, fields: &HeaderMap) -> Option<usize> {
    // Only one was asked about: the answer is about that one, whatever tag it wears. Servers that compress on the fly
    // are known to send another with a 304 than they sent with the response.
    if candidates.len() == 1 {
        return Some(0);
    }
    let tag_of = |index: usize| candidates[index].fields.get(ETAG).map(HeaderValue::as_bytes);
    let modified_of = |index: usize| candidates[index].fields.get(LAST_MODIFIED).map(HeaderValue::as_bytes);
    let order = || std::iter::once(selected).chain(0..candidates.len());
    match Validator::of(fields) {
        Some(Validator::Strong(tag)) => order().find(|index| tag_of(*index) == Some(tag)),
        Some(Validator::Weak(tag)) => order().find(|index| tag_of(*index).map(opaque) == Some(opaque(tag))),
        Some(Validator::LastModified(modified)) => {
            order().find(|index| modified_of(*index) == Some(modified))
        }
        // It names none. Among several it can only be about the one whose date was sent, if no tags were.
        None => tag_of(selected).is_none().then_some(selected),
    }
}
