//! Positioned reads that either may block on the disk or return at once.
//!
//! Reading a page from the page cache takes half a microsecond, handing the read to another thread
//! takes fifteen. So lookups first read on the calling thread, and move to a blocking thread only
//! if the kernel reports that the data is not in memory (`preadv2` with `RWF_NOWAIT`, Linux only).

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    sync::atomic::{AtomicBool, Ordering},
};

/// Whether a read may block on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadMode {
    /// Fails with [`io::ErrorKind::WouldBlock`] instead of blocking.
    NonBlocking,
    /// Blocks until the data has been read. Only for blocking threads.
    Blocking,
}

/// Reads until `buffer` is full or the file ends. Returns the number of bytes read.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], position: u64, mode: ReadMode) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        let at = position + read as u64;
        let result = match mode {
            ReadMode::NonBlocking => read_nonblocking(file, &mut buffer[read..], at),
            ReadMode::Blocking => file.read_at(&mut buffer[read..], at),
        };
        match result {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Set, until the process ends, once a non-blocking read has been rejected as unsupported.
static NOWAIT_UNSUPPORTED: AtomicBool = AtomicBool::new(false);

/// Reads once without blocking.
#[cfg(target_os = "linux")]
fn read_nonblocking(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    use rustix::io::{Errno, ReadWriteFlags, preadv2};
    if NOWAIT_UNSUPPORTED.load(Ordering::Relaxed) {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    match preadv2(file, &mut [io::IoSliceMut::new(buffer)], position, ReadWriteFlags::NOWAIT) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            NOWAIT_UNSUPPORTED.store(true, Ordering::Relaxed);
            Err(io::ErrorKind::WouldBlock.into())
        }
        read => read.map_err(Into::into),
    }
}

/// Returns [`io::ErrorKind::WouldBlock`]: only Linux has non-blocking reads of files.
#[cfg(not(target_os = "linux"))]
fn read_nonblocking(_: &File, _: &mut [u8], _: u64) -> io::Result<usize> {
    NOWAIT_UNSUPPORTED.store(true, Ordering::Relaxed);
    Err(io::ErrorKind::WouldBlock.into())
}
