//! Where `larder get` writes the body of a response: to a file, to standard output, or nowhere.
//!
//! `names` chooses the names of files, `writer` writes them.

mod names;
mod writer;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use larder::{
    client::{Download, Part, Response},
    core::policy::parse_http_date,
};

use crate::console::{flush, print_bytes};

pub(crate) use names::FileNames;
pub(crate) use writer::{FileWriter, Written};

/// Where the body of one response goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    File(PathBuf),
    Stdout,
    Discard,
}

/// How responses are written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OutputOptions {
    /// Whether the status line and the headers precede the body.
    pub(crate) headers: bool,
    /// Whether files get the time of the response's `Last-Modified`.
    pub(crate) remote_time: bool,
}

/// A body that was copied to its destination.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copied {
    /// Length of the body in bytes.
    pub(crate) length: u64,
    /// How the file was completed. `None` if there is none.
    pub(crate) file: Option<Written>,
}

/// Creates the directory of `--output`, if it does not exist.
pub(crate) fn create_directory(path: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(path)
        .with_context(|| format!("--output: can't create the directory {}", path.display()))
}

/// Something that takes the bytes of a body.
enum Sink {
    File(FileWriter),
    Stdout,
    Discard,
}

/// Copies the body of a response to its destination, chunk by chunk.
///
/// Calls `progress` after each chunk with the number of bytes so far. A response with an error
/// status does not replace a file.
pub(crate) async fn copy(
    download: &mut Download,
    destination: &Destination,
    options: OutputOptions,
    mut progress: impl FnMut(u64),
) -> anyhow::Result<Copied> {
    let mut sink = Sink::open(destination, download.response())?;
    let mut length = 0;
    let mut has_output = options.headers;
    if options.headers {
        sink.write(&head(download.response()))?;
    }
    while let Some(part) = download.next_part().await? {
        match part {
            Part::Chunk(chunk) => {
                sink.write(&chunk)?;
                has_output = true;
                length += chunk.len() as u64;
            }
            Part::Restart if !has_output => {}
            Part::Restart => {
                sink.restart()?;
                length = 0;
                if options.headers {
                    sink.write(&head(download.response()))?;
                }
            }
        }
        progress(length);
    }
    let file = sink.finish(download.response(), options)?;
    Ok(Copied { length, file })
}

impl Sink {
    /// Opens the destination of a response.
    fn open(destination: &Destination, response: &Response) -> anyhow::Result<Self> {
        let is_error = response.status().is_client_error() || response.status().is_server_error();
        Ok(match destination {
            Destination::File(path) if is_error && FileWriter::exists(path) => Self::Discard,
            Destination::File(path) => Self::File(FileWriter::create(path)?),
            Destination::Stdout => Self::Stdout,
            Destination::Discard => Self::Discard,
        })
    }

    /// Writes bytes.
    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stdout => Ok(print_bytes(bytes)?),
            Self::Discard => Ok(()),
        }
    }

    /// Discards what was written.
    fn restart(&mut self) -> anyhow::Result<()> {
        match self {
            Self::File(file) => file.restart(),
            Self::Stdout => bail!(
                "the connection broke after a part was printed, and the server can't send the rest alone; use -o FILE"
            ),
            Self::Discard => Ok(()),
        }
    }

    /// Completes the output.
    fn finish(self, response: &Response, options: OutputOptions) -> anyhow::Result<Option<Written>> {
        match self {
            Self::File(file) => {
                let modified = options.remote_time.then(|| last_modified(response)).flatten();
                Ok(Some(file.finish(modified)?))
            }
            Self::Stdout => {
                flush()?;
                Ok(None)
            }
            Self::Discard => Ok(None),
        }
    }
}

/// Returns the status line and the headers of a response, as of HTTP/1.1.
fn head(response: &Response) -> Vec<u8> {
    let status = response.status();
    let mut head =
        format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or_default())
            .into_bytes();
    for (name, value) in response.headers() {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Returns the time of a response's `Last-Modified`.
fn last_modified(response: &Response) -> Option<std::time::SystemTime> {
    use larder::core::{Clock as _, SystemClock};
    let value = response.headers().get(http::header::LAST_MODIFIED)?;
    let time = parse_http_date(value.as_bytes(), SystemClock.now())?;
    Some(std::time::UNIX_EPOCH + std::time::Duration::from_millis(time.as_millis()))
}
