//! Reads the body of one response to its end over several requests: a body that breaks off is
//! continued by a request for the rest, or fetched again.
//!
//! `retry` decides about the pauses, the caller where the bytes go.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_RANGE, ETAG, IF_RANGE, RANGE},
};

use crate::{
    Error, ErrorKind, RequestBuilder, Response, Retry,
    retry::{is_retryable_status, retry_after},
};

/// A response with a body that is read to its end, also if connections break off; created by
/// [`RequestBuilder::download`] or from a response.
///
/// If the body breaks off, the rest is requested with `Range` and `If-Range` (RFC 9110 §13.1.5),
/// provided that the response has a strong entity tag and a known length. Otherwise, or if the
/// representation has changed, the body begins again: see [`Part::Restart`]. What was put together
/// from several responses is not stored. The body of an error status is not requested again.
///
/// ```no_run
/// # async fn example(client: larder_reqwest::CachedClient) -> Result<(), larder_reqwest::Error> {
/// use larder_reqwest::{Part, Retry};
///
/// let mut file = Vec::new();
/// let mut download = client.get("https://example.com/long").download(Retry::new(3)).await?;
/// while let Some(part) = download.next_part().await? {
///     match part {
///         Part::Chunk(bytes) => file.extend_from_slice(&bytes),
///         Part::Restart => file.clear(),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Download {
    /// The request of the first response, for the further ones. `None` if none may be sent.
    request: Option<RequestBuilder>,
    response: Response,
    retry: Retry,
    /// Number of further requests so far.
    retries: u32,
    /// Bytes read since the beginning of the body.
    read: u64,
    /// What the rest must belong to. `None` if it cannot be requested.
    whole: Option<Whole>,
    /// Whether the next part is [`Part::Restart`].
    restarted: bool,
    /// Why the body has broken off, until it goes on.
    broken: Option<Broken>,
}

/// The end of a body before its time.
#[derive(Debug)]
struct Broken {
    error: Error,
    /// The pause that a server has requested before the next attempt.
    requested_pause: Option<Duration>,
}

/// A part of a body that [`Download::next_part`] returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The next bytes.
    Chunk(Bytes),
    /// The body begins again: discard all bytes so far, if any. [`Download::response`] is another
    /// one.
    Restart,
}

/// The representation of which a rest may be requested.
#[derive(Debug, Clone)]
struct Whole {
    tag: HeaderValue,
    coding: Option<HeaderValue>,
    length: u64,
}

impl Download {
    /// Creates a download from a response that has just been received.
    ///
    /// `request` is sent again for the rest of the body; use the request that led to the response.
    /// Without one, a body that breaks off is an error. A request with another method than GET, or
    /// with an error status as its response, is sent only once.
    pub fn new(request: Option<RequestBuilder>, response: Response, retry: impl Into<Retry>) -> Self {
        let request = request.filter(|request| response.status().is_success() && request.is_get());
        // Of another method than GET, the length is not that of the body.
        let whole = request.as_ref().and_then(|_| Whole::of(&response));
        let (retry, restarted, broken) = (retry.into(), false, None);
        Self { request, response, retry, retries: 0, read: 0, whole, restarted, broken }
    }

    /// Returns the first response, or the one that the body began again with.
    pub fn response(&self) -> &Response {
        &self.response
    }

    /// Returns the number of further requests that the body needed so far.
    pub fn retries(&self) -> u32 {
        self.retries
    }

    /// Reads the next part of the body. Returns `None` at the end.
    ///
    /// # Errors
    ///
    /// Returns the [`Error`] of the last attempt if the body has broken off and no retries are
    /// left, and every error that a retry cannot help. Further calls return the same error.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point; no chunk is lost. A pause begins again.
    pub async fn next_part(&mut self) -> Result<Option<Part>, Error> {
        loop {
            if self.broken.is_some() {
                self.resume().await?;
            }
            if std::mem::take(&mut self.restarted) {
                return Ok(Some(Part::Restart));
            }
            let error = match self.response.chunk().await {
                Ok(Some(chunk)) => {
                    self.read += chunk.len() as u64;
                    return Ok(Some(Part::Chunk(chunk)));
                }
                Ok(None) => match self.wrong_length() {
                    Some(error) => error,
                    None => return Ok(None),
                },
                Err(error) => error,
            };
            self.broken = Some(Broken { error, requested_pause: None });
        }
    }

    /// Returns the error of a body that has ended, but not at the length of the whole.
    fn wrong_length(&self) -> Option<Error> {
        let length = self.whole.as_ref()?.length;
        let text = format!("it has {} bytes and not {length}", self.read);
        (self.read != length)
            .then(|| Error::new(ErrorKind::Body, Some(self.response.url())).with_source(text))
    }

    /// Sends further requests until one leads to the rest of the body, or to a new beginning.
    ///
    /// If it is dropped, the body stays broken, and the next call goes on.
    async fn resume(&mut self) -> Result<(), Error> {
        while let Some(broken) = &mut self.broken {
            let may_retry = self.retries < self.retry.max_retries && broken.error.is_transient();
            let request = self.request.as_ref().filter(|_| may_retry).and_then(RequestBuilder::try_clone);
            let Some(request) = request else { break };
            let pause = self.retry.pause(self.retries + 1).max(broken.requested_pause.unwrap_or_default());
            tokio::time::sleep(pause).await;
            broken.requested_pause = None;
            self.retries += 1;
            let part = self.whole.as_ref().filter(|whole| (1..whole.length).contains(&self.read));
            let request = match part {
                Some(whole) => {
                    request.header(RANGE, format!("bytes={}-", self.read)).header(IF_RANGE, whole.tag.clone())
                }
                None => request,
            };
            match request.send().await {
                Ok(response) if part.is_some_and(|whole| whole.has_rest(&response, self.read)) => {
                    self.response.continue_with(response);
                    self.broken = None;
                }
                Ok(response) if response.status() == StatusCode::OK => {
                    self.whole = Whole::of(&response);
                    self.response = response;
                    self.restarted = true;
                    self.read = 0;
                    self.broken = None;
                }
                Ok(response) if is_retryable_status(response.status()) => {
                    broken.requested_pause = retry_after(response.headers());
                    if broken.requested_pause.is_some_and(|pause| pause > self.retry.max_retry_after) {
                        break;
                    }
                }
                // A part of another representation, or an answer to another request.
                Ok(_) if self.whole.is_some() => self.whole = None,
                Ok(_) => break,
                Err(failed) => broken.error = failed,
            }
        }
        self.broken.take().map_or(Ok(()), |broken| Err(self.give_up(broken.error)))
    }

    /// Returns an error after which no request is sent, and keeps a copy of it for further calls.
    fn give_up(&mut self, error: Error) -> Error {
        self.request = None;
        self.broken = Some(Broken { error: error.repeated(), requested_pause: None });
        error
    }
}

impl Whole {
    /// Returns the representation of a response, if it has a strong entity tag and a known length.
    ///
    /// The length of a body that was decoded is not known: its positions are not those of the
    /// server.
    fn of(response: &Response) -> Option<Self> {
        let tag = response.headers().get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""))?.clone();
        let length = response.content_length().filter(|_| response.status() == StatusCode::OK)?;
        let coding = response.headers().get(CONTENT_ENCODING).cloned();
        Some(Self { tag, coding, length })
    }

    /// Returns whether a response has the bytes of this representation from `from` on.
    fn has_rest(&self, response: &Response, from: u64) -> bool {
        response.status() == StatusCode::PARTIAL_CONTENT
            && response.headers().get(ETAG) == Some(&self.tag)
            && response.headers().get(CONTENT_ENCODING) == self.coding.as_ref()
            && content_range(response.headers()) == Some((from, self.length))
    }
}

/// Returns the first position of a part that goes to the end, and the length of the whole.
fn content_range(headers: &HeaderMap) -> Option<(u64, u64)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, length) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, length): (u64, u64, u64) =
        (first.trim().parse().ok()?, last.trim().parse().ok()?, length.trim().parse().ok()?);
    (last.checked_add(1) == Some(length)).then_some((first, length))
}
