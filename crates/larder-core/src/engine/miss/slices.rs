//! Serves ranges of a long representation from slices: ranges of equal length that are fetched and
//! stored on their own, each under a key of its own (RFC 9111 §3.4).
//!
//! The stored part of the key, with which the length was learned, stands for the whole: its head is
//! the head of each response, and its freshness decides whether slices are used. Its entry's id and
//! its strong entity tag are in the keys of the slices, so that nothing reaches the slices after
//! the part was purged or replaced, and those of two representations are never mixed.
//!
//! `slice_body` reads the slices one after the other.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use http::HeaderMap;

use super::{
    super::{
        context::Context,
        decide::{Decision, ForwardPlan, decide},
        invalidate,
        request::PendingRequest,
        response::CacheResponse,
        serve::{Opener, multipart},
    },
    collapse::collapse,
    slice_body::{OpenSlice, Opening, SliceBody},
};
use crate::{
    Body, BodyError, CacheKey, CacheStatus, Candidate, Candidates, ForwardReason, Scope, StoredHead,
    policy::{ByteRange, RangeKind, Selected, Serve, Validator, is_part_of},
};

/// Most slices of which it is checked whether all are stored, for a request for the whole.
const MAX_CHECKED: u64 = 1024;

/// What is needed to read the slices of one representation.
pub(super) struct Slices {
    cx: Arc<Context>,
    request: PendingRequest,
    /// The part of all keys of slices.
    key: CacheKey,
    /// Head of the whole representation.
    head: StoredHead,
    tag: Box<[u8]>,
    complete: u64,
    size: u64,
}

/// A part of a slice, opened.
struct Opened {
    body: Body,
    was_stored: bool,
}

/// A stored part of a representation that is to be served in slices.
struct Known {
    slices: Slices,
    /// The stored part alone, and a request for it.
    stored: Candidates,
    for_stored: PendingRequest,
}

/// Serves a request for ranges from slices, and fetches those that are missing. A request for the
/// whole is served if all slices are stored.
///
/// Returns `None` if the request is not one for slices, or if the first slice cannot be fetched.
pub(super) async fn serve_slices(
    cx: &Arc<Context>,
    request: &PendingRequest,
    candidates: &Candidates,
    generation: u64,
) -> Option<CacheResponse> {
    let mut known = Known::of(cx, request, candidates)?;
    let selected = match known.decide() {
        Decision::Serve(selected) => selected,
        Decision::OnlyIfCached => return None,
        // The stored part is validated, and with it all slices.
        Decision::ServeStale(_) | Decision::Forward(_) if request.head().range_kind() == RangeKind::None => {
            return None;
        }
        Decision::ServeStale(selected) => {
            known.revalidated(ForwardPlan::revalidate(selected), request, generation).await?
        }
        Decision::Forward(plan) => known.revalidated(plan, request, generation).await?,
    };
    Arc::new(known.slices).respond(selected).await
}

impl Known {
    /// Returns the stored part of a long representation, if the request may be served in slices.
    fn of(cx: &Arc<Context>, request: &PendingRequest, candidates: &Candidates) -> Option<Self> {
        let size = request.options.ranges.slice_size()?.min(request.max_object(&cx.limits)).max(1);
        let head = request.head();
        let is_for_slices = match head.range_kind() {
            RangeKind::None => request.can_lead(),
            RangeKind::Unknown => false,
            RangeKind::Everything | RangeKind::Single | RangeKind::Several => {
                !head.forbids_storing() && !head.has_origin_precondition()
            }
        };
        // A slice is a request of its own.
        if !is_for_slices || request.options.body_in_key || !request.origin.supports_background_revalidation()
        {
            return None;
        }
        let mut matching = candidates.iter().filter(|candidate| candidate.head.selecting.matches(&head));
        let candidate = matching.find(|candidate| candidate.head.part.is_some())?;
        let (part, whole) = (candidate.head.part?, candidate.head.of_whole()?);
        let complete = part.complete.filter(|complete| *complete > request.options.ranges.whole_limit)?;
        let Some(Validator::Strong(tag)) = whole.validator() else { return None };
        let tag: Box<[u8]> = tag.into();
        let numbers = [candidate.id.0, complete, size].map(u64::to_le_bytes).concat();
        let slices = Slices {
            cx: Arc::clone(cx),
            request: request.clone(),
            key: request.key.with_extra(b"slice").with_extra(&numbers).with_extra(&tag),
            head: whole,
            tag,
            complete,
            size,
        };
        let for_stored = request.for_range(request.key.clone(), &part);
        Some(Self { slices, stored: candidate.clone().into(), for_stored })
    }

    /// Decides on a request for the stored part.
    fn decide(&self) -> Decision {
        decide(&self.slices.cx, &self.for_stored.head(), &self.stored)
    }

    /// Validates the stored part with the origin. Returns `None` if the representation has changed
    /// or may not be used without validation.
    async fn revalidated(
        &mut self,
        plan: ForwardPlan,
        request: &PendingRequest,
        generation: u64,
    ) -> Option<Selected> {
        let (cx, stored) = (Arc::clone(&self.slices.cx), self.stored.clone());
        collapse(&cx, &mut self.for_stored, plan, stored, generation).await.ok()?;
        let candidates = cx.candidates(&request.key).await;
        let known = Self::of(&cx, request, &candidates)?;
        let is_same = known.slices.key == self.slices.key;
        *self = known;
        match self.decide() {
            Decision::Serve(selected) if is_same => Some(selected),
            _ => None,
        }
    }
}

impl Slices {
    /// Creates the response, after the first slice has been opened.
    async fn respond(self: Arc<Self>, selected: Selected) -> Option<CacheResponse> {
        let head = self.request.head();
        let is_ranged = head.range_kind() != RangeKind::None;
        let serve = self.head.serve(&head, Some(self.complete));
        if serve == Serve::Whole && !is_ranged && !self.are_all_stored().await {
            return None;
        }
        let (status, mut fields) = self.head.fields_for(&serve);
        let (body, was_stored) = self.body(&serve, &mut fields).await?;
        let mut cache_status = CacheStatus::hit(selected.ttl);
        if !was_stored {
            cache_status = CacheStatus::forwarded(ForwardReason::Partial);
            cache_status.fwd_status = Some(http::StatusCode::PARTIAL_CONTENT);
        }
        let response = CacheResponse::from_origin(status, fields, cache_status, body);
        Some(CacheResponse { age: Some(selected.age), ..response })
    }

    /// Opens the bytes in this form, and returns whether the first slice was stored. Returns `None`
    /// if it cannot be fetched.
    async fn body(self: &Arc<Self>, serve: &Serve, fields: &mut HeaderMap) -> Option<(Body, bool)> {
        let everything = ByteRange::new(0, self.complete.checked_sub(1)?, Some(self.complete))?;
        let parts = match serve {
            Serve::Whole => std::slice::from_ref(&everything),
            Serve::Part(part) => std::slice::from_ref(part),
            Serve::Parts(parts) => parts,
            Serve::NotModified | Serve::NotSatisfiable { .. } | Serve::NotInPart => {
                return Some((Body::empty(), true));
            }
        };
        let range_of = |part: &ByteRange| part.first..part.last + 1;
        let first = range_of(parts.first()?);
        let opened = Arc::clone(self).open_slice(first.start..self.end_of_slice(first.start).min(first.end));
        let Opened { body, was_stored } = opened.await.ok()?;
        let mut body = Some(body);
        let bodies: VecDeque<Body> = parts
            .iter()
            .map(|part| Body::stream(SliceBody::new(self, range_of(part), body.take())))
            .collect();
        let body = match serve {
            Serve::Parts(parts) => multipart(fields, parts, bodies),
            _ => Body::chain(bodies),
        };
        Some((body, was_stored))
    }

    /// Opens a range, which lies within one slice. The slice is fetched if it is not stored.
    async fn open_slice(self: Arc<Self>, range: Range<u64>) -> Result<Opened, BodyError> {
        let cx = &self.cx;
        let (key, slice) = self.slice_at(range.start).ok_or("the range is not within the whole")?;
        let within_slice = range.start - slice.first..range.end - slice.first;
        let generation = cx.flights.generation(&key);
        let candidates = cx.candidates(&key).await;
        if let Some(stored) = candidates.iter().find(|candidate| self.is_slice(&candidate.head, &slice))
            && let Some(body) = self.open_stored(&key, stored, &slice, within_slice.clone()).await
        {
            return Ok(Opened { body, was_stored: true });
        }
        let plan = ForwardPlan::new(None, ForwardReason::Partial);
        let mut request = self.request.for_range(key, &slice);
        let response = collapse(cx, &mut request, plan, Candidates::none(), generation).await?;
        if is_part_of(response.status(), response.headers(), &slice, &self.tag) {
            return Ok(Opened { body: response.into_body().cut(within_slice), was_stored: false });
        }
        if !matches!(response.status().as_u16(), 200 | 206 | 416) {
            return Err(
                format!("the origin responded to a request for a slice with {}", response.status()).into()
            );
        }
        // A failure is reported where it occurs.
        let _ = invalidate::remove(cx, Scope::Key(&self.request.key)).await;
        Err("the origin has another representation now".into())
    }

    /// Opens a range of a stored slice. Returns `None` if the store cannot read it.
    async fn open_stored(
        &self,
        key: &CacheKey,
        stored: &Candidate,
        slice: &ByteRange,
        within_slice: Range<u64>,
    ) -> Option<Body> {
        let mut opener = Opener::new(&self.cx, key, stored);
        let body = opener.open(Some(within_slice)).await.ok()?;
        if let Some(rest_origin) = &opener.rest_origin {
            self.request.for_range(key.clone(), slice).provide_origin(rest_origin);
        }
        Some(body)
    }

    /// Returns the key and the range of the slice that contains the byte at `position`.
    fn slice_at(&self, position: u64) -> Option<(CacheKey, ByteRange)> {
        let index = position / self.size;
        let slice = ByteRange::new(
            index * self.size,
            self.end_of_slice(position).checked_sub(1)?,
            Some(self.complete),
        )?;
        Some((self.key.with_extra(&index.to_le_bytes()), slice))
    }

    /// Returns whether a stored head is that of this slice.
    fn is_slice(&self, head: &StoredHead, slice: &ByteRange) -> bool {
        is_part_of(head.status, &head.fields, slice, &self.tag)
    }

    /// Returns whether all slices are stored, of which there are not too many to check.
    async fn are_all_stored(&self) -> bool {
        if self.complete.div_ceil(self.size) > MAX_CHECKED {
            return false;
        }
        let mut position = 0;
        while let Some((key, slice)) = self.slice_at(position).filter(|_| position < self.complete) {
            let candidates = self.cx.candidates(&key).await;
            if !candidates.iter().any(|candidate| self.is_slice(&candidate.head, &slice)) {
                return false;
            }
            position = slice.last + 1;
        }
        true
    }
}

impl OpenSlice for Slices {
    fn end_of_slice(&self, position: u64) -> u64 {
        (position / self.size + 1).saturating_mul(self.size).min(self.complete)
    }

    fn open(self: Arc<Self>, range: Range<u64>) -> Opening {
        Box::pin(async move { self.open_slice(range).await.map(|opened| opened.body) })
    }
}
