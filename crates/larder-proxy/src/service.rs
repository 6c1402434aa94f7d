//! Notifies a service manager, such as systemd, of the state of the program.

use std::{
    fmt, io,
    os::unix::net::{SocketAddr, UnixDatagram},
    path::{Path, PathBuf},
};

/// Longest text of a status, in bytes; the rest is cut.
const MAX_STATUS: usize = 1024;

/// Notifies a service manager of the program's state (sd_notify(3)). With `Type=notify-reload`,
/// systemd starts dependent services when the proxy listens, and waits for the end of a reload.
///
/// systemd states the path of the socket in the environment variable `NOTIFY_SOCKET`, which the
/// program reads.
///
/// ```no_run
/// use larder_proxy::ServiceNotifier;
///
/// let notifier = std::env::var_os("NOTIFY_SOCKET").map(ServiceNotifier::new);
/// // When the proxy listens:
/// if let Some(notifier) = &notifier {
///     notifier.ready()?;
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct ServiceNotifier(PathBuf);

impl fmt::Debug for ServiceNotifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServiceNotifier").field(&self.0).finish()
    }
}

impl ServiceNotifier {
    /// Creates a notifier for the socket at `path`. On Linux, a path that begins with `@` is an
    /// abstract name.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Reports that the program has started, or that a reload has ended.
    ///
    /// # Errors
    ///
    /// Returns an I/O error if the notification cannot be sent. The service manager then waits
    /// until its own timeout.
    pub fn ready(&self) -> io::Result<()> {
        self.send("READY=1")
    }

    /// Reports the beginning of a reload. [`ready`](Self::ready) reports its end, also if it has
    /// failed.
    ///
    /// # Errors
    ///
    /// Returns an I/O error if the notification cannot be sent.
    pub fn reloading(&self) -> io::Result<()> {
        // systemd compares it with the time at which it has sent SIGHUP.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"))
    }

    /// Reports the beginning of a shutdown.
    ///
    /// # Errors
    ///
    /// Returns an I/O error if the notification cannot be sent.
    pub fn stopping(&self) -> io::Result<()> {
        self.send("STOPPING=1")
    }

    /// Sends a line of text for people, of at most 1,024 bytes. Line ends in it become spaces.
    ///
    /// # Errors
    ///
    /// Returns an I/O error if the notification cannot be sent.
    pub fn status(&self, text: &str) -> io::Result<()> {
        let mut ends = (0..=text.len().min(MAX_STATUS)).rev();
        let end = ends.find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        self.send(&format!("STATUS={}", text[..end].replace(['\n', '\r'], " ")))
    }

    fn send(&self, state: &str) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        // A service manager that does not read must not stop the program.
        socket.set_nonblocking(true)?;
        socket.send_to_addr(state.as_bytes(), &address(&self.0)?).map(drop)
    }
}

/// Returns the address of a socket.
fn address(path: &Path) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = path.as_os_str().as_encoded_bytes().strip_prefix(b"@") {
        return <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name);
    }
    SocketAddr::from_pathname(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 2048];
        let length = socket.recv(&mut buffer).expect("a notification");
        String::from_utf8(buffer[..length].to_vec()).expect("text")
    }

    #[test]
    fn a_service_manager_gets_each_state() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        let notifier = ServiceNotifier::new(&path);
        notifier.ready().expect("it is sent");
        assert_eq!(receive(&manager), "READY=1");
        notifier.reloading().expect("it is sent");
        let reloading = receive(&manager);
        let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("a time");
        assert!(time.parse::<u64>().expect("a number") > 0, "{reloading}");
        notifier.stopping().expect("it is sent");
        assert_eq!(receive(&manager), "STOPPING=1");
        notifier.status(&format!("one\ntwo{}", "ü".repeat(1000))).expect("it is sent");
        let status = receive(&manager);
        assert!(status.starts_with("STATUS=one two") && status.len() <= 7 + MAX_STATUS, "{status}");
        drop(manager);
        notifier.ready().expect_err("no service manager reads");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_name_begins_with_an_at_sign() {
        let name = format!("larder-test-{}", std::process::id());
        let address = <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name);
        let manager = UnixDatagram::bind_addr(&address.expect("a name")).expect("a socket");
        ServiceNotifier::new(format!("@{name}")).ready().expect("it is sent");
        assert_eq!(receive(&manager), "READY=1");
    }
}
