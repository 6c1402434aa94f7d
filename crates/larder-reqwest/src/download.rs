//! Reads the body of one response to its end over several requests: a body that breaks off is
//! continued by a request for the rest, or fetched again.
//!
//! `retry` decides about the pauses, the caller where the bytes go.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CONTENT_RANGE, ETAG, IF_RANGE, RANGE},
};

use crate::{
    Error, RequestBuilder, Response, Retry,
    retry::{is_retryable_status, retry_after},
};

/// A response with a body that is read to its end, also if connections break off; created by
/// [`RequestBuilder::download`] or from a response.
///
/// If the body breaks off, the rest is requested with `Range` and `If-Range` (RFC 9110 §13.1.5),
/// provided that the response has a strong entity tag and a known length. Otherwise, or if the
/// representation has changed, the body begins again: see [`Part::Restart`]. What was put together
/// from several responses is not stored.
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
    /// The request of the first response, for the further ones.
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
}

/// A part of a body that [`Download::next_part`] returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The next bytes.
    Chunk(Bytes),
    /// The body begins again: discard all bytes so far.
    Restart,
}

/// The representation of which a rest may be requested.
#[derive(Debug, Clone)]
struct Whole {
    tag: HeaderValue,
    length: u64,
}

impl Download {
    /// Creates a download from a response that has just been received.
    ///
    /// `request` is sent again for the rest of the body; use the request that led to the response.
    /// Without one, a body that breaks off is an error. A request with another method than GET is
    /// sent only once.
    pub fn new(request: Option<RequestBuilder>, response: Response, retry: impl Into<Retry>) -> Self {
        let request = request.filter(RequestBuilder::is_get);
        let whole = Whole::of(&response);
        Self { request, response, retry: retry.into(), retries: 0, read: 0, whole, restarted: false }
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
    /// left, and every error that a retry cannot help.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point; no chunk is lost. A pause begins again.
    pub async fn next_part(&mut self) -> Result<Option<Part>, Error> {
        loop {
            if std::mem::take(&mut self.restarted) {
                return Ok(Some(Part::Restart));
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => {
                    self.read += chunk.len() as u64;
                    return Ok(Some(Part::Chunk(chunk)));
                }
                Ok(None) => return Ok(None),
                Err(error) if error.is_transient() => self.resume(error).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends further requests until one leads to the rest of the body, or to a new beginning.
    async fn resume(&mut self, mut error: Error) -> Result<(), Error> {
        let mut requested_pause = None;
        loop {
            if self.retries >= self.retry.max_retries {
                return Err(error);
            }
            let Some(request) = self.request.as_ref().and_then(RequestBuilder::try_clone) else {
                return Err(error);
            };
            let pause = self.retry.pause(self.retries + 1).max(requested_pause.take().unwrap_or_default());
            tokio::time::sleep(pause).await;
            self.retries += 1;
            let part = self.whole.as_ref().filter(|_| self.read > 0);
            let request = match part {
                Some(whole) => {
                    request.header(RANGE, format!("bytes={}-", self.read)).header(IF_RANGE, whole.tag.clone())
                }
                None => request,
            };
            match request.send().await {
                Ok(response) if part.is_some_and(|whole| whole.has_rest(&response, self.read)) => {
                    self.response.continue_with(response);
                    return Ok(());
                }
                Ok(response) if response.status() == StatusCode::OK => {
                    self.whole = Whole::of(&response);
                    self.response = response;
                    self.restarted = self.read > 0;
                    self.read = 0;
                    return Ok(());
                }
                Ok(response) if is_retryable_status(response.status()) => {
                    let wanted = retry_after(response.headers());
                    if wanted.is_some_and(|pause| pause > self.retry.max_retry_after) {
                        return Err(error);
                    }
                    requested_pause = wanted;
                }
                // A part of another representation, or an answer to another request.
                Ok(_) if self.whole.is_some() => self.whole = None,
                Ok(_) => return Err(error),
                Err(failed) if failed.is_transient() => error = failed,
                Err(failed) => return Err(failed),
            }
        }
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
        Some(Self { tag, length })
    }

    /// Returns whether a response has the bytes of this representation from `from` on.
    fn has_rest(&self, response: &Response, from: u64) -> bool {
        response.status() == StatusCode::PARTIAL_CONTENT
            && response.headers().get(ETAG) == Some(&self.tag)
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
