//! Many pages at once.
//!
//! Nothing is spawned: whoever reads the stream drives it, and dropping it gives up what is on its way. What waits, waits
//! here and not in memory that grows: URLs are taken from their source only when there is room for them.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    fmt,
    hash::Hasher as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use reqwest::Url;
use siphasher::sip128::{Hasher128 as _, SipHasher13};

use crate::{
    CachedClient, Error, RequestBuilder, Response, Retry,
    hosts::Hosts,
    parts::{host, sent},
    retry::{is_retryable, retry_after},
};

/// How many URLs wait for their host, for each request that may be on its way.
const WAITING: usize = 8;

/// Many pages at once: a stream of [`Fetched`], in the order in which they come or in which they were named.
///
/// Each distinct URL has one result; one that is named again is left out. Its memory does not grow with the number of
/// URLs but for 32 bytes each, by which it knows them again. The pages' bodies are read before they are handed out, each up
/// to 256 MiB or [`max_body`](RequestBuilder::max_body); see [`streaming`](Self::streaming).
#[must_use = "a batch does nothing until it is read"]
pub struct Batch {
    client: CachedClient,
    urls: Pin<Box<dyn Stream<Item = String> + Send>>,
    settings: Settings,
    seen: HashSet<u128, foldhash::fast::RandomState>,
    hosts: Hosts,
    running: FuturesUnordered<BoxFuture<'static, Done>>,
    pauses: FuturesUnordered<BoxFuture<'static, Over>>,
    waiting: VecDeque<Job>,
    /// Results that came before those that go before them.
    early: BTreeMap<u64, Fetched>,
    taken: u64,
    given: u64,
    exhausted: bool,
}

struct Settings {
    concurrency: usize,
    retry: Retry,
    ordered: bool,
    streaming: bool,
    each: Option<Arc<dyn Fn(RequestBuilder) -> RequestBuilder + Send + Sync>>,
}

/// What became of one URL.
#[derive(Debug)]
#[non_exhaustive]
pub struct Fetched {
    /// The URL as it was named.
    pub url: String,
    /// Its place among the distinct URLs, from 0.
    pub index: u64,
    /// The response, or why there is none. An error status is a response.
    pub result: Result<Response, Error>,
    /// How often it was tried.
    pub attempts: u32,
}

#[derive(Debug)]
struct Job {
    index: u64,
    named: String,
    url: Url,
    attempts: u32,
}

struct Done(Job, Result<Response, Error>);

/// A pause that is over: of a failed request, or of a host.
enum Over {
    Job(Job),
    Host(String),
}

impl Batch {
    fn new(client: CachedClient, urls: Pin<Box<dyn Stream<Item = String> + Send>>) -> Self {
        Self {
            client,
            urls,
            settings: Settings {
                concurrency: 32,
                retry: Retry::times(0),
                ordered: false,
                streaming: false,
                each: None,
            },
            seen: HashSet::default(),
            hosts: Hosts::new(6),
            running: FuturesUnordered::new(),
            pauses: FuturesUnordered::new(),
            waiting: VecDeque::new(),
            early: BTreeMap::new(),
            taken: 0,
            given: 0,
            exhausted: false,
        }
    }

    /// How many requests are on their way at once, at most. Default: 32.
    pub fn concurrency(mut self, most: usize) -> Self {
        self.settings.concurrency = most.max(1);
        self
    }

    /// How many of them to one host, at most. Default: 6.
    pub fn per_host(mut self, most: usize) -> Self {
        self.hosts.set_most(most);
        self
    }

    /// How failed requests are tried again: a number, or a [`Retry`]. Default: not at all. A host that answers 429 or 503
    /// with `Retry-After` is left alone for so long, with all its URLs.
    pub fn retry(mut self, retry: impl Into<Retry>) -> Self {
        self.settings.retry = retry.into();
        self
    }

    /// Results in the order of their URLs. At most four times as many as may be on their way are fetched ahead of the one
    /// that is waited for. Default: as they come.
    pub fn in_order(mut self) -> Self {
        self.settings.ordered = true;
        self
    }

    /// Hands a response out when its head is here; its body is read by whoever takes it, and doesn't count as on its way
    /// any more. For pages that are longer than memory.
    pub fn streaming(mut self) -> Self {
        self.settings.streaming = true;
        self
    }

    /// Makes something of each request before it is sent: fields, a mode, a limit.
    pub fn each(mut self, make: impl Fn(RequestBuilder) -> RequestBuilder + Send + Sync + 'static) -> Self {
        self.settings.each = Some(Arc::new(make));
        self
    }

    /// Starts what may start; whether anything changed.
    fn start(&mut self, cx: &mut Context<'_>) -> Poll<Option<Fetched>> {
        while self.running.len() < self.settings.concurrency {
            if let Some(at) = self.waiting.iter().position(|job| self.hosts.begin(host(&job.url))) {
                let job = self.waiting.remove(at).expect("it was just there");
                self.run(job);
                continue;
            }
            let full = self.waiting.len() >= self.settings.concurrency * WAITING;
            if full || self.exhausted || self.is_far_ahead() {
                break;
            }
            match self.urls.as_mut().poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => self.exhausted = true,
                Poll::Ready(Some(named)) => match self.job(named) {
                    None => {}
                    Some(Ok(job)) if self.hosts.begin(host(&job.url)) => self.run(job),
                    Some(Ok(job)) => self.waiting.push_back(job),
                    Some(Err(fetched)) => return Poll::Ready(Some(fetched)),
                },
            }
        }
        Poll::Pending
    }

    fn is_far_ahead(&self) -> bool {
        self.settings.ordered && self.taken - self.given >= (self.settings.concurrency * 4) as u64
    }

    /// `None` for one that was named before.
    fn job(&mut self, named: String) -> Option<Result<Job, Fetched>> {
        let parsed = Url::parse(&named).map_err(|error| {
            Error::new(crate::ErrorKind::Request, None).with_source(format!("'{named}' is no URL: {error}"))
        });
        let mut hasher = SipHasher13::new();
        match &parsed {
            // Not the fragment: it is not sent.
            Ok(url) => hasher.write(sent(url).as_bytes()),
            Err(_) => hasher.write(named.as_bytes()),
        }
        if !self.seen.insert(hasher.finish128().as_u128()) {
            return None;
        }
        let index = self.taken;
        self.taken += 1;
        Some(match parsed {
            Ok(url) => Ok(Job { index, named, url, attempts: 0 }),
            Err(error) => Err(Fetched { url: named, index, result: Err(error), attempts: 0 }),
        })
    }

    fn run(&mut self, mut job: Job) {
        job.attempts += 1;
        let request = self.client.get(job.url.clone());
        let request = match &self.settings.each {
            Some(make) => make(request),
            None => request,
        };
        let streaming = self.settings.streaming;
        let fetching = async move {
            let result = match request.send().await {
                Ok(response) if streaming => Ok(response),
                Ok(response) => response.buffered().await,
                Err(error) => Err(error),
            };
            Done(job, result)
        };
        self.running.push(fetching.boxed());
    }

    /// The result, unless it is tried again.
    fn done(&mut self, Done(job, result): Done) -> Option<Fetched> {
        let host = host(&job.url);
        self.hosts.end(host);
        let wish = match &result {
            Ok(response) if matches!(response.status().as_u16(), 429 | 503) => {
                retry_after(response.headers())
            }
            _ => None,
        };
        let again = job.attempts <= self.settings.retry.times && is_retryable(&result);
        if let Some(wish) = wish.filter(|_| again)
            && self.hosts.pause(host)
        {
            let host = host.to_owned();
            self.pauses.push(tokio::time::sleep(wish).map(|()| Over::Host(host)).boxed());
        }
        if again {
            let pause = wish.unwrap_or_default().max(self.settings.retry.pause(job.attempts));
            self.pauses.push(tokio::time::sleep(pause).map(|()| Over::Job(job)).boxed());
            return None;
        }
        Some(Fetched { url: job.named, index: job.index, result, attempts: job.attempts })
    }

    /// In its turn.
    fn ordered(&mut self, fetched: Option<Fetched>) -> Option<Fetched> {
        if !self.settings.ordered {
            return fetched;
        }
        self.early.extend(fetched.map(|fetched| (fetched.index, fetched)));
        let next = self.early.remove(&self.given)?;
        self.given += 1;
        Some(next)
    }
}

impl Stream for Batch {
    type Item = Fetched;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Fetched>> {
        let this = &mut *self;
        loop {
            if let Some(fetched) = this.ordered(None) {
                return Poll::Ready(Some(fetched));
            }
            while let Poll::Ready(Some(over)) = this.pauses.poll_next_unpin(cx) {
                match over {
                    Over::Job(job) => this.waiting.push_front(job),
                    Over::Host(host) => this.hosts.go_on(&host),
                }
            }
            let fetched = match this.start(cx) {
                Poll::Ready(fetched) => fetched,
                Poll::Pending => match this.running.poll_next_unpin(cx) {
                    Poll::Ready(Some(done)) => this.done(done),
                    Poll::Ready(None) | Poll::Pending => {
                        let nothing_left = this.exhausted
                            && this.running.is_empty()
                            && this.waiting.is_empty()
                            && this.pauses.is_empty();
                        return if nothing_left { Poll::Ready(None) } else { Poll::Pending };
                    }
                },
            };
            if let Some(fetched) = this.ordered(fetched) {
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

impl CachedClient {
    /// Many pages at once, each through the cache: a stream, with settings before its first result is read.
    ///
    /// ```no_run
    /// # async fn example(client: larder_reqwest::CachedClient) -> Result<(), larder_reqwest::Error> {
    /// use futures_util::StreamExt as _;
    ///
    /// let urls = (1..=100).map(|n| format!("https://example.com/{n}"));
    /// let mut pages = client.fetch_all(urls).concurrency(32).per_host(6).retry(2);
    /// while let Some(page) = pages.next().await {
    ///     match page.result {
    ///         Ok(response) => println!("{} {} {}", page.url, response.status(), response.outcome()),
    ///         Err(error) => println!("{error}"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn fetch_all<I>(&self, urls: I) -> Batch
    where
        I: IntoIterator<Item: Into<String> + 'static, IntoIter: Send + 'static>,
    {
        self.fetch_all_of(futures_util::stream::iter(urls.into_iter().map(Into::into)))
    }

    /// The same for URLs that are not known yet: taken from a stream as there is room for them.
    pub fn fetch_all_of(&self, urls: impl Stream<Item = String> + Send + 'static) -> Batch {
        Batch::new(self.clone(), Box::pin(urls))
    }
}
