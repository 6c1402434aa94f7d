//! Fetches many URLs concurrently, as a stream of results.
//!
//! No task is spawned: polling the stream drives the requests, and dropping it cancels those in
//! flight. Backpressure bounds the memory: URLs are taken from their source only when there is a
//! slot for them. `hosts` limits the requests to each host, `retry` decides what is retried, and
//! `report` has what a batch reports.

mod report;
mod settings;

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    fmt,
    hash::Hasher as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use http::{Method, StatusCode};
use reqwest::Url;
use siphasher::sip128::{Hasher128 as _, SipHasher13};

pub use report::{Fetched, HostPause};

use crate::{
    CachedClient, Error, ErrorKind, RateLimit, RequestBuilder, Response, Retry,
    hosts::{Hosts, end_of},
    parts::{host, without_fragment},
    rate::Rates,
    retry::{is_retryable, retry_after},
};
use report::is_pause_status;
use settings::Settings;

/// URLs that wait for a slot of their host, for each of the concurrent requests. With the default
/// concurrency of 32 that is 256 URLs.
const WAITING_PER_SLOT: usize = 8;

/// How long nothing is sent to a host after a 429 without `Retry-After` that is not retried.
const PAUSE_AFTER_429: Duration = Duration::from_secs(60);

/// A stream of [`Fetched`] that fetches many URLs concurrently; created by
/// [`CachedClient::fetch_all`].
///
/// The results are in the order of completion, or [in the order of the URLs](Self::in_order). Each
/// distinct URL has one result: repetitions, and URLs that differ only in their fragment, are
/// skipped. For this, the batch stores a hash of each URL, about 32 bytes.
///
/// Bodies are read into memory before a result is returned, each up to
/// [`max_body`](RequestBuilder::max_body), or 256 MiB if there is none. Use
/// [`streaming`](Self::streaming) for longer ones.
///
/// # Cancel safety
///
/// Dropping the stream cancels its requests in flight. The next item can be awaited again at any
/// point.
#[must_use = "a batch does nothing until it is polled"]
pub struct Batch {
    client: CachedClient,
    urls: Pin<Box<dyn Stream<Item = String> + Send>>,
    settings: Settings,
    /// Hashes of the URLs taken so far.
    fingerprints: HashSet<u128, foldhash::fast::RandomState>,
    hosts: Hosts,
    running: FuturesUnordered<BoxFuture<'static, Done>>,
    pauses: FuturesUnordered<BoxFuture<'static, PauseEnd>>,
    /// URLs that wait for a slot of their host, retries first.
    waiting: VecDeque<Job>,
    /// Results that wait for those of earlier URLs.
    out_of_order: BTreeMap<u64, Fetched>,
    /// Distinct URLs taken from the source.
    taken: u64,
    /// Results returned in order.
    returned: u64,
    /// Whether the source has ended.
    exhausted: bool,
}

/// A URL that is to be fetched or retried.
#[derive(Debug)]
struct Job {
    index: u64,
    /// The URL as it was passed to the batch.
    input: String,
    url: Url,
    attempts: u32,
}

/// A request that has ended, its result, and the block of its host under which it was not sent.
struct Done(Job, Result<Response, Error>, Option<Duration>);

/// What the end of a pause allows.
enum PauseEnd {
    /// The URL can be retried.
    Retry(Job),
    /// A host may accept requests again.
    Host,
}

impl Batch {
    /// Creates a batch with the default settings.
    pub(crate) fn new(client: CachedClient, urls: Pin<Box<dyn Stream<Item = String> + Send>>) -> Self {
        Self {
            client,
            urls,
            settings: Settings::default(),
            fingerprints: HashSet::default(),
            hosts: Hosts::new(6),
            running: FuturesUnordered::new(),
            pauses: FuturesUnordered::new(),
            waiting: VecDeque::new(),
            out_of_order: BTreeMap::new(),
            taken: 0,
            returned: 0,
            exhausted: false,
        }
    }

    /// Sets the number of concurrent requests. Default: 32; minimum: 1.
    pub fn concurrency(mut self, max: usize) -> Self {
        self.settings.concurrency = max.max(1);
        self
    }

    /// Sets the number of concurrent requests to one host. Default: 6; minimum: 1.
    pub fn per_host(mut self, max: usize) -> Self {
        self.hosts.set_limit(max);
        self
    }

    /// Sets how failed requests are retried: a number of retries, or a [`Retry`]. Default: no
    /// retries.
    ///
    /// After a 429 or 503 with `Retry-After`, no request is sent to that host for the requested
    /// time. If the request is to be retried, the other URLs of the host wait, too. If there are no
    /// retries, or the time is longer than [`Retry::max_retry_after`], they fail at once with
    /// [`ErrorKind::HostBlocked`], unless a stored response answers them.
    pub fn retry(mut self, retry: impl Into<Retry>) -> Self {
        self.settings.retry = retry.into();
        self
    }

    /// Limits the rate of the requests to each host, beside the limit of the client. Default: none.
    ///
    /// Only requests that need the origin count; see
    /// [`CachedClientBuilder::rate_limit`](crate::CachedClientBuilder::rate_limit). A URL that waits
    /// for its turn is one of the concurrent requests.
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.settings.rates = Some(Arc::new(Rates::new(limit)));
        self
    }

    /// Sets the method of all requests. Default: GET.
    pub fn method(mut self, method: Method) -> Self {
        self.settings.method = method;
        self
    }

    /// Sets a function that is called when a host has requested a pause. A second call replaces the
    /// first. Default: none; the pauses are logged.
    pub fn on_pause(mut self, on_pause: impl Fn(&HostPause) + Send + Sync + 'static) -> Self {
        self.settings.on_pause = Some(Arc::new(on_pause));
        self
    }

    /// Returns results in the order of their URLs. Default: in the order of completion.
    ///
    /// While one result is outstanding, up to four times [`concurrency`](Self::concurrency) URLs
    /// are fetched ahead of it.
    pub fn in_order(mut self) -> Self {
        self.settings.ordered = true;
        self
    }

    /// Returns each response when its headers have arrived, for bodies that do not fit into memory.
    ///
    /// The caller reads the body; meanwhile the request no longer counts against the limits on
    /// concurrent requests. A body that fails while the caller reads it is not retried.
    pub fn streaming(mut self) -> Self {
        self.settings.streaming = true;
        self
    }

    /// Sets a function that changes each request before it is sent: its headers, its cache mode or
    /// its limits, for example. A second call replaces the first.
    pub fn map_request(
        mut self,
        map_request: impl Fn(RequestBuilder) -> RequestBuilder + Send + Sync + 'static,
    ) -> Self {
        self.settings.map_request = Some(Arc::new(map_request));
        self
    }

    /// Starts requests until the limits are reached, taking URLs from the source as slots become
    /// free.
    ///
    /// Returns the result of a URL that could not be parsed, and `Pending` if there is none.
    fn start(&mut self, cx: &mut Context<'_>) -> Poll<Option<Fetched>> {
        while self.running.len() < self.settings.concurrency {
            if let Some(at) = self.waiting.iter().position(|job| self.hosts.try_acquire(host(&job.url))) {
                let job = self.waiting.remove(at).expect("the position was just found");
                self.run(job);
                continue;
            }
            let full = self.waiting.len() >= self.settings.concurrency * WAITING_PER_SLOT;
            if full || self.exhausted || self.is_far_ahead() {
                break;
            }
            match self.urls.as_mut().poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => self.exhausted = true,
                Poll::Ready(Some(input)) => match self.job(input) {
                    None => {}
                    Some(Ok(job)) if self.hosts.try_acquire(host(&job.url)) => self.run(job),
                    Some(Ok(job)) => self.waiting.push_back(job),
                    Some(Err(fetched)) => return Poll::Ready(Some(fetched)),
                },
            }
        }
        Poll::Pending
    }

    /// Returns whether an ordered batch must wait for an earlier result before it takes more URLs.
    fn is_far_ahead(&self) -> bool {
        self.settings.ordered && self.taken - self.returned >= (self.settings.concurrency * 4) as u64
    }

    /// Creates the job of a URL, or its result if it cannot be parsed. Returns `None` for a
    /// repetition.
    fn job(&mut self, input: String) -> Option<Result<Job, Fetched>> {
        let parsed = Url::parse(&input).map_err(|error| {
            Error::new(crate::ErrorKind::Request, None)
                .with_source(format!("'{input}' is not a valid URL: {error}"))
        });
        let mut hasher = SipHasher13::new();
        match &parsed {
            Ok(url) => hasher.write(without_fragment(url).as_bytes()),
            Err(_) => hasher.write(input.as_bytes()),
        }
        if !self.fingerprints.insert(hasher.finish128().as_u128()) {
            return None;
        }
        let index = self.taken;
        self.taken += 1;
        Some(match parsed {
            Ok(url) => Ok(Job { index, input, url, attempts: 0 }),
            Err(error) => Err(Fetched { url: input, index, result: Err(error), attempts: 0 }),
        })
    }

    /// Starts one attempt. The slot of the host has already been acquired.
    fn run(&mut self, mut job: Job) {
        job.attempts += 1;
        let request = self.client.request(self.settings.method.clone(), job.url.clone());
        let request = match &self.settings.map_request {
            Some(map_request) => map_request(request),
            None => request,
        };
        let request = match &self.settings.rates {
            Some(rates) => request.with_rates(rates),
            None => request,
        }
        .with_pauses(self.hosts.pauses());
        // A stored response can be used nevertheless.
        let blocked = self.hosts.blocked_for(host(&job.url));
        let request = if blocked.is_some() { request.only_if_cached() } else { request };
        let streaming = self.settings.streaming;
        let fetching = async move {
            let result = match request.send().await {
                Ok(response) if streaming => Ok(response),
                Ok(response) => response.buffered().await,
                Err(error) => Err(error),
            };
            Done(job, result, blocked)
        };
        self.running.push(fetching.boxed());
    }

    /// Releases the host's slot, and returns the result unless the request is to be retried.
    fn finish(&mut self, Done(job, result, blocked): Done) -> Option<Fetched> {
        let host = host(&job.url);
        self.hosts.release(host);
        let result = match (result, blocked) {
            (Err(error), Some(left)) if error.kind() == ErrorKind::NotCached => {
                Err(Error::new(ErrorKind::HostBlocked(left), Some(&job.url)))
            }
            (result, _) => result,
        };
        let policy = &self.settings.retry;
        let requested = match &result {
            Ok(response) if is_pause_status(response.status()) => retry_after(response.headers()),
            _ => None,
        };
        let will_retry = job.attempts <= policy.max_retries
            && requested.is_none_or(|pause| pause <= policy.max_retry_after)
            && is_retryable(&self.settings.method, &result);
        let pause = requested.unwrap_or_default().max(policy.pause(job.attempts));
        if let Ok(response) = &result
            && is_pause_status(response.status())
        {
            let of_host = match (requested, will_retry) {
                (Some(requested), _) => requested,
                (None, true) => pause,
                (None, false) => PAUSE_AFTER_429,
            };
            if requested.is_some() || response.status() == StatusCode::TOO_MANY_REQUESTS {
                // After redirects it is another host that has responded.
                self.pause_host(response.url(), response.status(), of_host, will_retry);
            }
        }
        if will_retry {
            self.pauses.push(tokio::time::sleep(pause).map(|()| PauseEnd::Retry(job)).boxed());
            return None;
        }
        Some(Fetched { url: job.input, index: job.index, result, attempts: job.attempts })
    }

    /// Sends nothing to the host of `url` for a time: its URLs wait for the end of it, or fail.
    fn pause_host(&mut self, url: &Url, status: StatusCode, pause: Duration, is_waiting: bool) {
        let host = host(url).to_owned();
        let until = end_of(pause);
        let is_new = if is_waiting {
            // Also if it is paused already: the later end counts.
            self.pauses.push(tokio::time::sleep_until(until).map(|()| PauseEnd::Host).boxed());
            self.hosts.pause(&host, until)
        } else {
            self.hosts.block(&host, until)
        };
        if !is_new || pause.is_zero() {
            return;
        }
        match &self.settings.on_pause {
            Some(on_pause) => on_pause(&HostPause { host, status, pause, is_waiting }),
            None => tracing::info!(%host, %status, ?pause, is_waiting, "the host requested a pause"),
        }
    }

    /// Adds a result, and returns the one that is next in the configured order, if it is there.
    fn next_in_order(&mut self, fetched: Option<Fetched>) -> Option<Fetched> {
        if !self.settings.ordered {
            return fetched;
        }
        self.out_of_order.extend(fetched.map(|fetched| (fetched.index, fetched)));
        let next = self.out_of_order.remove(&self.returned)?;
        self.returned += 1;
        Some(next)
    }
}

impl Stream for Batch {
    type Item = Fetched;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Fetched>> {
        let this = &mut *self;
        loop {
            if let Some(fetched) = this.next_in_order(None) {
                return Poll::Ready(Some(fetched));
            }
            while let Poll::Ready(Some(end)) = this.pauses.poll_next_unpin(cx) {
                if let PauseEnd::Retry(job) = end {
                    this.waiting.push_front(job);
                }
            }
            let fetched = match this.start(cx) {
                Poll::Ready(fetched) => fetched,
                Poll::Pending => match this.running.poll_next_unpin(cx) {
                    Poll::Ready(Some(done)) => this.finish(done),
                    Poll::Ready(None) | Poll::Pending => {
                        let nothing_left = this.exhausted
                            && this.running.is_empty()
                            && this.waiting.is_empty()
                            && this.pauses.is_empty();
                        return if nothing_left { Poll::Ready(None) } else { Poll::Pending };
                    }
                },
            };
            if let Some(fetched) = this.next_in_order(fetched) {
                return Poll::Ready(Some(fetched));
            }
        }
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running = self.running.len();
        f.debug_struct("Batch").field("taken", &self.taken).field("running", &running).finish_non_exhaustive()
    }
}
