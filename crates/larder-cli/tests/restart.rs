//! Reloads and restarts under load: no request fails.

mod process;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::unix::net::UnixDatagram,
    process::Stdio,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use larder_testkit::RawOrigin;
use process::{Proxy, config_dir::ConfigDir, servers::free_port};

/// Clients that send requests all the time.
#[derive(Default)]
struct Load {
    done: AtomicBool,
    sent: AtomicUsize,
    completed: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

/// Ends the load when it is dropped, also by a panic.
struct EndOnDrop<'a>(&'a Load);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.done.store(true, Ordering::SeqCst);
    }
}

impl Load {
    /// Sends requests until the load ends. A client with `keep_alive` uses its connection until a
    /// response closes it; the others open a new one each time.
    fn run(&self, address: &str, keep_alive: bool) {
        let mut kept = None;
        while !self.done.load(Ordering::SeqCst) {
            let number = self.sent.fetch_add(1, Ordering::SeqCst);
            let mut stream = kept.take().map_or_else(|| connect(address), Ok);
            let outcome = stream.as_mut().map_err(|error| format!("connect: {error}")).and_then(|stream| {
                // Some are in the cache, most are not.
                exchange(stream, &format!("/page?{}", number % 50_000 / 3), keep_alive)
            });
            match outcome {
                Ok(true) => kept = stream.ok(),
                Ok(false) => {}
                Err(failure) => self.failures.lock().expect("no panic").push(failure),
            }
            self.completed.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Waits until that many more requests have been completed.
    fn wait_for(&self, more: usize) {
        let goal = self.completed.load(Ordering::SeqCst) + more;
        while self.completed.load(Ordering::SeqCst) < goal {
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Runs eight clients while `test` runs, and fails if one of their requests has failed.
    fn during(address: &str, test: impl FnOnce(&Self)) {
        let load = Self::default();
        thread::scope(|threads| {
            let _end = EndOnDrop(&load);
            for number in 0..8 {
                let load = &load;
                threads.spawn(move || load.run(address, number % 2 == 0));
            }
            load.wait_for(100);
            test(&load);
            load.wait_for(100);
        });
        assert_eq!(load.failures.into_inner().expect("no panic"), Vec::<String>::new());
    }
}

fn connect(address: &str) -> std::io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.set_nodelay(true)?;
    Ok(BufReader::new(stream))
}

/// Sends a request and reads the response. Returns whether the connection may be used again.
fn exchange(stream: &mut BufReader<TcpStream>, target: &str, keep_alive: bool) -> Result<bool, String> {
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let request = format!("GET {target} HTTP/1.1\r\nHost: example.com\r\nConnection: {connection}\r\n\r\n");
    stream.get_mut().write_all(request.as_bytes()).map_err(|error| format!("send: {error}"))?;
    let (mut length, mut may_continue, mut is_first) = (0, keep_alive, true);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).map_err(|error| format!("receive: {error}"))?;
        let line = line.trim_end().to_ascii_lowercase();
        if std::mem::take(&mut is_first) {
            if line != "http/1.1 200 ok" {
                return Err(format!("not a response: {line:?}"));
            }
        } else if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().map_err(|_| line.clone())?;
        }
        may_continue &= line != "connection: close";
    }
    let mut content = vec![0; length];
    stream.read_exact(&mut content).map_err(|error| format!("content: {error}"))?;
    if content == b"a page" { Ok(may_continue) } else { Err("another content".to_owned()) }
}

fn origin() -> RawOrigin {
    RawOrigin::start(|_, stream| {
        let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ncontent-length: 6\r\n\r\n";
        stream.write_all(format!("{head}a page").as_bytes()).is_ok()
    })
}

/// A restart reset the connections that waited to be accepted, and those of clients that sent their
/// next request while the old process closed them.
#[test]
fn ten_rolling_restarts_fail_no_request() {
    let origin = origin();
    let url = origin.url();
    let admin = format!("127.0.0.1:{}", free_port());
    let start = |address: &str| {
        let args = ["--origin", &url, "--take-over", "--admin", &admin];
        Proxy::start_on(address, &args, Stdio::null())
    };
    let mut current = start("127.0.0.1:0");
    let address = current.address.clone();
    Load::during(&address, |load| {
        for _ in 0..10 {
            let next = start(&address);
            load.wait_for(50);
            current.signal("TERM");
            assert!(current.child.wait().expect("it ends").success());
            current = next;
            let stats = process::larder().args(["stats", "--admin", &format!("http://{admin}")]).output();
            assert!(stats.expect("it runs").status.success(), "the admin listener of the new one");
            load.wait_for(50);
        }
    });
}

/// Without the option, a second proxy on the address is an error, as with any other server.
#[test]
fn an_address_is_taken_over_only_on_demand() {
    let origin = origin();
    let first = Proxy::start(&origin.url(), &[]);
    let second = process::larder()
        .args(["proxy", "--listen", &first.address, "--origin", &origin.url()])
        .output()
        .expect("it runs");
    assert!(!second.status.success());
    let errors = String::from_utf8_lossy(&second.stderr);
    assert!(errors.contains("can't listen on"), "{errors}");
}

#[test]
fn a_hundred_reloads_fail_no_request() {
    let origin = origin();
    let dir = ConfigDir::new();
    let proxy = dir.start(&format!("[[route]]\norigins = [\"{}\"]", origin.url()), &[]);
    Load::during(&proxy.address, |load| {
        for number in 1..=100 {
            proxy.signal("HUP");
            while dir.wait_for_error("reloaded ").matches("reloaded ").count() < number {
                thread::sleep(Duration::from_millis(2));
            }
            load.wait_for(10);
        }
    });
}

/// systemd started dependent services before the proxy listened, and did not wait for reloads.
#[test]
fn a_service_manager_is_notified_of_each_state() {
    let origin = origin();
    let dir = ConfigDir::new();
    let path = dir.path("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let next = || {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).expect("a notification");
        String::from_utf8(buffer[..length].to_vec()).expect("text")
    };
    let config = dir.write(&format!("[[route]]\norigins = [\"{}\"]", origin.url()));
    let mut command = process::larder();
    command.env("NOTIFY_SOCKET", &path);
    let mut proxy = Proxy::start_command(command, "127.0.0.1:0", &["--config", &config], Stdio::null());
    assert_eq!(next(), "READY=1");
    for text in ["", "[[route]]"] {
        // The second reload fails.
        if !text.is_empty() {
            dir.write(text);
        }
        proxy.signal("HUP");
        assert!(next().starts_with("RELOADING=1\nMONOTONIC_USEC="));
        assert_eq!(next(), "READY=1");
    }
    proxy.signal("TERM");
    assert_eq!(next(), "STOPPING=1");
    assert!(proxy.child.wait().expect("it ends").success());
}
