//! Reads the header of the PROXY protocol from a connection, before anything else.

use std::{error::Error, fmt, io, time::Duration};

use bytes::{Buf as _, BytesMut};
use tokio::{io::AsyncReadExt as _, time::timeout};

use super::proxy_header::{InvalidProxyHeader, ProxyHeader};
use crate::server::stream::RawStream;

/// Room for the first read, in bytes: enough for most headers and the request behind it.
const FIRST_READ: usize = 1024;

/// Longest time for the header. A proxy sends it as soon as it has connected.
const LIMIT: Duration = Duration::from_secs(5);

/// The reason why a connection without a header is closed.
#[derive(Debug)]
pub(crate) enum PreambleError {
    Invalid(InvalidProxyHeader),
    Io(io::Error),
    TimedOut,
}

impl fmt::Display for PreambleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
            Self::TimedOut => write!(f, "it has sent no header of the PROXY protocol within {LIMIT:?}"),
        }
    }
}

impl Error for PreambleError {}

/// Reads the header. The bytes behind it can still be read.
///
/// # Errors
///
/// Returns a [`PreambleError`] if the connection does not begin with a complete and valid header,
/// or if the proxy takes longer than 5 s.
pub(crate) async fn read_header(stream: &mut RawStream) -> Result<ProxyHeader, PreambleError> {
    let reading = async {
        let mut bytes = BytesMut::with_capacity(FIRST_READ);
        loop {
            let length = stream.read_buf(&mut bytes).await.map_err(PreambleError::Io)?;
            if length == 0 {
                return Err(PreambleError::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            // Beyond 4 KiB, this is a header or an error.
            if let Some(header) = ProxyHeader::parse(&bytes).map_err(PreambleError::Invalid)? {
                bytes.advance(header.length());
                stream.unread(bytes.freeze());
                return Ok(header);
            }
        }
    };
    timeout(LIMIT, reading).await.unwrap_or(Err(PreambleError::TimedOut))
}
