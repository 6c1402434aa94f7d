//! The response of a blocking client.

use std::{
    fmt,
    io::{self, Read},
    ops::Deref,
    sync::Arc,
};

use bytes::{Buf as _, Bytes};

use super::client::ClientRuntime;
use crate::Error;

/// A response of a blocking client: status, headers and everything else of a
/// [`Response`](crate::Response), and a body that is read with blocking methods or as [`Read`].
///
/// ```no_run
/// # fn example(client: larder_reqwest::BlockingClient) -> Result<(), Box<dyn std::error::Error>> {
/// let mut response = client.get("https://example.com/large").send()?.error_for_status()?;
/// println!("{} {:?}", response.outcome(), response.age());
/// std::io::copy(&mut response, &mut std::fs::File::create("large")?)?;
/// # Ok(())
/// # }
/// ```
pub struct BlockingResponse {
    response: crate::Response,
    runtime: Arc<ClientRuntime>,
    /// The rest of a chunk, for [`Read`].
    chunk: Bytes,
}

impl fmt::Debug for BlockingResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.response.fmt(f)
    }
}

impl Deref for BlockingResponse {
    type Target = crate::Response;

    fn deref(&self) -> &crate::Response {
        &self.response
    }
}

impl BlockingResponse {
    pub(super) fn new(response: crate::Response, runtime: Arc<ClientRuntime>) -> Self {
        Self { response, runtime, chunk: Bytes::new() }
    }

    /// Returns this response, or an error if its status is an error.
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] of kind [`Status`](crate::ErrorKind::Status) if the status is 400 or
    /// above.
    pub fn error_for_status(self) -> Result<Self, Error> {
        self.response.error_for_status_ref()?;
        Ok(self)
    }

    /// Reads the whole body.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`Response::bytes`](crate::Response::bytes).
    ///
    /// # Panics
    ///
    /// Panics in async code.
    pub fn bytes(self) -> Result<Bytes, Error> {
        self.runtime.get().block_on(self.response.bytes())
    }

    /// Reads the whole body as text, in its charset (feature `charset`) or as UTF-8.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`Response::text`](crate::Response::text).
    ///
    /// # Panics
    ///
    /// Panics in async code.
    pub fn text(self) -> Result<String, Error> {
        self.runtime.get().block_on(self.response.text())
    }

    /// Reads the whole body as JSON.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`Response::json`](crate::Response::json).
    ///
    /// # Panics
    ///
    /// Panics in async code.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(self) -> Result<T, Error> {
        self.runtime.get().block_on(self.response.json())
    }
}

/// Reads the body. An error of the body is the source of the `io::Error`.
impl Read for BlockingResponse {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            let chunk = self.runtime.get().block_on(self.response.chunk()).map_err(io::Error::other)?;
            let Some(chunk) = chunk else { return Ok(0) };
            self.chunk = chunk;
        }
        let length = buf.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buf[..length]);
        Ok(length)
    }
}
