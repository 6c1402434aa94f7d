//! Binds listening Unix sockets, and removes their files.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use socket2::{Domain, SockAddr, Socket, Type};

/// The file of a listening socket. It is removed when the last clone is dropped, or by
/// [`remove`](Self::remove), unless another socket has replaced it.
#[derive(Debug, Clone)]
pub(super) struct SocketFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// Device and number of the file.
    identity: (u64, u64),
}

impl SocketFile {
    /// Returns the path of the socket.
    pub(super) fn path(&self) -> &Path {
        &self.0.path
    }

    /// Removes the file, so that no client connects any more. Connections that wait to be accepted
    /// stay.
    pub(super) fn remove(&self) {
        self.0.remove();
    }
}

impl Inner {
    fn remove(&self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            // Another worker may have removed it meanwhile.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Binds the path with this mode and listens on it.
///
/// A socket file that no process listens on is replaced. With `take_over`, one that a process
/// listens on is replaced too: that process goes on with the connections that it has.
///
/// The socket is bound to a name beside the path, `PATH.PID`, and then renamed: it never has
/// another mode than this, and a client always finds either the old or the new one.
///
/// # Errors
///
/// Returns an I/O error if a process listens on the path, if the path is another kind of file, or
/// if it cannot be bound for another reason.
pub(super) fn bind(
    path: &Path,
    mode: u32,
    backlog: u32,
    take_over: bool,
) -> io::Result<(UnixListener, SocketFile)> {
    check_free(path, take_over)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    // Left by a process with the same id that was killed.
    if temporary.symlink_metadata().is_ok_and(|metadata| metadata.file_type().is_socket()) {
        fs::remove_file(&temporary)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(&temporary)?)?;
    let bound = (|| {
        fs::set_permissions(&temporary, fs::Permissions::from_mode(mode & 0o777))?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        socket.set_nonblocking(true)?;
        let identity = identity(&temporary)?;
        fs::rename(&temporary, path)?;
        Ok(identity)
    })();
    match bound {
        Ok(identity) => Ok((socket.into(), SocketFile(Arc::new(Inner { path: path.to_owned(), identity })))),
        Err(error) => {
            // The first error counts.
            let _ = fs::remove_file(&temporary);
            Err(error)
        }
    }
}

/// Returns an error if the path is in use.
fn check_free(path: &Path, take_over: bool) -> io::Result<()> {
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file exists, and it is not a socket"));
    }
    if take_over {
        return Ok(());
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens on this socket")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error),
    }
}

/// Returns device and number of a file.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    path.symlink_metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    #[test]
    fn a_stale_file_is_replaced_and_a_live_one_is_not() {
        let folder = folder();
        let path = folder.path().join("proxy.sock");
        drop(UnixListener::bind(&path).expect("a socket that is left behind"));
        let (listener, file) = bind(&path, 0o600, 16, false).expect("no process listens");
        assert_eq!(path.symlink_metadata().expect("it exists").permissions().mode() & 0o777, 0o600);
        let in_use = bind(&path, 0o600, 16, false).expect_err("it is in use");
        assert_eq!(in_use.kind(), io::ErrorKind::AddrInUse);
        let _client = UnixStream::connect(&path).expect("it still listens");
        listener.accept().expect("the attempt of the second");
        drop(file);
        assert!(!path.exists(), "it is removed");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing is left");
    }

    #[test]
    fn a_file_that_is_no_socket_is_kept() {
        let folder = folder();
        let path = folder.path().join("page.html");
        fs::write(&path, "a page").expect("a file");
        for take_over in [false, true] {
            bind(&path, 0o600, 16, take_over).expect_err("it is not a socket");
        }
        assert_eq!(fs::read(&path).expect("it is there"), b"a page");
    }

    #[test]
    fn a_successor_keeps_its_file_when_the_first_ends() {
        let folder = folder();
        let path = folder.path().join("proxy.sock");
        let (first, first_file) = bind(&path, 0o600, 16, false).expect("a free path");
        let _early = UnixStream::connect(&path).expect("the first");
        let (_second, _second_file) = bind(&path, 0o600, 16, true).expect("it takes over");
        let _late = UnixStream::connect(&path).expect("the second");
        first_file.remove();
        drop(first_file);
        UnixStream::connect(&path).expect("the second still listens");
        assert_eq!(std::iter::from_fn(|| first.accept().ok()).count(), 1, "its own connection is left to it");
    }
}
