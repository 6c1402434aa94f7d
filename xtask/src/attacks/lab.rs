//! Starts what is attacked: a proxy or an application as a real process, in front of a scripted
//! origin. Each case gets processes of its own, so that no case sees the cache of another.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};

use super::{
    client::{Client, Reply},
    script::{Answer, Script, Seen},
};
use crate::process::{self, Server, free_port};

/// The host name of the site that is attacked.
pub(super) const SITE: &str = "site.test";

/// What is attacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Target {
    /// `larder proxy`, the real program.
    Proxy,
    /// An actix-web application with the caching middleware.
    Actix,
    /// An axum application with the tower layer.
    Axum,
    /// A cache that makes the usual mistakes, for the tests of the cases.
    #[cfg(test)]
    #[value(skip)]
    Naive,
}

impl Target {
    pub(super) const ALL: [Self; 3] = [Self::Proxy, Self::Actix, Self::Axum];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Actix => "actix",
            Self::Axum => "axum",
            #[cfg(test)]
            Self::Naive => "naive",
        }
    }
}

/// The programs under attack, and a directory with their certificate.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(super) larder: PathBuf,
    pub(super) apps: PathBuf,
    pub(super) directory: tempfile::TempDir,
}

impl Programs {
    /// Creates the certificate of the proxy.
    pub(super) fn new(larder: PathBuf, apps: PathBuf) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        process::run(Command::new(&apps).arg("certificate").arg(directory.path()))?;
        Ok(Self { larder, apps, directory })
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).to_string_lossy().into_owned()
    }
}

/// Starts sites of one target.
#[derive(Clone, Copy)]
pub(super) struct Lab<'a> {
    pub(super) target: Target,
    pub(super) programs: Option<&'a Programs>,
}

/// A running target and its origin.
pub(super) struct Site {
    pub(super) script: Script,
    pub(super) address: SocketAddr,
    /// The admin listener of a proxy that was started with [`Lab::routes`].
    pub(super) admin: Option<SocketAddr>,
    _servers: Vec<Server>,
    _directory: Option<tempfile::TempDir>,
}

impl<'a> Lab<'a> {
    /// Starts the target with its default options.
    pub(super) fn site(
        &self,
        respond: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> anyhow::Result<Site> {
        self.site_with(&[], respond)
    }

    /// Starts the target; a proxy gets these options, too.
    pub(super) fn site_with(
        &self,
        options: &[&str],
        respond: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> anyhow::Result<Site> {
        let script = Script::start(respond)?;
        let (server, address) = match self.target {
            Target::Proxy => {
                let origin = format!("http://{}", script.address);
                self.proxy(&[&["--origin", &origin], options].concat())?
            }
            Target::Actix | Target::Axum => self.app(&script, &[])?,
            #[cfg(test)]
            Target::Naive => {
                let address = super::naive::start(script.address)?;
                return Ok(Site::of(script, vec![], address));
            }
        };
        Ok(Site::of(script, vec![server], address))
    }

    /// Starts the target behind a load balancer: it trusts the forwarded fields of this machine.
    pub(super) fn behind_balancer(
        &self,
        respond: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> anyhow::Result<Site> {
        if self.target == Target::Proxy {
            let file = "trusted_proxies = \"127.0.0.1\"\n[[route]]\norigins = [\"ORIGIN\"]\n";
            return self.routes(file, respond);
        }
        let script = Script::start(respond)?;
        let (server, address) = self.app(&script, &["balancer"])?;
        Ok(Site::of(script, vec![server], address))
    }

    /// Starts an application with these arguments.
    fn app(&self, script: &Script, arguments: &[&str]) -> anyhow::Result<(Server, SocketAddr)> {
        let mut app = Command::new(&self.programs()?.apps);
        started(app.arg(self.target.name()).arg(script.address.to_string()).args(arguments))
    }

    /// Starts a proxy with a configuration file and an admin listener. `ORIGIN` in the file stands
    /// for the URL of the origin.
    pub(super) fn routes(
        &self,
        file: &str,
        respond: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> anyhow::Result<Site> {
        ensure!(self.target == Target::Proxy, "only the proxy has a configuration file");
        let script = Script::start(respond)?;
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("larder.toml");
        std::fs::write(&path, file.replace("ORIGIN", &format!("http://{}", script.address)))?;
        let admin = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let options = ["--config", &path.to_string_lossy(), "--admin", &admin.to_string()];
        let (server, address) = self.proxy(&options)?;
        let site = Site::of(script, vec![server], address);
        Ok(Site { admin: Some(admin), _directory: Some(directory), ..site })
    }

    /// Starts the target for HTTP/2. The applications serve it without TLS; for the proxy,
    /// `address` is that of a tunnel to its TLS listener.
    pub(super) fn http2(
        &self,
        respond: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> anyhow::Result<Site> {
        if self.target != Target::Proxy {
            return self.site(respond);
        }
        let programs = self.programs()?;
        let certificate = programs.file("cert.pem");
        let tls = ["--tls-cert", &certificate, "--tls-key", &programs.file("key.pem")];
        let mut site = self.site_with(&tls, respond)?;
        let mut tunnel = Command::new(&programs.apps);
        let (tunnel, address) = started(tunnel.args(["tunnel", &format!("{},{certificate}", site.address)]))?;
        site._servers.push(tunnel);
        site.address = address;
        Ok(site)
    }

    /// Starts a proxy that listens on a free port, unless `options` select another.
    pub(super) fn proxy(&self, options: &[&str]) -> anyhow::Result<(Server, SocketAddr)> {
        let mut proxy = Command::new(&self.programs()?.larder);
        proxy.args(["proxy", "--workers", "1"]);
        if !options.contains(&"--listen") {
            proxy.args(["--listen", "127.0.0.1:0"]);
        }
        started(proxy.args(options))
    }

    pub(super) fn programs(&self) -> anyhow::Result<&'a Programs> {
        self.programs.context("the programs are built")
    }

    /// Requests `/page` of a fresh site as an innocent client does, before and after an attack on
    /// another fresh site, and fails if the attack makes a difference.
    pub(super) fn unharmed(
        &self,
        respond: impl Fn(&Seen) -> Answer + Clone + Send + Sync + 'static,
        attack: impl Fn(&Site),
    ) -> anyhow::Result<String> {
        self.unharmed_with(&[], respond, attack)
    }

    /// Compares an attacked site with a fresh one, as [`unharmed`](Self::unharmed) does. A proxy
    /// has these options.
    pub(super) fn unharmed_with(
        &self,
        options: &[&str],
        respond: impl Fn(&Seen) -> Answer + Clone + Send + Sync + 'static,
        attack: impl Fn(&Site),
    ) -> anyhow::Result<String> {
        let expected = self.site_with(options, respond.clone())?.get("/page")?;
        let site = self.site_with(options, respond)?;
        attack(&site);
        site.expect("/page", &expected)
    }
}

impl Site {
    fn of(script: Script, servers: Vec<Server>, address: SocketAddr) -> Self {
        Self { script, address, admin: None, _servers: servers, _directory: None }
    }

    /// Sends a GET of an innocent client on a connection of its own.
    pub(super) fn get(&self, target: &str) -> anyhow::Result<Reply> {
        self.get_with(target, "")
    }

    /// Sends a GET with these header lines.
    pub(super) fn get_with(&self, target: &str, fields: &str) -> anyhow::Result<Reply> {
        self.send("GET", target, fields, "")
    }

    /// Sends a request to the site with these header lines. With `Connection` among them, none is
    /// added.
    pub(super) fn send(&self, method: &str, target: &str, fields: &str, body: &str) -> anyhow::Result<Reply> {
        let close = if fields.starts_with("Connection:") { "" } else { "Connection: close\r\n" };
        let request = format!("{method} {target} HTTP/1.1\r\nHost: {SITE}\r\n{close}{fields}\r\n{body}");
        let mut client = Client::connect(self.address)?;
        client.send(request.as_bytes());
        client.reply(method).with_context(|| format!("no response to {method} {target}: {}", client.end))
    }

    /// Sends bytes on a new connection, and returns the responses.
    pub(super) fn raw(&self, bytes: impl AsRef<[u8]>) -> Vec<Reply> {
        let Ok(mut client) = Client::connect(self.address) else { return Vec::new() };
        client.send(bytes.as_ref());
        client.replies()
    }

    /// Requests a target as an innocent client does, and compares the response with this one.
    pub(super) fn expect(&self, target: &str, expected: &Reply) -> anyhow::Result<String> {
        let reply = self.get(target)?;
        let same = reply.status == expected.status
            && reply.body == expected.body
            && ["location", "set-cookie"].iter().all(|name| reply.headers(name) == expected.headers(name));
        ensure!(
            same,
            "GET {target} of the next client: {}; without the attack: {}",
            reply.shown(),
            expected.shown()
        );
        Ok(format!("the next client got {}", reply.shown()))
    }

    /// Purges a URL: by the admin listener of a proxy, or by the path of the applications.
    pub(super) fn purge_url(&self, url: &str) -> anyhow::Result<Reply> {
        match self.admin {
            Some(_) => self.purge(&format!("{{\"url\":{}}}", serde_json::to_string(url)?), ""),
            None => self.send("POST", "/-/purge", &format!("Content-Length: {}\r\n", url.len()), url),
        }
    }

    /// Sends a request to the admin listener.
    pub(super) fn purge(&self, json: &str, fields: &str) -> anyhow::Result<Reply> {
        let admin = self.admin.context("the site has an admin listener")?;
        let host = if fields.contains("Host:") { String::new() } else { format!("Host: {admin}\r\n") };
        let request = format!(
            "POST /purge HTTP/1.1\r\n{host}{fields}Connection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{json}",
            json.len()
        );
        let mut client = Client::connect(admin)?;
        client.send(request.as_bytes());
        client.reply("POST").context("no response to a purge")
    }
}

/// Starts a server that prints its address.
fn started(command: &mut Command) -> anyhow::Result<(Server, SocketAddr)> {
    let (server, url) = Server::start_until(command.stderr(Stdio::null()), "listening on ")?;
    let (_, address) = url.split_once("://").context("the address is a URL")?;
    Ok((server, address.parse()?))
}
