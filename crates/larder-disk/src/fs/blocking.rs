//! Moves work that blocks to the blocking threads of the runtime. Which operations block is decided
//! in `store`, `writer`, `body` and `partial_body`.

use std::{fs::File, io, sync::Arc};

use bytes::Bytes;
use larder_core::StoreError;

use crate::{
    error::{closing, failed},
    fs::{
        buffers::Buffers,
        pread::{ReadMode, read_at},
    },
};

/// Runs an operation on a blocking thread of the runtime.
pub(crate) async fn blocking<T: Send + 'static>(
    operation: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(operation).await.unwrap_or_else(|_| Err(closing()))
}

/// Reads bytes of a file: on this task if they are in memory, else on a blocking thread. Returns
/// fewer than `length` bytes if the file ends.
pub(crate) async fn read_bytes(
    buffers: &Buffers,
    file: &Arc<File>,
    position: u64,
    length: usize,
) -> Result<Bytes, StoreError> {
    let mut buffer = buffers.take(length);
    let (buffer, read) = match read_at(file, &mut buffer.as_mut()[..length], position, ReadMode::NonBlocking)
    {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let file = Arc::clone(file);
            blocking(move || {
                let read = read_at(&file, &mut buffer.as_mut()[..length], position, ReadMode::Blocking);
                Ok((buffer, read))
            })
            .await?
        }
        read => (buffer, read),
    };
    let read = read.map_err(failed("could not read a stored body"))?;
    Ok(buffer.freeze(0..read))
}
