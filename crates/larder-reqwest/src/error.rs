//! What can go wrong with a request, always with its URL and the innermost cause.

use std::{error::Error as StdError, fmt};

use http::StatusCode;
use larder_core::{BodyError, FetchError, OriginErrorKind};
use reqwest::Url;

/// A request that was not answered. Says which URL, what failed and why.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    url: Option<Url>,
    source: Option<BodyError>,
}

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request could not be made: an invalid URL, a header that is none, a client that can't be built.
    Request,
    /// No connection: unknown host, refused, unreachable, or the TLS handshake failed.
    Connect,
    /// No head of a response, or no more of its body, within the time limit.
    Timeout,
    /// The connection broke before a response came, or what came was not HTTP.
    Protocol,
    /// Too many redirects, or one that leads nowhere.
    Redirect,
    /// Only a stored response would have done ([`CacheMode::OnlyIfCached`](larder_core::CacheMode::OnlyIfCached),
    /// [`CacheMode::Offline`](larder_core::CacheMode::Offline)), and there is none that may be used.
    NotCached,
    /// The body is longer than the limit, in bytes (`max_body`).
    TooLong(u64),
    /// The body broke off, or its compression is broken. What was read of it is not the response.
    Body,
    /// The body is not what it was read as: JSON.
    Decode,
    /// The response's status is an error, and `error_for_status` was asked for.
    Status(StatusCode),
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, url: Option<&Url>) -> Self {
        let url = url.cloned().map(|mut url| {
            // What it says goes to logs.
            let _ = url.set_password(None);
            let _ = url.set_username("");
            url
        });
        Self(Box::new(Inner { kind, url, source: None }))
    }

    pub(crate) fn with_source(mut self, source: impl Into<BodyError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub(crate) fn fetching(error: FetchError, url: &Url) -> Self {
        let kind = match &error {
            FetchError::Origin(origin) => match origin.kind() {
                OriginErrorKind::Connect => ErrorKind::Connect,
                OriginErrorKind::Timeout(_) => ErrorKind::Timeout,
                OriginErrorKind::RequestBody => ErrorKind::Request,
                _ => ErrorKind::Protocol,
            },
            _ => ErrorKind::Request,
        };
        Self::new(kind, Some(url)).with_source(error)
    }

    pub(crate) fn reading(error: BodyError, url: &Url) -> Self {
        let timeout =
            causes(&*error).any(|cause| cause.downcast_ref().is_some_and(reqwest::Error::is_timeout));
        Self::new(if timeout { ErrorKind::Timeout } else { ErrorKind::Body }, Some(url)).with_source(error)
    }

    /// What failed.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was asked for, without user name and password; `None` if that was no URL.
    pub fn url(&self) -> Option<&Url> {
        self.0.url.as_ref()
    }

    /// The status code that [`error_for_status`](crate::Response::error_for_status) found.
    pub fn status(&self) -> Option<StatusCode> {
        if let ErrorKind::Status(status) = self.0.kind { Some(status) } else { None }
    }

    /// Whether trying again may help: no connection, no answer in time, a connection that broke.
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
            ErrorKind::Request => f.write_str("the request can't be made")?,
            ErrorKind::Connect => f.write_str("could not connect")?,
            ErrorKind::Timeout => f.write_str("no answer in time")?,
            ErrorKind::Protocol => f.write_str("the connection broke, or what came was not HTTP")?,
            ErrorKind::Redirect => f.write_str("the redirects lead nowhere")?,
            ErrorKind::NotCached => f.write_str("not in the cache, and the origin was not to be asked")?,
            ErrorKind::TooLong(limit) => write!(
                f,
                "the body is longer than {limit} bytes (raise max_body, or read it chunk by chunk with chunk())"
            )?,
            ErrorKind::Body => f.write_str("the body broke off")?,
            ErrorKind::Decode => f.write_str("the body is not what it was read as")?,
            ErrorKind::Status(status) => write!(f, "the server answered {status}")?,
        }
        match innermost(self) {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

/// The cause that says what happened; those above it say where.
fn innermost(error: &Error) -> Option<&(dyn StdError + 'static)> {
    causes(error.source()?).last()
}

/// An error and what caused it.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (**error).source())
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
