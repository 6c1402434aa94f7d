//! Logs what happens to each request, at the level `debug`: what the cache did, and why, in words.
//!
//! The access log has a line for each response that was sent; this log is for finding out why a
//! page does not come from the cache.

use std::{fmt::Write as _, sync::Arc};

use larder_core::{Answered, CacheStatus, Event, Observer};
use larder_metrics::Counters;

/// Returns the observer of the cache: the counters, if someone can read them, and the log, if it is
/// enabled. Without either nothing is measured.
pub(super) fn observer(counters: Option<&Arc<Counters>>) -> Option<Arc<dyn Observer>> {
    if tracing::enabled!(tracing::Level::DEBUG) {
        return Some(Arc::new(RequestLog { counters: counters.cloned() }));
    }
    counters.map(|counters| Arc::clone(counters) as _)
}

/// An observer that logs each answered request.
#[derive(Debug)]
struct RequestLog {
    counters: Option<Arc<Counters>>,
}

impl Observer for RequestLog {
    fn on_event(&self, event: &Event<'_>) {
        if let Event::Answered(answered) = event {
            tracing::debug!("{}", line(answered));
        }
        if let Some(counters) = &self.counters {
            counters.on_event(event);
        }
    }
}

/// Describes a request and its response, without the query of the URL, which may contain secrets.
fn line(answered: &Answered<'_>) -> String {
    let target = answered.key.target();
    let path = target.split('?').next().unwrap_or_default();
    let query = if path.len() < target.len() { "?…" } else { "" };
    let Answered { method, status, outcome, cache_status, .. } = answered;
    let mut line = format!("{method} {path}{query} {}, {}: ", status.as_u16(), outcome.name());
    describe(cache_status, &mut line);
    let _ = write!(line, " ({cache_status})");
    line
}

/// Writes what the cache did, and why.
fn describe(status: &CacheStatus, line: &mut String) {
    let mut sentences = Vec::new();
    if status.hit {
        sentences.push(match status.ttl {
            Some(..=0) => "A stored response was served, although it is stale.",
            _ => "A stored response was served, which is fresh.",
        });
    }
    sentences.extend(status.fwd.map(|reason| reason.reason().meaning));
    if status.collapsed {
        sentences.push("The response to another request for the same page was shared.");
    }
    sentences.extend(status.detail.map(|detail| detail.reason().meaning));
    line.push_str(&sentences.join(" "));
}
