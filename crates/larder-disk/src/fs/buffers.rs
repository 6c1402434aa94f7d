//! Pools read buffers. Zeroing a new buffer of 64 KiB costs about a third of reading 64 KiB into
//! it, so buffers are reused.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;

/// Bytes of a buffer of the smallest size class.
const SMALLEST_CLASS: usize = 8 << 10;
/// Number of size classes: 8 KiB, 16 KiB, … 512 KiB.
const CLASSES: usize = 7;
/// Free buffers that each class retains, at most: 8 MiB in total.
const MAX_FREE: [usize; CLASSES] = [128, 64, 32, 16, 8, 4, 4];

/// Free buffers of one size class.
type FreeList = Mutex<Vec<Box<[u8]>>>;

/// The pool of free buffers. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buffers(Arc<[FreeList; CLASSES]>);

impl Buffers {
    /// Takes a buffer of at least `length` bytes, with arbitrary content. Lengths under 4 KiB or
    /// over 512 KiB get a new buffer that does not return to the pool.
    pub(crate) fn take(&self, length: usize) -> Buffer {
        let class = length.div_ceil(SMALLEST_CLASS).next_power_of_two().ilog2() as usize;
        if length < SMALLEST_CLASS / 2 || class >= CLASSES {
            return Buffer { bytes: vec![0; length].into(), pool: None };
        }
        let free = self.0[class].lock().pop();
        let bytes = free.unwrap_or_else(|| vec![0; SMALLEST_CLASS << class].into());
        Buffer { bytes, pool: Some((self.clone(), class)) }
    }
}

/// A buffer that returns to its pool when it, and every [`Bytes`] made from it, has been dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    /// Its pool and size class. `None` for a buffer that does not return.
    pool: Option<(Buffers, usize)>,
}

impl Buffer {
    /// Returns the whole buffer for writing.
    pub(crate) fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Turns the bytes of `range` into [`Bytes`] without a copy.
    pub(crate) fn freeze(mut self, range: Range<usize>) -> Bytes {
        if self.pool.is_none() {
            return Bytes::from(std::mem::take(&mut self.bytes)).slice(range);
        }
        Bytes::from_owner(self).slice(range)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some((pool, class)) = self.pool.take() {
            let mut free = pool.0[class].lock();
            if free.len() < MAX_FREE[class] {
                free.push(std::mem::take(&mut self.bytes));
            }
        }
    }
}
