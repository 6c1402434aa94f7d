//! Scheduled refresh: fetches pages at set times, so that later requests find them fresh.
//!
//! One task (`task`) holds the due times of all pages (`schedule`) and runs those that are due,
//! with a limit on concurrent requests (`queue`), through the client's connection pool. Unchanged
//! pages are revalidated and not transferred again (`snapshot`). Each run is reported (`event`).
//!
//! Several processes can share a store and refresh the same pages: a run accepts a stored response
//! that is not older than its round, such as one that another process has just fetched.

mod event;
mod queue;
mod schedule;
mod snapshot;
mod task;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;
use reqwest::IntoUrl;
use tokio::sync::{mpsc, oneshot};

pub use event::{RefreshEvent, RefreshOutcome};
pub use schedule::{InvalidCron, Schedule};
pub use snapshot::Validators;

use crate::{CachedClient, Error};
use task::{Command, Settings, Task};

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
        self.settings.jitter = max;
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
    /// limit retains its interval, and a server's `Retry-After` of up to one hour can lengthen the
    /// pause.
    pub fn max_backoff(mut self, max: Duration) -> Self {
        self.settings.max_backoff = max;
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
    /// A run fetches nothing if the stored response is recent enough: it is fresh, and its age is
    /// at most the time to the next run minus one second. With [`Schedule::before_stale`], it stays
    /// fresh for more than one second longer than the margin.
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
        self.0.poll_recv(cx)
    }
}
