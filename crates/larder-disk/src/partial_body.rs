//! Gives access to the part of a body that has been written while its writer is still active.
//! Clients that are slower than the origin read from it; the file itself is written by `writer`.

use std::{fmt, fs::File, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use larder_core::{BodySource, ByteStream, StoreError};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    error::gone,
    fs::{blocking::read_bytes, buffers::Buffers},
};

/// Longest chunk that a follower reads at once.
const MAX_CHUNK: u64 = 256 << 10;

/// The bytes written so far: first those in the file, then those being flushed to it, then the
/// rest.
pub(crate) struct PartialBody {
    written: Mutex<Written>,
    progress: watch::Sender<Progress>,
    buffers: Buffers,
}

#[derive(Default)]
struct Written {
    /// The file, once there is one.
    file: Option<Arc<File>>,
    /// Number of bytes in the file.
    flushed: u64,
    /// The bytes after those, which are being written to the file.
    flushing: Bytes,
    /// The bytes after those, which are only in memory.
    tail: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// Bytes written so far.
    length: u64,
    ending: Option<Ending>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Committed,
    Abandoned,
}

/// Location of a follower's next chunk.
enum Next {
    InMemory(Bytes),
    InFile(Arc<File>, usize),
    CaughtUp,
}

impl PartialBody {
    /// Creates an empty body. `buffers` are the read buffers of its followers.
    pub(crate) fn new(buffers: Buffers) -> Arc<Self> {
        let progress = watch::Sender::new(Progress::default());
        Arc::new(Self { written: Mutex::default(), progress, buffers })
    }

    /// Appends a chunk. Returns the number of bytes that wait to be flushed.
    pub(crate) fn push(&self, chunk: &[u8]) -> usize {
        let mut written = self.written.lock();
        written.tail.extend_from_slice(chunk);
        let waiting = written.tail.len();
        drop(written);
        self.progress.send_modify(|progress| progress.length += chunk.len() as u64);
        waiting
    }

    /// Returns the bytes to append to the file. Followers read them from memory until
    /// [`flushed`](Self::flushed).
    pub(crate) fn begin_flush(&self) -> Bytes {
        let mut written = self.written.lock();
        written.flushing = std::mem::take(&mut written.tail).into();
        written.flushing.clone()
    }

    /// Records that the bytes of [`begin_flush`](Self::begin_flush) are now in `file`.
    pub(crate) fn flushed(&self, file: &Arc<File>) {
        let mut written = self.written.lock();
        written.flushed += std::mem::take(&mut written.flushing).len() as u64;
        written.file = Some(Arc::clone(file));
    }

    /// Returns the whole body, for bodies that are short enough to have no file. Followers can
    /// still read it.
    pub(crate) fn whole(&self) -> Bytes {
        let mut written = self.written.lock();
        if written.flushing.is_empty() {
            written.flushing = std::mem::take(&mut written.tail).into();
        }
        written.flushing.clone()
    }

    /// Ends the body successfully: followers end after its last byte.
    pub(crate) fn committed(&self) {
        self.progress.send_modify(|progress| progress.ending = Some(Ending::Committed));
    }

    /// Locates the chunk at `position`, which ends at `end` at the latest.
    fn next(&self, position: u64, end: u64) -> Next {
        let written = self.written.lock();
        let max = end.saturating_sub(position).min(MAX_CHUNK);
        let part_from = |bytes: &[u8], from: u64| -> Option<Range<usize>> {
            let from = usize::try_from(from).ok().filter(|from| *from < bytes.len())?;
            Some(from..bytes.len().min(from + usize::try_from(max).unwrap_or(usize::MAX)))
        };
        if position < written.flushed {
            let here = (written.flushed - position).min(max);
            return match &written.file {
                Some(file) => Next::InFile(Arc::clone(file), usize::try_from(here).unwrap_or(usize::MAX)),
                None => Next::CaughtUp,
            };
        }
        let behind = position - written.flushed;
        if let Some(range) = part_from(&written.flushing, behind) {
            return Next::InMemory(written.flushing.slice(range));
        }
        match part_from(&written.tail, behind - written.flushing.len() as u64) {
            Some(range) => Next::InMemory(Bytes::copy_from_slice(&written.tail[range])),
            None => Next::CaughtUp,
        }
    }
}

impl fmt::Debug for PartialBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartialBody").field("progress", &*self.progress.borrow()).finish_non_exhaustive()
    }
}

/// The writer's handle. If it is dropped before the commit, the followers fail.
#[derive(Debug)]
pub(crate) struct PartialBodyWriter(pub(crate) Arc<PartialBody>);

impl Drop for PartialBodyWriter {
    fn drop(&mut self) {
        self.0.progress.send_modify(|progress| {
            progress.ending.get_or_insert(Ending::Abandoned);
        });
    }
}

/// Reads a body while it is being written.
#[derive(Debug)]
pub(crate) struct Follow(pub(crate) Arc<PartialBody>);

#[async_trait]
impl BodySource for Follow {
    fn content_length(&self) -> Option<u64> {
        let progress = *self.0.progress.borrow();
        (progress.ending == Some(Ending::Committed)).then_some(progress.length)
    }

    async fn stream(&self, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        let Range { start, end } = range.unwrap_or(0..u64::MAX);
        let body = Arc::clone(&self.0);
        let progress = body.progress.subscribe();
        let stream = futures_util::stream::try_unfold((body, progress, start), move |state| async move {
            let (body, mut progress, position) = state;
            if position >= end {
                return Ok(None);
            }
            loop {
                // Progress first: the bytes that it reports have been written before.
                let now = *progress.borrow_and_update();
                let chunk = match body.next(position, end) {
                    Next::InMemory(bytes) => bytes,
                    Next::InFile(file, length) => {
                        let bytes = read_bytes(&body.buffers, &file, position, length).await?;
                        if bytes.len() < length {
                            return Err(gone("the file of the partial body has been truncated"));
                        }
                        bytes
                    }
                    Next::CaughtUp => match now.ending {
                        Some(Ending::Committed) => return Ok(None),
                        Some(Ending::Abandoned) => {
                            return Err(gone("the writer of the body was dropped before its commit"));
                        }
                        None => {
                            let _ = progress.changed().await;
                            continue;
                        }
                    },
                };
                let after = position + chunk.len() as u64;
                return Ok(Some((chunk, (body, progress, after))));
            }
        });
        Ok(Box::pin(stream))
    }
}
