//! One run of a page: takes the stored response if another process has confirmed it in this round,
//! and otherwise validates it with the origin.
//!
//! `snapshot` compares contents, `task` decides when a run is due.

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode};
use larder_core::{
    CacheKey, CacheMode, CacheOutcome, OverrideFn, Overrides, RefreshTurn, Refreshes, RequestHead,
    policy::Timestamp,
};
use reqwest::{Request, Url};
use tokio::time::Instant;

use super::{
    event::RefreshReason,
    snapshot::{Content, Snapshot},
};
use crate::{
    CachedClient, Error, Response,
    hosts::Pauses,
    parts::{self, head_of},
    rate::Rates,
    replayable_body::ReplayableBody,
    request_options::RequestOptions,
    retry::{is_retryable_status, retry_after},
};

/// How long a response is kept beyond two rounds, so that each process finds it.
const KEPT_BEYOND: Duration = Duration::from_secs(60);

/// Time between two lookups of a response that is being stored.
const COMMIT_POLL: Duration = Duration::from_millis(20);
/// Maximum number of lookups of a response that is being stored.
const COMMIT_POLLS: u32 = 50;

/// The condition under which a stored response counts as the result of a run, because another
/// process has just fetched it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Round {
    /// The origin has confirmed it since this time; with `fresh_only`, it also has to be fresh.
    Since { start: Timestamp, length: Duration, fresh_only: bool },
    /// It stays fresh for longer than this.
    MinFresh(Duration),
}

/// What a run begins with.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) url: Url,
    pub(super) round: Round,
    /// The state after the last successful run.
    pub(super) snapshot: Option<Snapshot>,
    /// The last confirmation that counted for a run of this process.
    pub(super) counted: Option<Timestamp>,
    /// The limit on the rate of requests to each host.
    pub(super) rates: Option<Arc<Rates>>,
    /// The pauses that hosts have requested.
    pub(super) pauses: Pauses,
    /// Longest body that the event carries.
    pub(super) max_body: u64,
}

/// What a run found.
pub(super) enum RunOutcome {
    /// The page.
    Fetched(Box<Page>),
    /// An error status, the pause of its `Retry-After`, and the URL that responded.
    ErrorStatus(StatusCode, Option<Duration>, Box<Url>),
    /// The status 410.
    Gone,
}

/// A page that was fetched, or found in the store.
pub(super) struct Page {
    /// The state before. `None` if nothing was stored.
    pub(super) before: Option<Snapshot>,
    pub(super) now: Snapshot,
    pub(super) reason: RefreshReason,
    /// The response with its body, if the content differs from the state before.
    pub(super) response: Option<Response>,
    /// How long the response was fresh when it arrived. `None` if it cannot be stored.
    pub(super) fresh: Option<Duration>,
    pub(super) arrived: Instant,
    /// When the origin has confirmed the page, if it is stored.
    pub(super) confirmed: Option<Timestamp>,
    /// The URL to which the page has moved permanently.
    pub(super) moved_to: Option<Url>,
    /// Whether redirects led to it. Then a lookup of the requested URL does not find it.
    pub(super) is_redirected: bool,
}

/// A stored response, and when the origin has confirmed it.
struct Stored {
    response: Response,
    at: Timestamp,
    fresh_for: Duration,
}

impl Run {
    /// Performs the run.
    pub(super) async fn perform(self, client: &CachedClient) -> Result<RunOutcome, Error> {
        let request = client.inner.http.get(self.url.clone()).build()?;
        let options = self.options(client);
        let stored = Lookup::new(client, &request, &options);
        let mut found = stored.find().await;
        if let Some(taken) = found.take_if(|found| self.counts(found)) {
            // It was stored before this run, so that it is no news if this is the first one.
            return self.take(taken, true).await;
        }
        // Of the processes with rounds that begin at the same time, one fetches.
        let turn = match &stored.key {
            Some(key) => Some(Refreshes::new(client.cache()).turn(key).await),
            None => None,
        };
        found = stored.find().await;
        if let Some(taken) = found.take_if(|found| self.counts(found)) {
            return self.take(taken, false).await;
        }
        let found_at = found.as_ref().map(|found| found.at);
        let before = match (self.snapshot.clone(), found) {
            (Some(snapshot), _) => Some(snapshot),
            (None, Some(found)) => {
                Content::read(found.response, 0).await.ok().map(|content| content.snapshot)
            }
            (None, None) => None,
        };
        let known = found_at.max(self.counted);
        let result = self.fetch(client, request, &options, before).await;
        // The others look at the store when their turn comes, which is when this one is dropped.
        if turn.as_ref().is_some_and(RefreshTurn::is_exclusive)
            && let Ok(RunOutcome::Fetched(page)) = &result
            && page.fresh.is_some()
            && !page.is_redirected
        {
            stored.wait_for_newer(known).await;
        }
        result
    }

    /// Returns whether a stored response is the result of this run.
    fn counts(&self, found: &Stored) -> bool {
        if self.counted.is_some_and(|counted| found.at <= counted) {
            return false;
        }
        match self.round {
            Round::Since { start, fresh_only, .. } => {
                found.at >= start && !(fresh_only && found.fresh_for.is_zero())
            }
            Round::MinFresh(margin) => found.fresh_for > margin.saturating_add(Duration::from_secs(1)),
        }
    }

    /// Returns the options of the request: the stored response is validated, and kept until the
    /// next round even if it is stale at once.
    fn options(&self, client: &CachedClient) -> RequestOptions {
        let mut options = client.inner.options.clone();
        options.mode = CacheMode::Reload;
        options.rates.extend(self.rates.clone());
        options.pauses = Some(self.pauses.clone());
        if let Round::Since { length, .. } = self.round {
            let kept = length.saturating_mul(2).saturating_add(KEPT_BEYOND);
            let kept = OverrideFn::always(Overrides::default().with_stale_if_error(kept));
            options.override_fn = Some(match options.override_fn.take() {
                Some(of_client) => of_client.or(Some(kept)),
                None => kept,
            });
        }
        options
    }

    /// Returns the result of a run for which another process has fetched the page.
    ///
    /// The first run has nothing to compare it with: with `is_known`, it is unchanged, and
    /// otherwise new.
    async fn take(self, taken: Stored, is_known: bool) -> Result<RunOutcome, Error> {
        let (fresh, arrived) = (Some(taken.fresh_for), Instant::now());
        let content = Content::read(taken.response, self.max_body).await?;
        let before = self.snapshot.or_else(|| is_known.then(|| content.snapshot.clone()));
        let (now, response) = content.compared_with(before.as_ref());
        Ok(RunOutcome::Fetched(Box::new(Page {
            response,
            now,
            before,
            reason: RefreshReason::Elsewhere,
            fresh,
            arrived,
            confirmed: Some(taken.at),
            moved_to: None,
            is_redirected: false,
        })))
    }

    /// Validates the page with the origin.
    async fn fetch(
        self,
        client: &CachedClient,
        request: Request,
        options: &RequestOptions,
        before: Option<Snapshot>,
    ) -> Result<RunOutcome, Error> {
        let copy = request.try_clone().expect("a request without body can be cloned");
        let response = client.inner.send(copy, options).await?;
        let status = response.status();
        if status == StatusCode::GONE {
            return Ok(RunOutcome::Gone);
        }
        // A stale response that replaces a failed fetch counts as a failure.
        if response.outcome() == CacheOutcome::Stale || status.is_server_error() || status.is_client_error() {
            let origin_status = response.cache_status().fwd_status.unwrap_or(status);
            let pause = retry_after(response.headers()).filter(|_| is_retryable_status(status));
            return Ok(RunOutcome::ErrorStatus(origin_status, pause, Box::new(response.url().clone())));
        }
        // The lifetime is that of the response itself: it may not be in the store yet.
        let (fresh, arrived) = (fresh_for(client, request, options, &response), Instant::now());
        let (moved_to, is_redirected) = (response.moved_to().cloned(), !response.redirects().is_empty());
        let is_validated = response.outcome() == CacheOutcome::Revalidated;
        if let Some(unchanged) = before.as_ref().and_then(|before| before.if_confirmed(&response)) {
            return Ok(RunOutcome::Fetched(Box::new(Page {
                before,
                now: unchanged,
                reason: RefreshReason::NotModified,
                response: None,
                fresh,
                arrived,
                confirmed: None,
                moved_to,
                is_redirected,
            })));
        }
        let content = Content::read(response, self.max_body).await?;
        let (now, response) = content.compared_with(before.as_ref());
        Ok(RunOutcome::Fetched(Box::new(Page {
            response,
            now,
            before,
            reason: if is_validated { RefreshReason::NotModified } else { RefreshReason::Content },
            fresh,
            arrived,
            confirmed: None,
            moved_to,
            is_redirected,
        })))
    }
}

/// The lookup of a page in the store.
pub(super) struct Lookup<'a> {
    client: &'a CachedClient,
    request: Option<Request>,
    /// The key of the page. `None` if it has none.
    key: Option<CacheKey>,
}

impl<'a> Lookup<'a> {
    /// Prepares the lookup of a request, as if it were sent.
    fn new(client: &'a CachedClient, request: &Request, options: &RequestOptions) -> Self {
        let mut request = request.try_clone();
        let key = request.as_mut().and_then(|request| {
            client.inner.prepare(request, CacheMode::Default);
            client.inner.cookies.add_to(request);
            let body = ReplayableBody::take_from(request);
            let target = parts::target(request)?;
            Some(options.keys(client.inner.key(&target).ok()?, request, &body).key)
        });
        Self { client, request, key }
    }

    /// Waits until the store has a response that was confirmed after `known`, for at most a second:
    /// the end of a body may have been read before the store has committed it.
    async fn wait_for_newer(&self, known: Option<Timestamp>) {
        for _ in 0..COMMIT_POLLS {
            if self.find().await.is_some_and(|found| Some(found.at) > known) {
                return;
            }
            tokio::time::sleep(COMMIT_POLL).await;
        }
    }

    /// Returns the stored response, whatever its age. A redirect is not followed: it does not count
    /// as the page.
    async fn find(&self) -> Option<Stored> {
        let request = self.request.as_ref()?;
        let head = RequestHead::new(&Method::GET, request.headers());
        let inner = &self.client.inner;
        let mut found = Refreshes::new(&inner.cache).confirmed(self.key.as_ref()?, &head).await?;
        if !found.response.status().is_success() {
            return None;
        }
        inner.codings.decode(&mut found.response);
        let response = Response::new(inner.cache.clone(), request.url().clone(), found.response, None);
        Some(Stored { response, at: found.at, fresh_for: found.fresh_for })
    }
}

/// Returns how long a response that has just arrived is fresh. `None` if it cannot be stored.
fn fresh_for(
    client: &CachedClient,
    mut request: Request,
    options: &RequestOptions,
    response: &Response,
) -> Option<Duration> {
    client.inner.prepare(&mut request, options.mode);
    *request.url_mut() = response.url().clone();
    let head = head_of(&request)?;
    let options = options.fetch_options(false, None);
    Refreshes::new(client.cache()).fresh_for(&head, &response.head, &options)
}
