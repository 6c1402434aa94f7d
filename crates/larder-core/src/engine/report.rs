//! Reports answered requests to the observer, and the end of their bodies.
//!
//! Without an observer, nothing is measured, copied or wrapped.

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode};

use super::{
    context::Context,
    error::FetchError,
    events::{Answered, Event, Finished, Observer},
    response::CacheResponse,
    stopwatch::Stopwatch,
};
use crate::{BodyEnd, CacheKey, CacheStatus, body::BodyEvent};

/// Reports a response when its head is ready, and again when its body ends.
pub(super) fn answered(
    cx: &Context,
    key: &CacheKey,
    method: &Method,
    stopwatch: Stopwatch,
    response: &mut CacheResponse,
) {
    let Some(observer) = &cx.observer else { return };
    let head = Head {
        cache_status: response.cache_status,
        status: response.status,
        from_origin: response.is_from_origin(),
        origin_head: response.origin_head,
        stopwatch,
    };
    let answered = head.answered(key, method);
    observer.on_event(&Event::Answered(answered));
    match response.body.whole_length() {
        Some(length) => head.report_end(&**observer, answered, length, true),
        None => {
            let (observer, key, method) = (Arc::clone(observer), key.clone(), method.clone());
            let mut sent = 0;
            response.body = std::mem::take(&mut response.body).observe(move |event| match event {
                BodyEvent::Chunk(length) => sent += length,
                BodyEvent::End(end) => {
                    let complete = end == BodyEnd::Complete;
                    head.report_end(&*observer, head.answered(&key, &method), sent, complete);
                }
            });
        }
    }
}

/// Reports the result of a fetch.
pub(super) fn result(
    cx: &Context,
    key: &CacheKey,
    method: &Method,
    stopwatch: Stopwatch,
    result: &mut Result<CacheResponse, FetchError>,
) {
    match result {
        Ok(response) => answered(cx, key, method, stopwatch, response),
        Err(error) => {
            let head = Head {
                cache_status: error.cache_status(),
                status: error.status(),
                from_origin: false,
                origin_head: None,
                stopwatch,
            };
            cx.observe(&Event::Answered(head.answered(key, method)));
        }
    }
}

/// Reports a response that an adapter has fetched without the engine. Its body is not observed.
pub(super) fn bypassed(
    cx: &Context,
    key: &CacheKey,
    method: &Method,
    stopwatch: Option<Stopwatch>,
    (status, cache_status): (StatusCode, CacheStatus),
) {
    let Some(stopwatch) = stopwatch else { return };
    let origin_head = Some(stopwatch.whole().saturating_sub(stopwatch.lookup));
    let head = Head { cache_status, status, from_origin: true, origin_head, stopwatch };
    cx.observe(&Event::Answered(head.answered(key, method)));
}

/// What is known of a response once its head is ready.
#[derive(Debug, Clone, Copy)]
struct Head {
    cache_status: CacheStatus,
    status: StatusCode,
    /// Whether the origin sent the response for this request.
    from_origin: bool,
    origin_head: Option<Duration>,
    stopwatch: Stopwatch,
}

impl Head {
    /// Returns the data of the event for the request with this key and method.
    fn answered<'a>(&'a self, key: &'a CacheKey, method: &'a Method) -> Answered<'a> {
        Answered {
            key,
            method,
            outcome: self.cache_status.outcome(),
            cache_status: &self.cache_status,
            status: self.status,
            lookup: self.stopwatch.lookup,
            origin_head: self.origin_head,
        }
    }

    /// Reports the end of a body of which `bytes_sent` bytes were read.
    fn report_end(&self, observer: &dyn Observer, answered: Answered<'_>, bytes_sent: u64, complete: bool) {
        observer.on_event(&Event::Finished(Finished {
            answered,
            bytes_sent,
            bytes_from_origin: if self.from_origin { bytes_sent } else { 0 },
            whole: self.stopwatch.whole(),
            complete,
        }));
    }
}
