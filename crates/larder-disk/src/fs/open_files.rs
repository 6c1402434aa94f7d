//! Keeps files open for later readers, and closes them when they are removed. The system calls are
//! left to `directory`; files that another process has removed are closed by `maintenance`.

use std::{collections::HashMap, fs::File, io, os::unix::fs::MetadataExt as _, sync::Arc};

use parking_lot::RwLock;

use crate::{format::file_name::FileName, fs::directory::Directory};

/// Largest number of files that stay open for later readers.
const OPEN_FILES: usize = 256;

/// Files of the directory that are open for reading.
#[derive(Debug, Default)]
pub(crate) struct OpenFiles(RwLock<HashMap<FileName, Arc<File>>>);

impl OpenFiles {
    /// Opens a file for reading, or returns it if it is open already. It stays open for later
    /// readers.
    pub(crate) fn get(&self, directory: &Directory, name: FileName) -> io::Result<Arc<File>> {
        if let Some(file) = self.0.read().get(&name) {
            return Ok(Arc::clone(file));
        }
        let file = match directory.open_file(name) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
                // The process has no descriptors left: close the files that are open for later
                // readers.
                self.0.write().clear();
                directory.open_file(name)?
            }
            opened => opened?,
        };
        let file = Arc::new(file);
        let mut files = self.0.write();
        if files.len() >= OPEN_FILES {
            // Closes every second file. Those in frequent use are soon opened again.
            let mut retain_next = false;
            files.retain(|_, _| {
                retain_next = !retain_next;
                retain_next
            });
        }
        files.insert(name, Arc::clone(&file));
        Ok(file)
    }

    /// Closes open files that have been removed. The file system frees their space only then.
    pub(crate) fn close_removed(&self) {
        let is_linked = |file: &File| file.metadata().is_ok_and(|metadata| metadata.nlink() > 0);
        let open: Vec<_> = self.0.read().iter().map(|(name, file)| (*name, Arc::clone(file))).collect();
        let removed: Vec<_> =
            open.into_iter().filter(|(_, file)| !is_linked(file)).map(|(name, _)| name).collect();
        if !removed.is_empty() {
            let mut files = self.0.write();
            removed.iter().for_each(|name| drop(files.remove(name)));
        }
    }

    /// Removes a file. Returns the bytes that it occupied, which the caller subtracts from the used
    /// space.
    pub(crate) fn discard(&self, directory: &Directory, name: FileName) -> io::Result<u64> {
        let size = directory.size_of(name).unwrap_or(0);
        self.0.write().remove(&name);
        Ok(if directory.remove(name)? { size } else { 0 })
    }
}
