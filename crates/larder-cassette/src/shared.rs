//! What clones of a cassette, and the recorders of its responses, share.

use std::{path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    CassetteError, CassetteErrorKind, CassetteOptions, Mode, RecordedExchange,
    files::{self, FileName},
    matching::Compared,
    state::{Recording, State},
};

/// Most bytes of bodies in the memory of a cassette without a directory.
const MAX_IN_MEMORY: u64 = 256 << 20;

/// What clones of a cassette share.
pub(crate) struct Shared {
    /// `None`: in memory.
    pub(crate) directory: Option<PathBuf>,
    pub(crate) mode: Mode,
    pub(crate) options: CassetteOptions,
    /// Recordings of the directory when it was opened to record all again.
    pub(crate) replaced: Vec<FileName>,
    pub(crate) state: Mutex<State>,
    /// Notified when an exchange has been recorded or could not be.
    pub(crate) settled: Notify,
}

impl Shared {
    /// Returns where the recordings are, for messages.
    pub(crate) fn place(&self) -> String {
        self.directory.as_ref().map_or("the cassette".to_owned(), |directory| directory.display().to_string())
    }

    /// Returns whether bodies that are too long are left out instead of being an error.
    pub(crate) fn omits_long_bodies(&self) -> bool {
        self.directory.is_none()
    }

    /// Counts bytes of a body that is kept. Returns false, and counts none, if they are too many.
    pub(crate) fn reserve(&self, length: u64) -> bool {
        let mut state = self.state.lock();
        let bytes = state.bytes.saturating_add(length);
        let fits = bytes <= MAX_IN_MEMORY || !self.omits_long_bodies();
        if fits {
            state.bytes = bytes;
        }
        fits
    }

    /// Counts bytes no longer, which were reserved.
    pub(crate) fn release(&self, length: u64) {
        let mut state = self.state.lock();
        state.bytes = state.bytes.saturating_sub(length);
    }

    /// Writes and adds a recording, the `number`-th of equal ones.
    pub(crate) fn add(
        &self,
        exchange: RecordedExchange,
        compared: Compared,
        number: usize,
        is_used: bool,
    ) -> Result<(), CassetteError> {
        let FileName { name, number } = FileName::of_request(&exchange.request, &compared.digest(), number);
        if let Some(directory) = &self.directory {
            // Of another request, if it was edited. One that another process writes now is equal.
            if self.mode != Mode::Record && self.state.lock().has_name(&name) {
                let text = format!("the name {name} is taken: rename this file, which was edited");
                return Err(CassetteError::new(CassetteErrorKind::NotRecorded, text));
            }
            files::write(directory, &name, &exchange, self.mode == Mode::Record)?;
        }
        let exchange = Arc::new(exchange);
        let mut state = self.state.lock();
        state.bytes += (exchange.request.body.len() + exchange.response.body.len()) as u64;
        state.add(Recording { name, exchange, compared, number, is_numbered: true, is_used });
        Ok(())
    }
}
