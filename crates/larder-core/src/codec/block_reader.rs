//! Reads a stored body in whole blocks, and verifies each block before any of its bytes is
//! returned. Where the bytes are, and what is done about damage, is left to the store.

use std::{
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use pin_project_lite::pin_project;

use super::{BLOCK, NotAnEntry, Trailer};
use crate::{ByteStream, StoreError};

/// Blocks of 64 KiB that one read returns, at most, unless the store chooses another number.
const BLOCKS_PER_READ: u64 = 4;

/// Reads a range of a stored body that has a [`Trailer`], for use by stores.
///
/// It requests whole blocks ([`next_read`](Self::next_read)), verifies them, and returns the part
/// that lies in the range ([`accept`](Self::accept)). [`into_stream`](Self::into_stream) does both
/// until the end of the range. Bytes that are missing or damaged end the stream with an error; it
/// never ends early as if it were complete.
///
/// ```
/// use bytes::Bytes;
/// use larder_core::{
///     EntryId,
///     codec::{BlockReader, BodyChecksum},
/// };
///
/// let body = Bytes::from(vec![7; 300_000]);
/// let mut checksum = BodyChecksum::new();
/// checksum.update(&body);
/// let trailer = checksum.finish(EntryId(0x5EED));
///
/// let mut reader = BlockReader::new(trailer, Some(100_000..100_010));
/// let read = reader.next_read().unwrap();
/// assert_eq!(read, 65_536..131_072);
/// let stored = body.slice(65_536..131_072); // from a file, say
/// assert_eq!(reader.accept(&stored)?, body.slice(100_000..100_010));
/// assert_eq!(reader.next_read(), None);
/// # Ok::<(), larder_core::codec::NotAnEntry>(())
/// ```
#[derive(Debug, Clone)]
pub struct BlockReader {
    trailer: Trailer,
    /// Position of the next byte to return, within the body.
    next: u64,
    /// End of the range, within the body.
    end: u64,
    /// Most bytes of one read.
    read: u64,
    /// Whether no read crosses a multiple of `read`.
    aligned: bool,
}

impl BlockReader {
    /// Creates a reader of `range`, or of the whole body for `None`. What lies behind the end of
    /// the body is not part of the range. A read has at most 256 KiB.
    pub fn new(trailer: Trailer, range: Option<Range<u64>>) -> Self {
        let Range { start, end } = range.unwrap_or(0..u64::MAX);
        let end = end.min(trailer.length());
        Self { trailer, next: start, end, read: BLOCKS_PER_READ * BLOCK as u64, aligned: false }
    }

    /// Sets how many blocks of 64 KiB one read has at most. Zero counts as one.
    #[must_use]
    pub fn with_blocks_per_read(mut self, blocks: u32) -> Self {
        self.read = u64::from(blocks.max(1)) * BLOCK as u64;
        self
    }

    /// Lets no read cross a multiple of the number of bytes that one read has at most, for a body
    /// that is stored in pieces of that many bytes.
    #[must_use]
    pub fn with_aligned_reads(mut self) -> Self {
        self.aligned = true;
        self
    }

    /// Returns the bytes of the body to read next, or `None` at the end of the range. They are
    /// whole blocks, of which the last one ends with the body.
    pub fn next_read(&self) -> Option<Range<u64>> {
        if self.next >= self.end {
            return None;
        }
        let unit = if self.aligned { self.read } else { BLOCK as u64 };
        let max_end = self.next / unit * unit + self.read;
        Some(self.trailer.covering(self.next..self.end.min(max_end)))
    }

    /// Verifies the bytes of [`next_read`](Self::next_read), and returns those that lie in the
    /// range, without a copy.
    ///
    /// # Errors
    ///
    /// Returns [`Truncated`](NotAnEntry::Truncated) if there are fewer bytes than that, and
    /// [`Corrupt`](NotAnEntry::Corrupt) if they are not what was written. The reader does not
    /// advance then.
    pub fn accept(&mut self, bytes: &Bytes) -> Result<Bytes, NotAnEntry> {
        let Some(blocks) = self.next_read() else {
            return Err(NotAnEntry::Corrupt("bytes behind the end of the range"));
        };
        let needed = usize::try_from(blocks.end - blocks.start).unwrap_or(usize::MAX);
        if bytes.len() < needed {
            return Err(NotAnEntry::Truncated { needed });
        }
        self.trailer.verify(blocks.start, bytes)?;
        let within = |position: u64| usize::try_from(position - blocks.start).unwrap_or(usize::MAX);
        let end = self.end.min(blocks.end);
        let chunk = bytes.slice(within(self.next)..within(end));
        self.next = end;
        Ok(chunk)
    }

    /// Returns a stream of the range.
    ///
    /// `read` returns the bytes of a range of the body, or fewer if there are no more. If they are
    /// not what was written, `damaged` reacts, such as by removing the entry, and returns the error
    /// with which the stream ends.
    pub fn into_stream<R, D>(
        self,
        read: impl FnMut(Range<u64>) -> R + Send + 'static,
        damaged: impl FnOnce(NotAnEntry) -> D + Send + 'static,
    ) -> ByteStream
    where
        R: Future<Output = Result<Bytes, StoreError>> + Send + 'static,
        D: Future<Output = StoreError> + Send + 'static,
    {
        Box::pin(Blocks { reader: self, read, damaged: Some(damaged), reading: None, failing: None })
    }
}

pin_project! {
    /// The stream of a [`BlockReader`].
    struct Blocks<F, R, G, D> {
        reader: BlockReader,
        read: F,
        // Taken when it is called; the stream has ended then.
        damaged: Option<G>,
        #[pin]
        reading: Option<R>,
        #[pin]
        failing: Option<D>,
    }
}

impl<F, R, G, D> Stream for Blocks<F, R, G, D>
where
    F: FnMut(Range<u64>) -> R,
    R: Future<Output = Result<Bytes, StoreError>>,
    G: FnOnce(NotAnEntry) -> D,
    D: Future<Output = StoreError>,
{
    type Item = Result<Bytes, StoreError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        if let Some(failing) = this.failing.as_mut().as_pin_mut() {
            let error = ready!(failing.poll(cx));
            this.failing.set(None);
            return Poll::Ready(Some(Err(error)));
        }
        if this.damaged.is_none() {
            return Poll::Ready(None);
        }
        if this.reading.is_none() {
            let Some(range) = this.reader.next_read() else { return Poll::Ready(None) };
            this.reading.set(Some((this.read)(range)));
        }
        let Some(reading) = this.reading.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let read = ready!(reading.poll(cx));
        this.reading.set(None);
        let why = match read.map(|bytes| this.reader.accept(&bytes)) {
            Ok(Ok(chunk)) => return Poll::Ready(Some(Ok(chunk))),
            Ok(Err(why)) => why,
            Err(error) => {
                *this.damaged = None;
                return Poll::Ready(Some(Err(error)));
            }
        };
        let Some(damaged) = this.damaged.take() else { return Poll::Ready(None) };
        this.failing.set(Some(damaged(why)));
        let Some(failing) = this.failing.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let error = ready!(failing.poll(cx));
        this.failing.set(None);
        Poll::Ready(Some(Err(error)))
    }
}
