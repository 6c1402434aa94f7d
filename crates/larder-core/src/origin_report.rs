//! Defines [`OriginReport`], by which an origin states which server has responded.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{Body, Origin};

/// Which server a request was sent to, and how long the head of its response took.
///
/// [`observe`](Self::observe) adds it to the requests of one exchange. Origins over HTTP
/// (`larder-origin`) record each attempt in it, so that it has the last one. An origin of your own
/// that chooses among servers does the same. Clones share the record.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use larder_core::{Body, Origin, OriginReport};
///
/// async fn timed(origin: Arc<dyn Origin>, request: http::Request<Body>) -> Option<Duration> {
///     let report = OriginReport::default();
///     let response = report.observe(origin).fetch(request).await;
///     let server = report.server()?;
///     println!("{server} has responded: {}", response.is_ok());
///     report.head_time()
/// }
/// ```
#[derive(Debug, Clone, Default)]
pub struct OriginReport(Arc<Mutex<Option<Attempt>>>);

/// An attempt at one server.
#[derive(Debug)]
struct Attempt {
    server: Arc<str>,
    head_time: Option<Duration>,
}

impl OriginReport {
    /// Returns an origin that adds this report to each request ([`of`](Self::of)).
    pub fn observe(&self, origin: Arc<dyn Origin>) -> Arc<dyn Origin> {
        Arc::new(ObservedOrigin { origin, report: self.clone() })
    }

    /// Returns the report that a request has: an origin that sends it to a server records that.
    pub fn of<B>(request: &http::Request<B>) -> Option<&Self> {
        request.extensions().get()
    }

    /// Records that the request is sent to a server. The previous attempt is forgotten.
    pub fn begin(&self, server: &Arc<str>) {
        *self.attempt() = Some(Attempt { server: Arc::clone(server), head_time: None });
    }

    /// Records that the server has responded, and how long the head took.
    pub fn answered(&self, head_time: Duration) {
        if let Some(attempt) = &mut *self.attempt() {
            attempt.head_time = Some(head_time);
        }
    }

    /// Returns the server of the last attempt, such as `http://10.0.0.1:3000`. `None` if there was
    /// none.
    pub fn server(&self) -> Option<Arc<str>> {
        self.attempt().as_ref().map(|attempt| Arc::clone(&attempt.server))
    }

    /// Returns how long the head of its response took, from the choice of the server on: with the
    /// wait for a connection. `None` if there was no response.
    pub fn head_time(&self) -> Option<Duration> {
        self.attempt().as_ref()?.head_time
    }

    fn attempt(&self) -> std::sync::MutexGuard<'_, Option<Attempt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An origin that adds a report to each request.
#[derive(Debug)]
struct ObservedOrigin {
    origin: Arc<dyn Origin>,
    report: OriginReport,
}

#[async_trait::async_trait]
impl Origin for ObservedOrigin {
    async fn fetch(
        &self,
        mut request: http::Request<Body>,
    ) -> Result<http::Response<Body>, crate::OriginError> {
        request.extensions_mut().insert(self.report.clone());
        self.origin.fetch(request).await
    }

    fn supports_background_revalidation(&self) -> bool {
        self.origin.supports_background_revalidation()
    }
}
