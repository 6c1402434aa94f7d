//! The task that keeps the times: a heap of what is due when, and what is running.

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

use super::{RefreshEvent, RefreshOutcome, Schedule, queue::Queue, schedule::Round, snapshot::Snapshot};
use crate::{
    CacheOutcome, CachedClient, Error,
    hosts::Hosts,
    parts::host,
    retry::{is_retryable_status, jitter, retry_after},
};

/// How often the clock on the wall is looked at: it may be set, and a machine may sleep.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How much too early a run may begin by it.
const EARLY: Duration = Duration::from_millis(20);
/// Events that nobody has read. More, and no more runs begin.
const UNSENT: usize = 64;

#[derive(Debug)]
pub(super) struct Settings {
    pub(super) jitter: Duration,
    pub(super) concurrency: usize,
    pub(super) per_host: usize,
    pub(super) longest_pause: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let longest_pause = Duration::from_secs(3600);
        Self { jitter: Duration::ZERO, concurrency: 64, per_host: 6, longest_pause }
    }
}

pub(super) enum Command {
    Add(Url, Schedule),
    Remove(Url),
    Stop(oneshot::Sender<()>),
}

/// A page of the set.
struct Page {
    url: Url,
    when: Schedule,
    due: Instant,
    /// By the clock on the wall, if it goes by that.
    at: Option<Timestamp>,
    seen: Option<Snapshot>,
    failures: u32,
}

/// What a run came to.
struct RunResult {
    id: u64,
    host: Box<str>,
    found: Result<RunOutcome, Error>,
}

enum RunOutcome {
    Seen { before: Option<Snapshot>, now: Snapshot, fresh: Option<Duration> },
    Refused(http::StatusCode, Option<Duration>),
}

pub(super) struct Task {
    client: CachedClient,
    settings: Settings,
    orders: mpsc::UnboundedReceiver<Command>,
    events: mpsc::Sender<RefreshEvent>,
    unsent: VecDeque<RefreshEvent>,
    pages: HashMap<u64, Page>,
    ids: HashMap<Url, u64>,
    next_id: u64,
    /// What is due when. May name pages that are gone, or have another time by now.
    times: BinaryHeap<Reverse<(Instant, u64)>>,
    /// Due, but their host or all are busy.
    queue: Queue,
    running: FuturesUnordered<BoxFuture<'static, RunResult>>,
    hosts: Hosts,
    stopping: Option<Vec<oneshot::Sender<()>>>,
}

impl Task {
    pub(super) fn new(
        client: CachedClient,
        settings: Settings,
        orders: mpsc::UnboundedReceiver<Command>,
        events: mpsc::Sender<RefreshEvent>,
    ) -> Self {
        Self {
            client,
            hosts: Hosts::new(settings.per_host),
            settings,
            orders,
            events,
            unsent: VecDeque::new(),
            pages: HashMap::new(),
            ids: HashMap::new(),
            next_id: 0,
            times: BinaryHeap::new(),
            queue: Queue::default(),
            running: FuturesUnordered::new(),
            stopping: None,
        }
    }

    pub(super) async fn run(mut self) {
        let events = self.events.clone();
        loop {
            if let Some(stopping) = &mut self.stopping
                && self.running.is_empty()
            {
                // What there is room for; nobody is waited for who does not read.
                while self.unsent.pop_front().is_some_and(|event| self.events.try_send(event).is_ok()) {}
                for done in stopping.drain(..) {
                    let _ = done.send(());
                }
                return;
            }
            self.begin_what_is_due();
            let (now, going) = (Instant::now(), self.stopping.is_none());
            let wake = self.times.peek().map_or(now + LOOK_AGAIN, |Reverse((due, _))| *due);
            tokio::select! {
                Some(ran) = self.running.next() => self.ran(ran),
                room = events.reserve(), if !self.unsent.is_empty() => match (room, self.unsent.pop_front()) {
                    (Ok(room), Some(event)) => room.send(event),
                    // Nobody wants to hear of it.
                    _ => self.unsent.clear(),
                },
                order = self.orders.recv(), if going => match order {
                    Some(Command::Add(url, when)) => self.add(url, when),
                    Some(Command::Remove(url)) => self.remove(&url),
                    Some(Command::Stop(done)) => self.stopping.get_or_insert_default().push(done),
                    None => self.stopping = Some(Vec::new()),
                },
                // Nothing to begin while nobody reads: whoever makes room wakes this.
                () = sleep_until(wake), if going && self.unsent.len() < UNSENT => {}
            }
        }
    }

    fn add(&mut self, url: Url, when: Schedule) {
        self.remove(&url);
        let id = self.next_id;
        self.next_id += 1;
        // The first at once, so that there is something; by the clock on the wall only when it says so.
        let first = if when.is_by_the_wall() { when.next(Duration::ZERO, None) } else { Duration::ZERO };
        self.ids.insert(url.clone(), id);
        let page = Page { url, when, due: Instant::now(), at: None, seen: None, failures: 0 };
        self.pages.insert(id, page);
        self.set(id, first);
    }

    /// Sets a page's next time.
    fn set(&mut self, id: u64, wait: Duration) {
        let Some(page) = self.pages.get_mut(&id) else { return };
        let wait = wait + self.settings.jitter.mul_f64(jitter());
        if page.when.is_by_the_wall() {
            let at = jiff::SignedDuration::try_from(wait)
                .ok()
                .and_then(|wait| Timestamp::now().checked_add(wait).ok());
            page.at = at;
        }
        page.due = Instant::now() + if page.at.is_some() { wait.min(LOOK_AGAIN) } else { wait };
        self.times.push(Reverse((page.due, id)));
    }

    /// How long until a page is due by the clock on the wall, if it is not.
    fn is_early(page: &Page) -> Option<Duration> {
        let left: Duration = page.at?.duration_since(Timestamp::now()).try_into().ok()?;
        (left > EARLY).then_some(left)
    }

    fn remove(&mut self, url: &Url) {
        if let Some(id) = self.ids.remove(url) {
            self.pages.remove(&id);
        }
    }

    fn begin_what_is_due(&mut self) {
        if self.stopping.is_some() || self.unsent.len() >= UNSENT {
            return;
        }
        let now = Instant::now();
        while let Some(Reverse((due, id))) = self.times.peek().copied()
            && due <= now
        {
            self.times.pop();
            match self.pages.get_mut(&id).filter(|page| page.due == due) {
                None => {}
                Some(page) => match Self::is_early(page) {
                    None => self.queue.push(host(&page.url), id),
                    Some(left) => {
                        page.due = now + left.min(LOOK_AGAIN);
                        self.times.push(Reverse((page.due, id)));
                    }
                },
            }
        }
        while self.running.len() < self.settings.concurrency
            && let Some((host, id)) = self.queue.next(&mut self.hosts)
        {
            let Some(page) = self.pages.get(&id) else {
                // Removed while it waited: its place is free again.
                self.hosts.end(&host);
                continue;
            };
            let (client, url, round, seen) =
                (self.client.clone(), page.url.clone(), page.when.round(), page.seen.clone());
            let running =
                async move { RunResult { id, host, found: visit(&client, url, round, seen).await } };
            self.running.push(running.boxed());
        }
    }

    /// Takes note of what a run came to, tells it, and sets the page's next time.
    fn ran(&mut self, RunResult { id, host, found }: RunResult) {
        self.hosts.end(&host);
        // Removed meanwhile: nobody wants to hear of it.
        let Some(page) = self.pages.get_mut(&id) else { return };
        let late = Instant::now().saturating_duration_since(page.due);
        let (what, wait) = match found {
            Ok(RunOutcome::Seen { before, now, fresh }) => {
                page.failures = 0;
                let what = match before {
                    Some(before) if before.is_same(&now) => RefreshOutcome::Unchanged,
                    before => RefreshOutcome::Changed {
                        before: before.map(|before| before.validators),
                        now: now.validators.clone(),
                    },
                };
                page.seen = Some(now);
                (what, page.when.next(late, fresh))
            }
            Ok(RunOutcome::Refused(status, wish)) => {
                let pause = page.failed(late, self.settings.longest_pause);
                (RefreshOutcome::ErrorStatus(status), pause.max(wish.unwrap_or_default()))
            }
            Err(error) => (RefreshOutcome::Failed(error), page.failed(late, self.settings.longest_pause)),
        };
        self.unsent.push_back(RefreshEvent { url: page.url.clone(), outcome: what });
        self.set(id, wait);
    }
}

impl Page {
    /// How long to leave it alone after one more failure.
    fn failed(&mut self, late: Duration, longest: Duration) -> Duration {
        let usual = self.when.next(late, None);
        let doubled = usual.saturating_mul(2_u32.saturating_pow(self.failures.min(20)));
        self.failures += 1;
        doubled.min(longest.max(usual))
    }
}

/// One run: what is stored, if it was fetched in this round; otherwise the origin's word.
async fn visit(
    client: &CachedClient,
    url: Url,
    round: Round,
    seen: Option<Snapshot>,
) -> Result<RunOutcome, Error> {
    let before = match seen {
        Some(seen) => Some(seen),
        None => stored(client, &url).await,
    };
    let mode = match round {
        Round::Younger(seconds) => CacheMode::MaxAge(seconds),
        Round::Fresher(margin) => match freshness(client, &url).await {
            Some(fresh) if fresh > margin + Duration::from_secs(1) => CacheMode::Default,
            _ => CacheMode::Reload,
        },
    };
    let response = client.get(url.clone()).mode(mode).send().await?;
    let status = response.status();
    // A stale response in the place of one that did not come is no answer.
    if response.outcome() == CacheOutcome::Stale || status.is_server_error() || status.is_client_error() {
        let code = response.cache_status().fwd_status.unwrap_or(status);
        return Ok(RunOutcome::Refused(
            code,
            retry_after(response.headers()).filter(|_| is_retryable_status(status)),
        ));
    }
    let now = match before.as_ref().and_then(|before| before.if_unchanged_validators(&response)) {
        Some(now) => now,
        None => Snapshot::of(response).await?,
    };
    Ok(RunOutcome::Seen { before, now, fresh: freshness(client, &url).await })
}

/// What is stored of a page, from before this process began.
async fn stored(client: &CachedClient, url: &Url) -> Option<Snapshot> {
    let response = client.get(url.clone()).mode(CacheMode::Offline).send().await.ok()?;
    Snapshot::of(response).await.ok()
}

/// How long what is stored stays fresh.
async fn freshness(client: &CachedClient, url: &Url) -> Option<Duration> {
    let stored = client.get(url.clone()).only_if_cached().send().await.ok()?;
    stored.cache_status().ttl.and_then(|ttl| u64::try_from(ttl).ok()).map(Duration::from_secs)
}
