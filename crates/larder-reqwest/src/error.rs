//! The error type: its kind, the URL of the request and the innermost cause.

use std::{error::Error as StdError, fmt, io};

use http::StatusCode;
use larder_core::{BodyError, FetchError, OriginErrorKind};
use reqwest::Url;

/// The failure of a request.
///
/// Its text contains the URL without credentials, what failed, and the innermost cause; `source()`
/// returns the whole chain of causes. Match on its [`kind`](Self::kind) to handle failures.
///
/// ```no_run
/// use larder_reqwest::{CachedClient, ErrorKind};
///
/// # async fn example(client: CachedClient) {
/// match client.get("https://example.com/").only_if_cached().send().await {
///     Ok(response) => println!("{}", response.status()),
///     Err(error) if error.kind() == ErrorKind::NotCached => println!("not stored"),
///     Err(error) => eprintln!("{error}"),
/// }
/// # }
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    url: Option<Url>,
    source: Option<BodyError>,
}

/// The kind of an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request or the client could not be built, because of an invalid URL, header or setting.
    /// Also: the request's body failed, the store could not confirm a purge, or an origin of this
    /// process failed ([`map_origin`](crate::CachedClientBuilder::map_origin)).
    Request,
    /// No connection could be established: unknown host, connection refused, host unreachable, or a
    /// failed TLS handshake.
    Connect,
    /// A timeout passed before the response or the rest of its body arrived. The exception is
    /// [`Limits::body_timeout`](larder_core::Limits::body_timeout) of the cache: its kind is
    /// [`Body`](Self::Body).
    Timeout,
    /// The connection broke before a response arrived, or the server did not send valid HTTP.
    Protocol,
    /// There were more redirects than the [`RedirectPolicy`](crate::RedirectPolicy) allows, or one
    /// with an invalid target.
    Redirect,
    /// The request allowed only a stored response
    /// ([`CacheMode::OnlyIfCached`](larder_core::CacheMode::OnlyIfCached),
    /// [`CacheMode::Offline`](larder_core::CacheMode::Offline)), and no usable one is stored.
    NotCached,
    /// Nothing was sent: the host requested with `Retry-After` that nothing is sent to it for this
    /// time, and no usable response is stored. See
    /// [`Retry::max_retry_after`](crate::Retry::max_retry_after).
    HostBlocked(std::time::Duration),
    /// The body is longer than this limit in bytes; see
    /// [`max_body`](crate::CachedClientBuilder::max_body).
    BodyTooLarge(u64),
    /// The body ended early, or could not be decompressed. The part that was read is incomplete.
    Body,
    /// The body is not valid JSON, or does not match the type that it was deserialized to.
    Decode,
    /// The response has this error status, and `error_for_status` was called.
    Status(StatusCode),
}

impl Error {
    /// Creates an error without a source.
    pub(crate) fn new(kind: ErrorKind, url: Option<&Url>) -> Self {
        let url = url.cloned().map(|mut url| {
            // Errors are logged: credentials must not be part of their text.
            let _ = url.set_password(None);
            let _ = url.set_username("");
            url
        });
        Self(Box::new(Inner { kind, url, source: None }))
    }

    /// Sets the cause.
    pub(crate) fn with_source(mut self, source: impl Into<BodyError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Returns an error of the same kind and with the same text, to be reported again.
    pub(crate) fn repeated(&self) -> Self {
        let repeated = Self::new(self.kind(), self.url());
        match innermost(self) {
            Some(cause) => repeated.with_source(cause.to_string()),
            None => repeated,
        }
    }

    /// Creates an error from a failed fetch.
    pub(crate) fn fetching(error: FetchError, url: &Url) -> Self {
        let kind = match &error {
            FetchError::Origin(origin) => match origin.kind() {
                OriginErrorKind::Connect => ErrorKind::Connect,
                OriginErrorKind::Timeout(_) => ErrorKind::Timeout,
                OriginErrorKind::RequestBody | OriginErrorKind::Internal => ErrorKind::Request,
                _ => ErrorKind::Protocol,
            },
            _ => ErrorKind::Request,
        };
        let has_cause = causes(&error).any(|cause| cause.is::<io::Error>());
        if cfg!(not(feature = "tls")) && kind == ErrorKind::Connect && url.scheme() == "https" && !has_cause {
            // reqwest has refused the scheme: no other crate of the program has enabled TLS either.
            return Self::new(kind, Some(url)).with_source("https needs the feature `tls` of larder-reqwest");
        }
        Self::new(kind, Some(url)).with_source(error)
    }

    /// Creates an error from a body that failed while it was read.
    pub(crate) fn reading(error: BodyError, url: &Url) -> Self {
        let kind = if causes(&*error).any(is_timeout) { ErrorKind::Timeout } else { ErrorKind::Body };
        Self::new(kind, Some(url)).with_source(error)
    }

    /// Returns what failed.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the requested URL, without user name and password. `None` if it could not be parsed.
    pub fn url(&self) -> Option<&Url> {
        self.0.url.as_ref()
    }

    /// Returns the status code of an error from
    /// [`error_for_status`](crate::Response::error_for_status).
    pub fn status(&self) -> Option<StatusCode> {
        if let ErrorKind::Status(status) = self.0.kind { Some(status) } else { None }
    }

    /// Returns whether a retry may succeed: for the kinds [`Connect`](ErrorKind::Connect),
    /// [`Timeout`](ErrorKind::Timeout), [`Protocol`](ErrorKind::Protocol) and
    /// [`Body`](ErrorKind::Body).
    pub fn is_transient(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Protocol | ErrorKind::Body)
    }
}

impl From<reqwest::Error> for Error {
    fn from(mut error: reqwest::Error) -> Self {
        let url = error.url().cloned();
        if let Some(url) = error.url_mut() {
            let _ = url.set_password(None);
        }
        Self::new(ErrorKind::Request, url.as_ref()).with_source(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(url) = &self.0.url {
            write!(f, "{url}: ")?;
        }
        match self.0.kind {
            ErrorKind::Request => f.write_str("the request could not be made")?,
            ErrorKind::Connect => f.write_str("could not connect")?,
            ErrorKind::Timeout => f.write_str("timed out")?,
            ErrorKind::Protocol => {
                f.write_str("the connection broke, or the server did not send valid HTTP")?
            }
            ErrorKind::Redirect => f.write_str("could not follow a redirect")?,
            ErrorKind::NotCached => {
                f.write_str("not in the cache, and the request must not be sent to the origin")?
            }
            ErrorKind::HostBlocked(left) => write!(
                f,
                "not sent, since the host requested a pause (Retry-After) that lasts {} s more",
                left.as_secs_f64().ceil()
            )?,
            ErrorKind::BodyTooLarge(limit) => write!(
                f,
                "the body is longer than {limit} bytes (raise max_body, or read it chunk by chunk with chunk())"
            )?,
            ErrorKind::Body => f.write_str("the body is incomplete or broken")?,
            ErrorKind::Decode => f.write_str("could not decode the body")?,
            ErrorKind::Status(status) => write!(f, "the server responded with {status}")?,
        }
        match innermost(self) {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

/// Returns the innermost cause, which describes the failure; the causes above it describe the
/// context.
fn innermost(error: &Error) -> Option<&(dyn StdError + 'static)> {
    causes(error.source()?).last()
}

/// Returns whether an error reports that a time limit has passed.
fn is_timeout(error: &(dyn StdError + 'static)) -> bool {
    error.downcast_ref().is_some_and(reqwest::Error::is_timeout)
        || error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

/// Iterates over an error and its causes, outermost first.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (**error).source())
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        larder_core::debug_as_chain(self, f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
