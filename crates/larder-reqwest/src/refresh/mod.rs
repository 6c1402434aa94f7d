//! Scheduled refresh: fetches pages at set times, so that later requests find them fresh.
//!
//! One task (`task`) holds the due times of all pages (`schedule`) and runs those that are due,
//! with a limit on concurrent requests (`queue`), through the client's connection pool. Unchanged
//! pages are revalidated and not transferred again (`run`, `snapshot`). Each run is reported
//! (`event`).
//!
//! Several processes can share a store and refresh the same pages: a run accepts a stored response
//! that the origin has confirmed in its round, to whichever process.

mod event;
mod page;
mod queue;
mod run;
mod schedule;
mod snapshot;
mod task;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;
use reqwest::IntoUrl;
use tokio::sync::{mpsc, oneshot};

pub use event::{RefreshEvent, RefreshOutcome, RefreshReason};
pub use schedule::{InvalidCron, Schedule};
pub use snapshot::Validators;

use crate::{CachedClient, Error, RateLimit, rate::Rates};
use page::Settings;
use task::{Command, Task};

/// Number of events that are buffered until they are read. When the buffer is full, the task holds
/// up to [`task::MAX_UNSENT`] more before it starts no further runs.
const EVENT_BUFFER: usize = 1024;

/// A set of pages that are fetched on a schedule; created by [`CachedClient::refresher`].
///
/// Clones control the same set. When the last clone is dropped, no further runs start.
///
/// ```no_run
/// # async fn example(client: larder_reqwest::CachedClient) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use futures_util::StreamExt as _;
/// use larder_reqwest::{RefreshOutcome, Schedule};
///
/// let (refresher, mut events) = client.refresher().jitter(Duration::from_millis(200)).start();
/// refresher.add("https://example.com/news", Schedule::every(Duration::from_secs(5)))?;
/// refresher.add("https://example.com/report", Schedule::cron("0 9 * * MON-FRI")?)?;
/// while let Some(event) = events.next().await {
///     if let RefreshOutcome::Changed { .. } = event.outcome {
///         println!("{} changed", event.url);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Refresher {
    commands: mpsc::UnboundedSender<Command>,
}

impl fmt::Debug for Refresher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refresher")
    }
}

/// Settings of a [`Refresher`]; created by [`CachedClient::refresher`].
#[derive(Debug)]
#[must_use]
pub struct RefresherBuilder {
    client: CachedClient,
    settings: Settings,
}

/// The stream of a [`Refresher`]'s events, in the order in which the runs end.
///
/// The stream ends when the refresher has stopped. If it is dropped, the refresher continues
/// without reporting events. If it is not read, the refresher starts no further runs once about
/// 1,100 events wait.
pub struct RefreshEvents(mpsc::Receiver<RefreshEvent>);

impl fmt::Debug for RefreshEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshEvents")
    }
}

impl RefresherBuilder {
    /// Creates a builder with the default settings.
    pub(crate) fn new(client: CachedClient) -> Self {
        Self { client, settings: Settings::default() }
    }

    /// Sets the longest random delay that is added to each run, so that not all runs begin at once.
    /// Default: none.
    pub fn jitter(mut self, max: Duration) -> Self {
        self.settings.jitter = max.min(schedule::CENTURY);
        self
    }

    /// Sets the number of concurrent requests. Default: 64; minimum: 1.
    pub fn concurrency(mut self, max: usize) -> Self {
        self.settings.concurrency = max.max(1);
        self
    }

    /// Sets the number of concurrent requests to one host. Default: 6; minimum: 1.
    pub fn per_host(mut self, max: usize) -> Self {
        self.settings.per_host = max;
        self
    }

    /// Sets the longest pause after failures. Default: one hour.
    ///
    /// After the first failure of a page, the next run is due at its usual time. The pause doubles
    /// with each further failure in a row, up to this limit. A page with an interval above the
    /// limit retains its interval, and a server's `Retry-After` can lengthen the pause, up to
    /// [`max_retry_after`](Self::max_retry_after).
    pub fn max_backoff(mut self, max: Duration) -> Self {
        self.settings.max_backoff = max;
        self
    }

    /// Limits the rate of the requests to each host, beside the limit of the client. Default: none.
    ///
    /// Only requests that need the origin count; see
    /// [`CachedClientBuilder::rate_limit`](crate::CachedClientBuilder::rate_limit).
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.settings.rates = Some(Arc::new(Rates::new(limit)));
        self
    }

    /// Sets the longest pause that a server can request with `Retry-After`, in seconds or as a
    /// date. Default: one hour. Longer ones are cut to it.
    ///
    /// During the pause nothing is sent to that host. Its other pages that become due are reported
    /// as [`RefreshOutcome::Blocked`], and are due when it has passed.
    pub fn max_retry_after(mut self, max: Duration) -> Self {
        self.settings.max_retry_after = max;
        self
    }

    /// Sets the shortest time between two runs of a page with a schedule that follows the lifetime
    /// of its response ([`Schedule::before_stale`]). Default: 1 s; minimum: 100 ms.
    pub fn min_interval(mut self, min: Duration) -> Self {
        self.settings.min_interval = min.max(Duration::from_millis(100));
        self
    }

    /// Sets the longest body of a changed page, in bytes, that its event carries. Default: 8 MiB.
    /// 0: events carry no responses with a body.
    pub fn max_body(mut self, bytes: u64) -> Self {
        self.settings.max_body = bytes;
        self
    }

    /// Starts the refresher's task, without pages, and returns its handle and its events.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    pub fn start(self) -> (Refresher, RefreshEvents) {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (events, event_receiver) = mpsc::channel(EVENT_BUFFER);
        tokio::spawn(Task::new(self.client, self.settings, receiver, events).run());
        (Refresher { commands }, RefreshEvents(event_receiver))
    }
}

impl Refresher {
    /// Adds a page. If the page is already in the set, its schedule is replaced.
    ///
    /// The first run is due at once, and with a cron schedule at its next occurrence, plus the
    /// [`jitter`](RefresherBuilder::jitter).
    ///
    /// A run fetches nothing if another process, or another request, has fetched the page in the
    /// same round: within the interval before the run was due, or since the occurrence of the cron
    /// expression. It counts when the origin has last confirmed the stored response, whatever its
    /// lifetime is. With [`Schedule::before_stale`], the stored response has to stay fresh for more
    /// than one second longer than the margin. If the store has leases, of several processes with
    /// rounds that begin at the same time, one fetches. Each process fetches a page that cannot be
    /// stored.
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] if the URL is invalid.
    pub fn add(&self, url: impl IntoUrl, schedule: Schedule) -> Result<(), Error> {
        let _ = self.commands.send(Command::Add(url.into_url()?, schedule));
        Ok(())
    }

    /// Removes a page. A run that has begun completes, but reports no event.
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] if the URL is invalid.
    pub fn remove(&self, url: impl IntoUrl) -> Result<(), Error> {
        let _ = self.commands.send(Command::Remove(url.into_url()?));
        Ok(())
    }

    /// Stops the refresher: starts no further runs, and waits for those that have begun. Then the
    /// stream of events ends.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point. Once polled, the refresher stops nevertheless.
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.commands.send(Command::Stop(done)).is_ok() {
            let _ = stopped.await;
        }
    }
}

impl Stream for RefreshEvents {
    type Item = RefreshEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<RefreshEvent>> {
        self.0.poll_recv(cx).map(|event| {
            event.map(|mut event| {
                event.unread = event::Unread::default();
                event
            })
        })
    }
}
