//! Four processes with a near tier in memory and one Redis as far tier: a cold page, and a purge.
//!
//! The parent runs the origin. Each child is a node that executes commands, a line each, from its
//! standard input, and answers each with a line.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use bytes::Bytes;
use http::Request;
use larder_core::{Body, Cache, CacheKey, CacheStore, Origin, Scope, TargetUri};
use larder_memory::MemoryStore;
use larder_origin::{HyperOptions, HyperOrigin};
use larder_redis::{RedisOptions, RedisStore};
use larder_testkit::RawOrigin;
use larder_tiered::TieredStore;

const NODES: usize = 4;
const REQUESTS: usize = 100;
const LATENCY: Duration = Duration::from_millis(200);
const PAGE: &str = "http://example.com/page";

pub(crate) async fn run(url: &str) -> anyhow::Result<()> {
    let origin = RawOrigin::start({
        let count = std::sync::atomic::AtomicUsize::new(0);
        move |_, stream| {
            let count = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst).to_string();
            std::thread::sleep(LATENCY);
            let head =
                format!("HTTP/1.1 200 OK\r\ncache-control: max-age=3600\r\ncontent-length: {}", count.len());
            write!(stream, "{head}\r\n\r\n{count}").is_ok()
        }
    });
    let mut nodes =
        (0..NODES).map(|_| Node::start(url, &origin.url())).collect::<anyhow::Result<Vec<_>>>()?;
    let begin = now() + 300_000;
    nodes.iter_mut().try_for_each(|node| node.say(&format!("rush {begin}")))?;
    let mut took = Vec::new();
    for node in &mut nodes {
        for micros in node.hear()?.split_whitespace() {
            took.push(Duration::from_micros(micros.parse::<u64>()? - begin));
        }
    }
    took.sort();
    println!("\n| four processes, {REQUESTS} requests each, one cold page, origin 200 ms | |\n|---|---|");
    println!("| requests at the origin | {} |", origin.heads().len());
    println!("| half answered after | {:.0?} |", took[took.len() / 2]);
    println!("| all answered after | {:.0?} |", took[took.len() - 1]);
    let mut last = Vec::new();
    for _ in 0..9 {
        let mut old = String::new();
        for node in &mut nodes {
            node.say("get")?;
            old = node.hear()?;
        }
        nodes[1..].iter_mut().try_for_each(|node| node.say(&format!("watch {old}")))?;
        std::thread::sleep(Duration::from_millis(20));
        nodes[0].say("purge")?;
        let purged = nodes[0].hear()?.parse::<u64>()?;
        let mut stale = 0;
        for node in &mut nodes[1..] {
            stale = stale.max(node.hear()?.parse::<u64>()?.saturating_sub(purged));
        }
        last.push(Duration::from_micros(stale));
    }
    last.sort();
    let what = "from a purge's return to the last stale answer that another process requested";
    println!("| {what}: median, longest of 9 | {:.1?}, {:.1?} |", last[4], last[8]);
    Ok(())
}

struct Node {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Node {
    fn start(url: &str, origin: &str) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["node", url, origin]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let input = process.stdin.take().context("piped")?;
        let output = BufReader::new(process.stdout.take().context("piped")?);
        let mut node = Self { process, input, output };
        node.hear()?;
        Ok(node)
    }

    fn say(&mut self, line: &str) -> anyhow::Result<()> {
        Ok(writeln!(self.input, "{line}")?)
    }

    fn hear(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a node.
pub(crate) async fn node(url: &str, origin: &str) -> anyhow::Result<()> {
    let far = Arc::new(RedisStore::connect(url, RedisOptions::default()).await?);
    let store: Arc<dyn CacheStore> = Arc::new(TieredStore::new(Arc::new(MemoryStore::default()), far));
    let cache = Cache::builder(store).build();
    let origin: Arc<dyn Origin> = Arc::new(HyperOrigin::new(HyperOptions::to(origin)?)?);
    tokio::time::sleep(Duration::from_millis(200)).await;
    println!("ready");
    let mut lines = std::io::stdin().lines();
    while let Some(line) = lines.next().transpose()? {
        let (what, argument) = line.split_once(' ').unwrap_or((&line, ""));
        match what {
            "rush" => {
                let begin = argument.parse::<u64>()?;
                tokio::time::sleep(Duration::from_micros(begin.saturating_sub(now()))).await;
                let asking: Vec<_> = (0..REQUESTS)
                    .map(|_| {
                        let (cache, origin) = (cache.clone(), Arc::clone(&origin));
                        tokio::spawn(async move {
                            ask(&cache, &origin).await?;
                            anyhow::Ok(now())
                        })
                    })
                    .collect();
                let mut done = Vec::new();
                for asked in asking {
                    done.push(asked.await??.to_string());
                }
                println!("{}", done.join(" "));
            }
            "get" => println!("{}", String::from_utf8_lossy(&ask(&cache, &origin).await?)),
            "purge" => {
                cache.purge(Scope::Key(&CacheKey::new(&TargetUri::parse(PAGE)?))).await?;
                println!("{}", now());
            }
            "watch" => {
                // The start of the last request that received the old page.
                let mut last = 0;
                loop {
                    let begun = now();
                    if ask(&cache, &origin).await? != argument.as_bytes() {
                        break;
                    }
                    last = begun;
                }
                println!("{last}");
            }
            _ => anyhow::bail!("what is {line}?"),
        }
    }
    Ok(())
}

async fn ask(cache: &Cache, origin: &Arc<dyn Origin>) -> anyhow::Result<Bytes> {
    let request = Request::get(PAGE).body(Body::empty())?;
    let mut answer = cache.fetch(request, Arc::clone(origin)).await?;
    let mut body = answer.into_body();
    Ok(body.chunk().await.transpose().map_err(|error| anyhow::anyhow!(error))?.unwrap_or_default())
}

/// Returns microseconds of a clock that all processes share.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_micros() as u64)
}
