//! Positioned reads, with and without waiting for the disk.
//!
//! Reading a page that is in memory takes half a microsecond, going to another thread to read it fifteen. So what is
//! looked up is read where it is asked for, unless the kernel says that it would have to wait.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    sync::atomic::{AtomicBool, Ordering},
};

/// Whether a read may wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadMode {
    /// It may not: [`io::ErrorKind::WouldBlock`] instead.
    NonBlocking,
    /// It may: only on a thread for it.
    Blocking,
}

/// Reads as much as there is, up to all of `buffer`, and says how much.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], position: u64, mode: ReadMode) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        let at = position + read as u64;
        let now = match mode {
            ReadMode::NonBlocking => read_now(file, &mut buffer[read..], at),
            ReadMode::Blocking => file.read_at(&mut buffer[read..], at),
        };
        match now {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Set for good when a file system can't tell whether it would wait.
static NOWAIT_UNSUPPORTED: AtomicBool = AtomicBool::new(false);

#[cfg(target_os = "linux")]
fn read_now(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
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

#[cfg(not(target_os = "linux"))]
fn read_now(_: &File, _: &mut [u8], _: u64) -> io::Result<usize> {
    NOWAIT_UNSUPPORTED.store(true, Ordering::Relaxed);
    Err(io::ErrorKind::WouldBlock.into())
}
