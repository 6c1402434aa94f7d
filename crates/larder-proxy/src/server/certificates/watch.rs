//! Looks at the files of certificates in regular intervals.

use std::{io, sync::mpsc, thread, time::Duration};

use super::set::Certificates;

/// A thread that reads changed certificates again, until this is dropped. A thread of its own,
/// because the files may be on a slow file system.
#[derive(Debug)]
pub(crate) struct CertificateWatch {
    /// The thread ends when it is dropped.
    _running: mpsc::Sender<()>,
}

impl CertificateWatch {
    /// Starts to look at the files of all `certificates`. Returns `None` if there is nothing to do.
    ///
    /// # Errors
    ///
    /// Returns an I/O error if the thread cannot be started.
    pub(crate) fn start(certificates: Vec<Certificates>, interval: Duration) -> io::Result<Option<Self>> {
        let mut distinct: Vec<Certificates> = Vec::new();
        for certificates in certificates {
            if !distinct.iter().any(|known| known.is_same(&certificates)) {
                distinct.push(certificates);
            }
        }
        if distinct.is_empty() || interval.is_zero() {
            return Ok(None);
        }
        let (running, ended) = mpsc::channel();
        let watch = move || {
            while ended.recv_timeout(interval) == Err(mpsc::RecvTimeoutError::Timeout) {
                distinct.iter().for_each(Certificates::check);
            }
        };
        thread::Builder::new().name("larder-certificates".to_owned()).spawn(watch)?;
        Ok(Some(Self { _running: running }))
    }
}
