//! A body that is being written, as those see it who are slower than the origin.

use std::{fmt, fs::File, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use larder_core::{BodySource, ByteStream, StoreError};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{buffers::Buffers, error::gone, store::read_bytes};

/// The longest chunk that a follower gets at once.
const PIECE: u64 = 256 << 10;

/// What has been written so far: in the file, on its way to it, and behind that.
pub(crate) struct PartialBody {
    written: Mutex<Written>,
    progress: watch::Sender<Progress>,
    buffers: Buffers,
}

#[derive(Default)]
struct Written {
    file: Option<Arc<File>>,
    /// Bytes in the file.
    flushed: u64,
    /// Bytes behind those, on their way to the file.
    flushing: Bytes,
    /// Bytes behind those.
    tail: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    length: u64,
    ending: Option<Ending>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Committed,
    Abandoned,
}

/// Where a follower finds its next chunk.
enum Next {
    Here(Bytes),
    InFile(Arc<File>, usize),
    Nothing,
}

impl PartialBody {
    pub(crate) fn new(buffers: Buffers) -> Arc<Self> {
        let progress = watch::Sender::new(Progress::default());
        Arc::new(Self { written: Mutex::default(), progress, buffers })
    }

    /// Takes a chunk, and says how many bytes wait to be flushed.
    pub(crate) fn push(&self, chunk: &[u8]) -> usize {
        let mut written = self.written.lock();
        written.tail.extend_from_slice(chunk);
        let waiting = written.tail.len();
        drop(written);
        self.progress.send_modify(|progress| progress.length += chunk.len() as u64);
        waiting
    }

    /// What waits, to be written behind what is in the file. Followers find it here meanwhile.
    pub(crate) fn begin_flush(&self) -> Bytes {
        let mut written = self.written.lock();
        written.flushing = std::mem::take(&mut written.tail).into();
        written.flushing.clone()
    }

    pub(crate) fn flushed(&self, file: &Arc<File>) {
        let mut written = self.written.lock();
        written.flushed += std::mem::take(&mut written.flushing).len() as u64;
        written.file = Some(Arc::clone(file));
    }

    /// All of a body that never came to a file. It stays for the followers.
    pub(crate) fn whole(&self) -> Bytes {
        let mut written = self.written.lock();
        if written.flushing.is_empty() {
            written.flushing = std::mem::take(&mut written.tail).into();
        }
        written.flushing.clone()
    }

    pub(crate) fn committed(&self) {
        self.progress.send_modify(|progress| progress.ending = Some(Ending::Committed));
    }

    fn next(&self, position: u64, end: u64) -> Next {
        let written = self.written.lock();
        let most = end.saturating_sub(position).min(PIECE);
        let cut = |bytes: &[u8], from: u64| -> Option<Range<usize>> {
            let from = usize::try_from(from).ok().filter(|from| *from < bytes.len())?;
            Some(from..bytes.len().min(from + usize::try_from(most).unwrap_or(usize::MAX)))
        };
        if position < written.flushed {
            let here = (written.flushed - position).min(most);
            return match &written.file {
                Some(file) => Next::InFile(Arc::clone(file), usize::try_from(here).unwrap_or(usize::MAX)),
                None => Next::Nothing,
            };
        }
        let behind = position - written.flushed;
        if let Some(range) = cut(&written.flushing, behind) {
            return Next::Here(written.flushing.slice(range));
        }
        match cut(&written.tail, behind - written.flushing.len() as u64) {
            Some(range) => Next::Here(Bytes::copy_from_slice(&written.tail[range])),
            None => Next::Nothing,
        }
    }
}

impl fmt::Debug for PartialBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Growing").field("progress", &*self.progress.borrow()).finish_non_exhaustive()
    }
}

/// Dropped before it is committed, the followers fail.
#[derive(Debug)]
pub(crate) struct PartialBodyWriter(pub(crate) Arc<PartialBody>);

impl Drop for PartialBodyWriter {
    fn drop(&mut self) {
        self.0.progress.send_modify(|progress| {
            progress.ending.get_or_insert(Ending::Abandoned);
        });
    }
}

/// Reads behind the writer.
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
        let growing = Arc::clone(&self.0);
        let progress = growing.progress.subscribe();
        let stream = futures_util::stream::try_unfold((growing, progress, start), move |state| async move {
            let (growing, mut progress, position) = state;
            if position >= end {
                return Ok(None);
            }
            loop {
                // First how far it is: what has been said to be there is there.
                let now = *progress.borrow_and_update();
                let chunk = match growing.next(position, end) {
                    Next::Here(bytes) => bytes,
                    Next::InFile(file, length) => {
                        let bytes = read_bytes(&growing.buffers, &file, position, length).await?;
                        if bytes.len() < length {
                            return Err(gone("the file that was written is cut"));
                        }
                        bytes
                    }
                    Next::Nothing => match now.ending {
                        Some(Ending::Committed) => return Ok(None),
                        Some(Ending::Abandoned) => return Err(gone("its writer was given up")),
                        None => {
                            let _ = progress.changed().await;
                            continue;
                        }
                    },
                };
                let after = position + chunk.len() as u64;
                return Ok(Some((chunk, (growing, progress, after))));
            }
        });
        Ok(Box::pin(stream))
    }
}
