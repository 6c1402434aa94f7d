//! Pages that are fetched again on time, so that they are fresh before anybody asks.
//!
//! One task keeps the times of all pages and runs what is due, so many at once, through the client's one pool of
//! connections. What is unchanged is confirmed and not sent again.
//!
//! Several processes that share a store and refresh the same pages ask the origin once: each asks for a response that is
//! not older than its round, and finds the one that another has just fetched.

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
use http::StatusCode;
use reqwest::{IntoUrl, Url};
use tokio::sync::{mpsc, oneshot};

pub use schedule::{CronError, Schedule};
pub use snapshot::Validators;

use crate::{CachedClient, Error};
use task::{Command, Settings, Task};

/// Events that wait to be read. More, and the next runs wait, too.
const UNREAD: usize = 1024;

/// Pages that are fetched again on time. Clones steer the same set; when the last one is dropped, it stops.
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
#[derive(Debug, Clone)]
pub struct Refresher {
    orders: mpsc::UnboundedSender<Command>,
}

/// Settings of a [`Refresher`].
#[derive(Debug)]
#[must_use]
pub struct RefresherBuilder {
    client: CachedClient,
    settings: Settings,
}

/// What a run has found.
#[derive(Debug)]
#[non_exhaustive]
pub struct RefreshEvent {
    /// The page.
    pub url: Url,
    /// What became of it.
    pub outcome: RefreshOutcome,
}

/// What became of a page.
#[derive(Debug)]
#[non_exhaustive]
pub enum RefreshOutcome {
    /// It is as it was.
    Unchanged,
    /// It is another, or is seen for the first time. To read it, ask the client for it: it is in the cache.
    Changed {
        /// What it was; `None` if nothing was stored of it.
        before: Option<Validators>,
        /// What it is.
        now: Validators,
    },
    /// The server answered with an error. What was stored stays as it was.
    ErrorStatus(StatusCode),
    /// There was no answer. What was stored stays as it was.
    Failed(Error),
}

/// The events of a [`Refresher`], in their order. Dropped, it goes on without telling.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<RefreshEvent>);

impl CachedClient {
    /// Begins a set of pages that are fetched again on time.
    pub fn refresher(&self) -> RefresherBuilder {
        RefresherBuilder { client: self.clone(), settings: Settings::default() }
    }
}

impl RefresherBuilder {
    /// How much later than its time a run may begin, at most: by chance, so that not everything happens at once. Default:
    /// not at all.
    pub fn jitter(mut self, most: Duration) -> Self {
        self.settings.jitter = most;
        self
    }

    /// How many pages are fetched at once, at most. Default: 64.
    pub fn concurrency(mut self, most: usize) -> Self {
        self.settings.concurrency = most.max(1);
        self
    }

    /// How many of them from one host, at most. Default: 6.
    pub fn per_host(mut self, most: usize) -> Self {
        self.settings.per_host = most;
        self
    }

    /// The longest pause after failures: after each one in a row it doubles, from the page's own interval. Default: one
    /// hour.
    pub fn longest_pause(mut self, most: Duration) -> Self {
        self.settings.longest_pause = most;
        self
    }

    /// Starts it, with no pages yet.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start(self) -> (Refresher, Events) {
        let (orders, receiver) = mpsc::unbounded_channel();
        let (events, unread) = mpsc::channel(UNREAD);
        tokio::spawn(Task::new(self.client, self.settings, receiver, events).run());
        (Refresher { orders }, Events(unread))
    }
}

impl Refresher {
    /// Adds a page, and fetches it now if what is stored of it is older than its interval. A page that is there already
    /// gets new times.
    ///
    /// # Errors
    ///
    /// If that is no URL of http or https.
    pub fn add(&self, url: impl IntoUrl, when: Schedule) -> Result<(), Error> {
        let _ = self.orders.send(Command::Add(url.into_url()?, when));
        Ok(())
    }

    /// Removes a page. A run that has begun goes on to its end.
    ///
    /// # Errors
    ///
    /// If that is no URL.
    pub fn remove(&self, url: impl IntoUrl) -> Result<(), Error> {
        let _ = self.orders.send(Command::Remove(url.into_url()?));
        Ok(())
    }

    /// Begins no more runs, and waits for those that have begun. Then the events end.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it stops all the same.
    pub async fn stop(&self) {
        let (done, waiting) = oneshot::channel();
        if self.orders.send(Command::Stop(done)).is_ok() {
            let _ = waiting.await;
        }
    }
}

impl Stream for Events {
    type Item = RefreshEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<RefreshEvent>> {
        self.0.poll_recv(cx)
    }
}

impl RefreshOutcome {
    /// The word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Changed { .. } => "changed",
            Self::ErrorStatus(_) => "refused",
            Self::Failed(_) => "failed",
        }
    }
}

impl fmt::Display for RefreshOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::ErrorStatus(status) => write!(f, ": {status}"),
            Self::Failed(error) => write!(f, ": {error}"),
            _ => Ok(()),
        }
    }
}
