//! Read buffers that are used again: a fresh one of 64 KiB costs as much to clear as a third of what it then holds.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;

const SMALLEST: usize = 8 << 10;
/// 8 KiB, 16, … 512 KiB.
const CLASSES: usize = 7;
/// Buffers that wait, of each class: 8 MiB at most together.
const KEPT: [usize; CLASSES] = [128, 64, 32, 16, 8, 4, 4];

/// Buffers of one class.
type Shelf = Mutex<Vec<Box<[u8]>>>;

/// Buffers that wait to be used again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buffers(Arc<[Shelf; CLASSES]>);

impl Buffers {
    /// At least `length` bytes, with anything in them.
    pub(crate) fn take(&self, length: usize) -> Buffer {
        let class = length.div_ceil(SMALLEST).next_power_of_two().ilog2() as usize;
        if length < SMALLEST / 2 || class >= CLASSES {
            return Buffer { bytes: vec![0; length].into(), home: None };
        }
        let waiting = self.0[class].lock().pop();
        let bytes = waiting.unwrap_or_else(|| vec![0; SMALLEST << class].into());
        Buffer { bytes, home: Some((self.clone(), class)) }
    }
}

/// One of them; it goes back when nobody reads it any more.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    home: Option<(Buffers, usize)>,
}

impl Buffer {
    pub(crate) fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// These bytes of it, without a copy.
    pub(crate) fn freeze(mut self, range: Range<usize>) -> Bytes {
        if self.home.is_none() {
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
        if let Some((home, class)) = self.home.take() {
            let mut waiting = home.0[class].lock();
            if waiting.len() < KEPT[class] {
                waiting.push(std::mem::take(&mut self.bytes));
            }
        }
    }
}
