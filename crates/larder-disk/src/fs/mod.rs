//! Access to the file system: the directory, its open files, reads that may block, and their
//! buffers. What the files contain is left to `format` and `state`.

pub(crate) mod blocking;
pub(crate) mod buffers;
pub(crate) mod directory;
pub(crate) mod open_files;
pub(crate) mod pread;
pub(crate) mod shared_sync;
pub(crate) mod write_queue;
