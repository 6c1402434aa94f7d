//! Reads the content of a query, to make it part of the key.

use std::{
    collections::VecDeque,
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::{Frame, SizeHint};

use super::ContentInKey;
use crate::{Body, BodyError, error_chain::debug_as_chain, timeout::within};

/// The content of a request, of which the beginning was read.
#[derive(Debug)]
pub enum RequestContent {
    /// The whole content.
    Whole(Bytes),
    /// A content that is longer than the limit, as a stream. What was read comes first in it, so
    /// that nothing is lost.
    Longer(Body),
}

impl RequestContent {
    /// Reads the content of a request, up to the limits.
    ///
    /// A body that announces more than the limit is not read.
    ///
    /// ```
    /// use larder_core::{Body, adapter::{ContentInKey, RequestContent}};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let limits = ContentInKey::default().with_max_length(5);
    /// let content = RequestContent::read(Body::from("hello"), &limits).await;
    /// assert!(matches!(content, Ok(RequestContent::Whole(content)) if content == "hello"));
    /// let content = RequestContent::read(Body::from("hello!"), &limits).await;
    /// assert!(matches!(content, Ok(RequestContent::Longer(_))));
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// Returns a [`ContentError`] if the body fails or does not arrive in time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the body.
    pub async fn read(mut body: Body, limits: &ContentInKey) -> Result<Self, ContentError> {
        use http_body::Body as _;
        if body.size_hint().lower() > limits.max_length as u64 {
            return Ok(Self::Longer(Body::stream(Continued { read: VecDeque::new(), rest: body })));
        }
        let mut read = VecDeque::new();
        let mut length = 0;
        let reading = async {
            while let Some(chunk) = body.chunk().await {
                let chunk = chunk.map_err(ContentError::Failed)?;
                length += chunk.len();
                read.push_back(chunk);
                if length > limits.max_length {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let is_whole = within(limits.timeout, reading).await.ok_or(ContentError::Timeout)??;
        if !is_whole {
            return Ok(Self::Longer(Body::stream(Continued { read, rest: body })));
        }
        if read.len() <= 1 {
            return Ok(Self::Whole(read.pop_front().unwrap_or_default()));
        }
        let mut whole = BytesMut::with_capacity(length);
        read.iter().for_each(|chunk| whole.extend_from_slice(chunk));
        Ok(Self::Whole(whole.freeze()))
    }
}

/// A body of which the first chunks were read already.
struct Continued {
    read: VecDeque<Bytes>,
    rest: Body,
}

impl http_body::Body for Continued {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.read.pop_front() {
            Some(chunk) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let read: u64 = self.read.iter().map(|chunk| chunk.len() as u64).sum();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(read)) {
            hint.set_upper(upper);
        }
        hint
    }
}

/// The reason why the content of a request could not be read.
pub enum ContentError {
    /// The body failed before its end.
    Failed(BodyError),
    /// The content did not arrive within [`ContentInKey::timeout`].
    Timeout,
}

impl ContentError {
    /// Returns the status code of the response to such a request: 400 or 408.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Failed(_) => StatusCode::BAD_REQUEST,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
        }
    }
}

impl fmt::Debug for ContentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_as_chain(self, f)
    }
}

impl fmt::Display for ContentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed(_) => "the content of the request is incomplete",
            Self::Timeout => "the content of the request did not arrive in time",
        })
    }
}

impl Error for ContentError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => Some(&**error),
            Self::Timeout => None,
        }
    }
}
