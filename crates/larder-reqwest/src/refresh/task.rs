//! The task of a refresher: holds the due times in a heap, starts due runs within the limits, and
//! reports their results.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    time::{Duration, SystemTime},
};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use jiff::Timestamp;
use larder_core::{Clock as _, SystemClock};
use reqwest::Url;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{
    event::{RefreshEvent, RefreshOutcome, RefreshReason, UnreadBytes},
    page::{Page, Settings},
    queue::Queue,
    run::{Page as FetchedPage, Run, RunOutcome},
    schedule::{CENTURY, Schedule},
};
use crate::{
    CachedClient, Error, ErrorKind, Response,
    hosts::{Hosts, end_of},
    parts::host,
    retry::jitter,
};

/// Interval at which the wall clock is read: it can be adjusted, and the machine can sleep.
const WALL_CLOCK_POLL: Duration = Duration::from_secs(30);
/// How long before its time by the wall clock a run may begin.
const EARLY_TOLERANCE: Duration = Duration::from_millis(20);
/// Number of events that may wait for space in the channel. Then no further runs start.
pub(super) const MAX_UNSENT: usize = 64;
/// Bytes of bodies in events that are not read yet. Further events have no body.
const MAX_UNREAD_BYTES: u64 = 64 << 20;

/// What the handle sends to the task.
pub(super) enum Command {
    /// Add a page, or replace its schedule.
    Add(Url, Schedule),
    /// Remove a page.
    Remove(Url),
    /// Stop, and report when the runs in flight have ended.
    Stop(oneshot::Sender<()>),
}

/// The result of a run.
struct RunResult {
    id: u64,
    host: Box<str>,
    outcome: Result<RunOutcome, Error>,
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
    /// The bytes of bodies in events that are not read yet.
    unread: UnreadBytes,
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
            unread: UnreadBytes::default(),
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
        let first = if schedule.is_wall_clock() {
            schedule.next(Duration::ZERO, None, self.settings.min_interval)
        } else {
            Duration::ZERO
        };
        self.ids.insert(url.clone(), id);
        let now = Instant::now();
        let page = Page {
            url,
            schedule,
            round: now,
            due: now,
            wall_due: None,
            snapshot: None,
            counted: None,
            moved_to: None,
            failures: 0,
        };
        self.pages.insert(id, page);
        self.schedule_run(id, first);
    }

    /// Sets the time of a page's next run, and returns it by the wall clock.
    fn schedule_run(&mut self, id: u64, wait: Duration) -> Option<SystemTime> {
        let page = self.pages.get_mut(&id)?;
        let wait = wait.min(CENTURY);
        let delayed = wait + self.settings.jitter.mul_f64(jitter());
        let wall_due = jiff::SignedDuration::try_from(delayed)
            .ok()
            .and_then(|delayed| Timestamp::now().checked_add(delayed).ok());
        page.wall_due = wall_due.filter(|_| page.schedule.is_wall_clock());
        let now = Instant::now();
        page.round = now + wait;
        page.due = now + if page.wall_due.is_some() { delayed.min(WALL_CLOCK_POLL) } else { delayed };
        self.due_times.push(Reverse((page.due, id)));
        wall_due.map(SystemTime::from)
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
            // The page may have been removed while it waited.
            let blocked = self.hosts.blocked_for(&host);
            match (self.pages.get(&id), blocked) {
                (Some(page), None) => self.running.push(self.run_of(page, id, host)),
                (Some(_), Some(left)) => {
                    self.hosts.release(&host);
                    self.report_blocked(id, left);
                }
                (None, _) => self.hosts.release(&host),
            }
        }
    }

    /// Creates a run of a page.
    fn run_of(&self, page: &Page, id: u64, host: Box<str>) -> BoxFuture<'static, RunResult> {
        let due = match page.wall_due {
            Some(due) => u64::try_from(due.as_millisecond()).unwrap_or(0),
            None => {
                let late = Instant::now().saturating_duration_since(page.round);
                let now = SystemClock.now().as_millis();
                now.saturating_sub(u64::try_from(late.as_millis()).unwrap_or(u64::MAX))
            }
        };
        let run = Run {
            url: page.url.clone(),
            round: page.schedule.round(larder_core::policy::Timestamp::from_millis(due)),
            snapshot: page.snapshot.clone(),
            counted: page.counted,
            rates: self.settings.rates.clone(),
            pauses: self.hosts.pauses(),
            max_body: self.settings.max_body,
        };
        let client = self.client.clone();
        async move { RunResult { id, host, outcome: run.perform(&client).await } }.boxed()
    }

    /// Records the result of a run, queues its event, and sets the time of the page's next run.
    fn finish_run(&mut self, RunResult { id, host: of_page, outcome }: RunResult) {
        self.hosts.release(&of_page);
        // The run of a page that has been removed meanwhile reports no event.
        let Some(page) = self.pages.get_mut(&id) else { return };
        let late = Instant::now().saturating_duration_since(page.round);
        match outcome {
            Ok(RunOutcome::Fetched(fetched)) => self.finish_fetched(id, *fetched, late),
            Ok(RunOutcome::Gone) => {
                self.report(id, RefreshOutcome::Gone, RefreshReason::Status, None, None, None);
                if let Some(page) = self.pages.remove(&id) {
                    self.ids.remove(&page.url);
                }
            }
            Ok(RunOutcome::ErrorStatus(status, requested, url)) => {
                let requested = requested.map(|pause| pause.min(self.settings.max_retry_after));
                let requested = requested.filter(|pause| !pause.is_zero());
                if let Some(pause) = requested {
                    self.hosts.block(host(&url), end_of(pause));
                }
                let pause = page.record_failure(late, &self.settings).max(requested.unwrap_or_default());
                let next = self.schedule_run(id, pause);
                let outcome = RefreshOutcome::ErrorStatus(status);
                self.report(id, outcome, RefreshReason::Status, None, next, requested);
            }
            Err(error) => {
                // The pause has begun during a wait, or is that of a host after redirects.
                if let ErrorKind::HostBlocked(left) = error.kind() {
                    return self.report_blocked(id, left);
                }
                let pause = page.record_failure(late, &self.settings);
                let next = self.schedule_run(id, pause);
                self.report(id, RefreshOutcome::Failed(error), RefreshReason::Failure, None, next, None);
            }
        }
    }

    /// Records a page that was fetched, and queues its events.
    fn finish_fetched(&mut self, id: u64, fetched: FetchedPage, late: Duration) {
        let FetchedPage { before, now, reason, response, fresh, arrived, confirmed, moved_to, .. } = fetched;
        let Some(page) = self.pages.get_mut(&id) else { return };
        page.failures = 0;
        page.counted = Some(confirmed.unwrap_or_else(|| SystemClock.now()));
        let outcome = match before {
            Some(before) if before.has_same_content(&now) => RefreshOutcome::Unchanged,
            before => RefreshOutcome::Changed {
                before: before.map(|before| before.validators),
                now: now.validators.clone(),
            },
        };
        page.snapshot = Some(now);
        let is_new_move = moved_to.is_some() && moved_to != page.moved_to;
        page.moved_to = moved_to.clone().or(page.moved_to.take());
        let ago = confirmed.map(|at| SystemClock.now().since(at));
        let wait = match ago.and_then(|ago| page.schedule.next_after_other(ago)) {
            Some(wait) => wait,
            None => page.schedule.next(
                late,
                fresh.map(|fresh| (fresh, arrived.elapsed())),
                self.settings.min_interval,
            ),
        };
        let next = self.schedule_run(id, wait);
        if let Some(to) = moved_to.filter(|_| is_new_move) {
            self.report(id, RefreshOutcome::Moved(to), RefreshReason::Status, None, next, None);
        }
        self.report(id, outcome, reason, response, next, None);
    }

    /// Reports a run that was not sent, and sets it to the end of its host's pause.
    fn report_blocked(&mut self, id: u64, left: Duration) {
        let next = self.schedule_run(id, left);
        self.report(id, RefreshOutcome::Blocked, RefreshReason::Pause, None, next, Some(left));
    }

    /// Queues the event of a run.
    fn report(
        &mut self,
        id: u64,
        outcome: RefreshOutcome,
        reason: RefreshReason,
        response: Option<Response>,
        next: Option<SystemTime>,
        retry_after: Option<Duration>,
    ) {
        let Some(page) = self.pages.get(&id) else { return };
        let bytes = response.as_ref().and_then(Response::content_length).unwrap_or(0);
        let unread = self.unread.add(bytes, MAX_UNREAD_BYTES);
        let response = response.filter(|_| unread.is_some());
        let unread = unread.unwrap_or_default();
        let url = page.url.clone();
        self.unsent.push_back(RefreshEvent { url, outcome, reason, response, next, retry_after, unread });
    }
}
