//! The store's own thread: cleans up after others at the start, and about once a second writes down what was counted,
//! lets go of removed files, and looks whether the directory is still there.

use std::{
    sync::{
        Weak,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
};

use crate::{store::Shared, volume::Volume};

const EVERY: Duration = Duration::from_secs(1);
/// Space is counted anew after so many of these: what a file takes may change after it was written.
const COUNT: u32 = 600;

/// Ends the thread when it is dropped.
#[derive(Debug)]
pub(crate) struct Maintenance {
    _stop: Sender<()>,
}

/// Begins a thread; what it keeps comes later, by the second half.
pub(crate) fn maintenance() -> (Maintenance, impl FnOnce(Weak<Shared>)) {
    let (stop, stopped) = channel();
    let start = move |shared| {
        let begun =
            thread::Builder::new().name("larder-disk".to_owned()).spawn(move || maintain(&shared, &stopped));
        if let Err(error) = begun {
            tracing::warn!(%error, "no thread to look after the disk store: it goes on without");
        }
    };
    (Maintenance { _stop: stop }, start)
}

fn maintain(shared: &Weak<Shared>, stopped: &Receiver<()>) {
    if let Some(shared) = shared.upgrade() {
        sweep(&shared.volume());
    }
    let mut until_count = COUNT;
    while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
        let Some(shared) = shared.upgrade() else { return };
        let volume = shared.volume();
        if !volume.is_intact() {
            shared.reopen();
            continue;
        }
        volume.close_removed();
        volume.write_counts();
        until_count -= 1;
        if until_count == 0 {
            until_count = COUNT;
            sweep(&volume);
        }
    }
}

fn sweep(volume: &Volume) {
    if let Err(error) = volume.sweep() {
        tracing::warn!(%error, "cleaning up the disk store");
    }
}
