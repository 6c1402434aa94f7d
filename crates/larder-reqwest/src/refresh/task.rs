//! The task of a refresher: holds the due times in a heap, starts due runs within the limits, and
//! reports their results.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use jiff::Timestamp;
use larder_core::CacheMode;
use reqwest::Url;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{
    event::{RefreshEvent, RefreshOutcome},
    queue::Queue,
    schedule::{Round, Schedule},
    snapshot::Snapshot,
};
use crate::{
    CacheOutcome, CachedClient, Error,
    hosts::Hosts,
    parts::host,
    retry::{is_retryable_status, jitter, retry_after},
};

/// Interval at which the wall clock is read: it can be adjusted, and the machine can sleep.
const WALL_CLOCK_POLL: Duration = Duration::from_secs(30);
/// Time between two lookups of a response that is being stored.
const COMMIT_POLL: Duration = Duration::from_millis(20);
/// Maximum number of lookups of a response that is being stored.
const COMMIT_POLLS: u32 = 50;
/// How long before its time by the wall clock a run may begin.
const EARLY_TOLERANCE: Duration = Duration::from_millis(20);
/// Number of events that may wait for space in the channel. Then no further runs start.
pub(super) const MAX_UNSENT: usize = 64;

/// The settings of a refresher.
#[derive(Debug)]
pub(super) struct Settings {
    /// Longest random delay of a run.
    pub(super) jitter: Duration,
    /// Number of concurrent requests.
    pub(super) concurrency: usize,
    /// Number of concurrent requests to one host.
    pub(super) per_host: usize,
    /// Longest pause after failures.
    pub(super) max_backoff: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let max_backoff = Duration::from_secs(3600);
        Self { jitter: Duration::ZERO, concurrency: 64, per_host: 6, max_backoff }
    }
}

/// What the handle sends to the task.
pub(super) enum Command {
    /// Add a page, or replace its schedule.
    Add(Url, Schedule),
    /// Remove a page.
    Remove(Url),
    /// Stop, and report when the runs in flight have ended.
    Stop(oneshot::Sender<()>),
}

/// A page of the set.
struct Page {
    url: Url,
    schedule: Schedule,
    /// The time of the next run, or of the next look at the wall clock.
    due: Instant,
    /// The time of the next run by the wall clock, for schedules that follow it.
    wall_due: Option<Timestamp>,
    /// The state after the last successful run.
    snapshot: Option<Snapshot>,
    /// Number of failures in a row.
    failures: u32,
}

/// The result of a run.
struct RunResult {
    id: u64,
    host: Box<str>,
    outcome: Result<RunOutcome, Error>,
}

/// What a run found.
enum RunOutcome {
    /// The page, its state before, and how long the stored response stays fresh.
    Fetched { before: Option<Snapshot>, now: Snapshot, fresh: Option<Duration> },
    /// An error status, and the pause of its `Retry-After`.
    ErrorStatus(http::StatusCode, Option<Duration>),
}

/// The state of the task.
pub(super) struct Task {
    client: CachedClient,
    settings: Settings,
    commands: mpsc::UnboundedReceiver<Command>,
    events: mpsc::Sender<RefreshEvent>,
    /// Events that wait for space in the channel.
    unsent: VecDeque<RefreshEvent>,
    pages: HashMap<u64, Page>,
    ids: HashMap<Url, u64>,
    next_id: u64,
    /// The due times, earliest first. An entry is obsolete if its page has been removed or has
    /// another due time.
    due_times: BinaryHeap<Reverse<(Instant, u64)>>,
    /// Pages that are due and wait for a slot.
    queue: Queue,
    running: FuturesUnordered<BoxFuture<'static, RunResult>>,
    hosts: Hosts,
    /// Once the task is stopping: the callers that wait for its end.
    stopping: Option<Vec<oneshot::Sender<()>>>,
}

impl Task {
    /// Creates a task without pages.
    pub(super) fn new(
        client: CachedClient,
        settings: Settings,
        commands: mpsc::UnboundedReceiver<Command>,
        events: mpsc::Sender<RefreshEvent>,
    ) -> Self {
        Self {
            client,
            hosts: Hosts::new(settings.per_host),
            settings,
            commands,
            events,
            unsent: VecDeque::new(),
            pages: HashMap::new(),
            ids: HashMap::new(),
            next_id: 0,
            due_times: BinaryHeap::new(),
            queue: Queue::default(),
            running: FuturesUnordered::new(),
            stopping: None,
        }
    }

    /// Runs the task until it is stopped or the last handle is dropped.
    pub(super) async fn run(mut self) {
        let events = self.events.clone();
        loop {
            if let Some(stopping) = &mut self.stopping
                && self.running.is_empty()
            {
                // Send the events that fit into the channel, without waiting for a reader.
                while self.unsent.pop_front().is_some_and(|event| self.events.try_send(event).is_ok()) {}
                for done in stopping.drain(..) {
                    let _ = done.send(());
                }
                return;
            }
            self.start_due_runs();
            let (now, active) = (Instant::now(), self.stopping.is_none());
            let wake = self.due_times.peek().map_or(now + WALL_CLOCK_POLL, |Reverse((due, _))| *due);
            tokio::select! {
                Some(result) = self.running.next() => self.finish_run(result),
                permit = events.reserve(), if !self.unsent.is_empty() => match (permit, self.unsent.pop_front()) {
                    (Ok(permit), Some(event)) => permit.send(event),
                    // The stream of events has been dropped.
                    _ => self.unsent.clear(),
                },
                command = self.commands.recv(), if active => match command {
                    Some(Command::Add(url, schedule)) => self.add(url, schedule),
                    Some(Command::Remove(url)) => self.remove(&url),
                    Some(Command::Stop(done)) => self.stopping.get_or_insert_default().push(done),
                    None => self.stopping = Some(Vec::new()),
                },
                // While no events are read, no run starts. Space in the channel wakes the task.
                () = sleep_until(wake), if active && self.unsent.len() < MAX_UNSENT => {}
            }
        }
    }

    /// Adds a page, or replaces its schedule.
    fn add(&mut self, url: Url, schedule: Schedule) {
        self.remove(&url);
        let id = self.next_id;
        self.next_id += 1;
        // The first run is due at once, and with a wall-clock schedule at its next occurrence.
        let first =
            if schedule.is_wall_clock() { schedule.next(Duration::ZERO, None) } else { Duration::ZERO };
        self.ids.insert(url.clone(), id);
        let page = Page { url, schedule, due: Instant::now(), wall_due: None, snapshot: None, failures: 0 };
        self.pages.insert(id, page);
        self.schedule_run(id, first);
    }

    /// Sets the time of a page's next run.
    fn schedule_run(&mut self, id: u64, wait: Duration) {
        let Some(page) = self.pages.get_mut(&id) else { return };
        let wait = wait + self.settings.jitter.mul_f64(jitter());
        if page.schedule.is_wall_clock() {
            let wall_due = jiff::SignedDuration::try_from(wait)
                .ok()
                .and_then(|wait| Timestamp::now().checked_add(wait).ok());
            page.wall_due = wall_due;
        }
        page.due = Instant::now() + if page.wall_due.is_some() { wait.min(WALL_CLOCK_POLL) } else { wait };
        self.due_times.push(Reverse((page.due, id)));
    }

    /// Returns how long until a page is due by the wall clock, if it is not due yet.
    fn remaining_wall_time(page: &Page) -> Option<Duration> {
        let left: Duration = page.wall_due?.duration_since(Timestamp::now()).try_into().ok()?;
        (left > EARLY_TOLERANCE).then_some(left)
    }

    /// Removes a page.
    fn remove(&mut self, url: &Url) {
        if let Some(id) = self.ids.remove(url) {
            self.pages.remove(&id);
        }
    }

    /// Queues the pages that are due, and starts runs until the limits are reached.
    fn start_due_runs(&mut self) {
        if self.stopping.is_some() || self.unsent.len() >= MAX_UNSENT {
            return;
        }
        let now = Instant::now();
        while let Some(Reverse((due, id))) = self.due_times.peek().copied()
            && due <= now
        {
            self.due_times.pop();
            match self.pages.get_mut(&id).filter(|page| page.due == due) {
                None => {}
                Some(page) => match Self::remaining_wall_time(page) {
                    None => self.queue.push(host(&page.url), id),
                    Some(left) => {
                        page.due = now + left.min(WALL_CLOCK_POLL);
                        self.due_times.push(Reverse((page.due, id)));
                    }
                },
            }
        }
        while self.running.len() < self.settings.concurrency
            && let Some((host, id)) = self.queue.next(&mut self.hosts)
        {
            let Some(page) = self.pages.get(&id) else {
                // The page was removed while it waited.
                self.hosts.release(&host);
                continue;
            };
            let (client, url, round, snapshot) =
                (self.client.clone(), page.url.clone(), page.schedule.round(), page.snapshot.clone());
            let run = async move {
                RunResult { id, host, outcome: fetch_page(&client, url, round, snapshot).await }
            };
            self.running.push(run.boxed());
        }
    }

    /// Records the result of a run, queues its event, and sets the time of the page's next run.
    fn finish_run(&mut self, RunResult { id, host, outcome }: RunResult) {
        self.hosts.release(&host);
        // The run of a page that has been removed meanwhile reports no event.
        let Some(page) = self.pages.get_mut(&id) else { return };
        let late = Instant::now().saturating_duration_since(page.due);
        let (outcome, wait) = match outcome {
            Ok(RunOutcome::Fetched { before, now, fresh }) => {
                page.failures = 0;
                let outcome = match before {
                    Some(before) if before.has_same_content(&now) => RefreshOutcome::Unchanged,
                    before => RefreshOutcome::Changed {
                        before: before.map(|before| before.validators),
                        now: now.validators.clone(),
                    },
                };
                page.snapshot = Some(now);
                (outcome, page.schedule.next(late, fresh))
            }
            Ok(RunOutcome::ErrorStatus(status, retry_after)) => {
                let pause = page.record_failure(late, self.settings.max_backoff);
                (RefreshOutcome::ErrorStatus(status), pause.max(retry_after.unwrap_or_default()))
            }
            Err(error) => {
                (RefreshOutcome::Failed(error), page.record_failure(late, self.settings.max_backoff))
            }
        };
        self.unsent.push_back(RefreshEvent { url: page.url.clone(), outcome });
        self.schedule_run(id, wait);
    }
}

impl Page {
    /// Counts a failure, and returns the pause before the next run.
    fn record_failure(&mut self, late: Duration, longest: Duration) -> Duration {
        let usual = self.schedule.next(late, None);
        let doubled = usual.saturating_mul(2_u32.saturating_pow(self.failures.min(20)));
        self.failures += 1;
        doubled.min(longest.max(usual))
    }
}

/// Performs one run: takes the stored response if it was fetched in this round, and otherwise
/// revalidates it with the origin.
async fn fetch_page(
    client: &CachedClient,
    url: Url,
    round: Round,
    snapshot: Option<Snapshot>,
) -> Result<RunOutcome, Error> {
    let before = match snapshot {
        Some(snapshot) => Some(snapshot),
        None => stored_snapshot(client, &url).await,
    };
    let mode = match round {
        Round::MaxAge(seconds) => CacheMode::MaxAge(seconds),
        Round::MinFresh(margin) => match remaining_freshness(client, &url).await {
            Some(fresh) if fresh > margin + Duration::from_secs(1) => CacheMode::Default,
            _ => CacheMode::Reload,
        },
    };
    let response = client.get(url.clone()).mode(mode).send().await?;
    let status = response.status();
    // A stale response that replaces a failed fetch counts as a failure.
    if response.outcome() == CacheOutcome::Stale || status.is_server_error() || status.is_client_error() {
        let origin_status = response.cache_status().fwd_status.unwrap_or(status);
        return Ok(RunOutcome::ErrorStatus(
            origin_status,
            retry_after(response.headers()).filter(|_| is_retryable_status(status)),
        ));
    }
    let is_stored = response.cache_status().is_stored_or_storing();
    let now = match before.as_ref().and_then(|before| before.if_validators_match(&response)) {
        Some(now) => now,
        None => Snapshot::read(response).await?,
    };
    Ok(RunOutcome::Fetched { before, now, fresh: freshness_once_stored(client, &url, is_stored).await })
}

/// Returns the snapshot of a stored response, which an earlier process may have fetched.
async fn stored_snapshot(client: &CachedClient, url: &Url) -> Option<Snapshot> {
    let response = client.get(url.clone()).mode(CacheMode::Offline).send().await.ok()?;
    Snapshot::read(response).await.ok()
}

/// Returns how long the response of a page stays fresh after it was fetched.
///
/// The end of its body may have been read before the store has committed it, so a response that is
/// being stored is looked up again for up to a second.
async fn freshness_once_stored(client: &CachedClient, url: &Url, is_stored: bool) -> Option<Duration> {
    let mut attempts = if is_stored { COMMIT_POLLS } else { 1 };
    loop {
        attempts -= 1;
        match remaining_freshness(client, url).await {
            None if attempts > 0 => tokio::time::sleep(COMMIT_POLL).await,
            found => return found,
        }
    }
}

/// Returns how long the stored response of a page stays fresh.
async fn remaining_freshness(client: &CachedClient, url: &Url) -> Option<Duration> {
    let stored = client.get(url.clone()).only_if_cached().send().await.ok()?;
    stored.cache_status().ttl.and_then(|ttl| u64::try_from(ttl).ok()).map(Duration::from_secs)
}
