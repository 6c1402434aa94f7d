//! Real servers as origins. Each is killed when it is dropped.

use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A child process that is killed when this is dropped.
pub(crate) struct Server(pub(crate) Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns a port that no server uses.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// Waits up to 10 s until a server listens on the port.
pub(crate) fn wait_for(port: u16) {
    for _ in 0..400 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("no server listens on port {port}");
}

/// A Redis server that keeps everything in memory.
pub(crate) struct Redis {
    _server: Server,
    port: u16,
}

impl Redis {
    /// Starts a server.
    pub(crate) fn start() -> Self {
        let port = free_port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let server = command.spawn().expect("redis-server is missing: apt-get install redis-server");
        let redis = Self { _server: Server(server), port };
        wait_for(port);
        redis
    }

    /// Returns the URL of the server.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

/// An nginx with its own directory.
pub(crate) struct Nginx {
    server: Server,
    folder: tempfile::TempDir,
    pub(crate) port: u16,
}

impl Nginx {
    /// Starts nginx. It serves `page.html` and the files of `write`, fresh for a minute; `/api/`
    /// shows its request.
    pub(crate) fn start() -> Self {
        let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let here = folder.path().display();
        let config = format!(
            "daemon off; worker_processes 1; pid {here}/pid; error_log {here}/error.log; user root;
            events {{}}
            http {{ access_log off; client_body_temp_path {here}/b; proxy_temp_path {here}/p; fastcgi_temp_path {here}/f;
              uwsgi_temp_path {here}/u; scgi_temp_path {here}/s; types {{ text/html html; }}
              server {{ listen 127.0.0.1:{port}; root {here}/www; expires 60s; add_header x-server {port};
                location /api/ {{ expires off; return 200 \"api $request_uri $http_host $http_x_from $http_traceparent\"; }} }} }}"
        );
        std::fs::create_dir_all(folder.path().join("www")).expect("a folder");
        std::fs::write(folder.path().join("nginx.conf"), config).expect("a configuration");
        let server = run(folder.path(), port);
        let nginx = Self { server, folder, port };
        nginx.write("page.html", "<h1>a page</h1>\n");
        nginx
    }

    /// Returns the URL of the server.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Creates or replaces a file that the server serves.
    pub(crate) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.folder.path().join("www").join(name), content).expect("a page");
    }

    /// Kills the master first, which would start a new worker, then the worker. All connections
    /// break.
    pub(crate) fn kill(&mut self) {
        let workers = Command::new("pgrep").args(["-P", &self.server.0.id().to_string()]).output();
        let _ = self.server.0.kill();
        let _ = self.server.0.wait();
        let workers = workers.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        for worker in workers.iter().flat_map(|pids| pids.split_whitespace()) {
            let _ = Command::new("kill").args(["-KILL", worker]).status();
        }
    }

    /// Makes the master replace its worker, which ends when its requests have.
    pub(crate) fn reload(&self) {
        let sent = Command::new("kill").args(["-HUP", &self.server.0.id().to_string()]).status();
        assert!(sent.expect("kill").success());
    }

    /// Starts the server again on the same port.
    pub(crate) fn restart(&mut self) {
        self.server = run(self.folder.path(), self.port);
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts nginx with the configuration in `folder`.
fn run(folder: &Path, port: u16) -> Server {
    let nginx = ["/usr/sbin/nginx", "/usr/bin/nginx"].into_iter().find(|path| Path::new(path).exists());
    let nginx = nginx.expect("nginx is missing: apt-get install nginx-light (or cargo xtask setup)");
    let mut command = Command::new(nginx);
    command.arg("-c").arg(folder.join("nginx.conf")).stdout(Stdio::null()).stderr(Stdio::null());
    let server = Server(command.spawn().expect("nginx starts"));
    wait_for(port);
    server
}
