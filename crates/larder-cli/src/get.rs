//! `larder get`: fetches URLs through a cache and writes their bodies.
//!
//! `output` decides where a body goes, `report` prints what happened.

use std::{io::BufRead as _, path::PathBuf, pin::Pin, process::ExitCode, time::Duration};

use anyhow::Context as _;
use futures_util::{Stream, StreamExt as _};
use larder::{
    cassette::{Cassette, CassetteOptions},
    client::{CachedClient, Fetched},
    core::CacheMode,
};

use crate::{
    client_args::{ClientArgs, parse_target, runtime, until_interrupted},
    output::{Destination, OutputDir, copy},
    report::{CompletedFetch, Report},
    store_url::UsageError,
};

/// Fetch URLs through a cache on disk.
///
/// The content of a single URL goes to standard output, and a line with its status and cache status
/// to standard error. Several URLs need --output or --json. Up to 10 redirects are followed. All
/// `larder get` and `larder watch` commands of a user share the cache.
///
/// Exit code: 0 if every URL was answered with a status of 2xx or 3xx, 1 if one was not, 2 if an
/// argument is invalid.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  # Print one page; the second time it comes from the cache.
  larder get https://example.com/

  # Write two pages to files in the directory `pages`.
  larder get --output pages https://example.com/ \\
    https://example.org/

  # Read URLs from a file; retry each up to five times.
  larder get --output pages --retry 5 - < urls.txt

  # Print a line of JSON per URL, with status and outcome.
  larder get --json https://example.com/ \\
    https://example.org/

  # Cache in memory and a Redis server that others share.
  larder get --store memory --store redis://cache:6379/0 \\
    https://example.com/")]
pub(crate) struct Args {
    /// URLs to fetch, each once; `-` reads URLs from standard input, one per line.
    ///
    /// Empty lines and lines that begin with # are skipped.
    #[arg(required = true, value_name = "URL")]
    urls: Vec<String>,
    #[command(flatten)]
    client: ClientArgs,
    /// Maximum number of concurrent requests, 1 to 1024.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,
    /// Maximum number of concurrent requests to one host, 1 to 1024.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=1024))]
    per_host: u16,
    /// How many times to retry a URL after a failure that may be temporary.
    ///
    /// Such failures are: no connection, a timeout, a broken connection or body, and status 429,
    /// 502, 503 or 504. The pause before the first retry is up to 250 ms, and doubles with each
    /// retry, up to 30 s. A Retry-After header lengthens the pause, up to an hour.
    #[arg(long, value_name = "N", default_value_t = 2)]
    retry: u32,
    /// Write the content of each URL to a file in this directory, which is created if needed.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print one line of JSON per URL instead of the content.
    #[arg(long)]
    json: bool,
    /// Revalidate with the origin, even if the stored response is fresh.
    ///
    /// Content that has not changed is not transferred again.
    #[arg(long, conflicts_with_all = ["only_if_cached", "offline"])]
    reload: bool,
    /// Never contact an origin: use fresh stored responses only. A URL without one fails.
    #[arg(long, conflicts_with = "offline")]
    only_if_cached: bool,
    /// Never contact an origin: use stored responses, fresh or stale. A URL without one fails.
    ///
    /// A URL also fails if its stored response must be revalidated, because of no-cache or
    /// must-revalidate.
    #[arg(long)]
    offline: bool,
    /// Write the exchanges with servers to this file, as a HAR that browsers and other tools read.
    ///
    /// Pages from the cache are not in it, nor transfers that have failed. Credentials are replaced
    /// by REDACTED. Bodies of more than 16 MiB are left out, and so are all after 256 MiB. Content
    /// codings, such as gzip, are decoded or not requested.
    #[arg(long, value_name = "FILE")]
    har: Option<PathBuf>,
}

type Urls = Pin<Box<dyn Stream<Item = String> + Send>>;

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let from_stdin = args.urls.iter().any(|url| url == "-");
    for url in args.urls.iter().filter(|url| *url != "-") {
        parse_target(url, "larder get")?;
    }
    if (args.urls.len() > 1 || from_stdin) && args.output.is_none() && !args.json {
        let hint = "several URLs need --output DIR, which writes each to a file, or --json, which prints a line for each";
        return Err(UsageError(hint.to_owned()).into());
    }
    args.client.check()?;
    let output_dir = args.output.as_deref().map(OutputDir::open).transpose()?;
    let total = (!from_stdin).then_some(args.urls.len() as u64);
    let mut report = Report::new(total, args.json);
    // A transfer that is interrupted is not waited for.
    let options = CassetteOptions::default().with_drain_timeout(Duration::ZERO);
    let har = args.har.is_some().then(|| Cassette::recorder(options));
    let all_succeeded = runtime()?.block_on(async {
        let mut builder = args.client.builder().await?;
        if let Some(har) = &har {
            builder = builder.map_origin(har.wrap());
        }
        let client = builder.build()?;
        let all_succeeded = until_interrupted(fetch(args, &client, output_dir, &mut report)).await;
        // Responses that are still being written to the store get five seconds.
        client.cache().drain(Duration::from_secs(5)).await;
        anyhow::Ok(all_succeeded)
    })?;
    report.finish(all_succeeded.is_none());
    if let (Some(har), Some(path)) = (har, &args.har) {
        std::fs::write(path, har.export_har()).with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(if all_succeeded == Some(true) { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Fetches all URLs. Returns whether every one of them succeeded.
async fn fetch(
    args: &Args,
    client: &CachedClient,
    mut output_dir: Option<OutputDir>,
    report: &mut Report,
) -> bool {
    let mode = match (args.reload, args.only_if_cached, args.offline) {
        (true, _, _) => CacheMode::Reload,
        (_, true, _) => CacheMode::OnlyIfCached,
        (_, _, true) => CacheMode::Offline,
        _ => CacheMode::Default,
    };
    let concurrency = usize::from(args.concurrency);
    let batch = client
        .fetch_stream(urls(&args.urls))
        .concurrency(concurrency)
        .per_host(usize::from(args.per_host))
        .retry(args.retry)
        .streaming()
        .map_request(move |request| request.mode(mode));
    let report = std::cell::RefCell::new(report);
    let mut results = std::pin::pin!(
        batch
            .map(|fetched| {
                let destination = match &mut output_dir {
                    Some(dir) => Destination::File(dir.file(&fetched.url)),
                    None if args.json => Destination::Discard,
                    None => Destination::Stdout,
                };
                write(fetched, destination, &report)
            })
            .buffer_unordered(concurrency)
    );
    let mut all_succeeded = true;
    while let Some(success) = results.next().await {
        all_succeeded &= success;
    }
    all_succeeded
}

/// Writes one body to its destination and reports the fetch. Returns whether it succeeded.
async fn write(fetched: Fetched, destination: Destination, report: &std::cell::RefCell<&mut Report>) -> bool {
    let url = &*fetched.url;
    let copied = async {
        let mut response = fetched.result?;
        let bar = report.borrow().bar(url, response.content_length());
        let progress = |length| bar.iter().for_each(|bar| bar.set_position(length));
        let copied = copy(&mut response, &destination, progress).await;
        bar.iter().for_each(indicatif::ProgressBar::finish_and_clear);
        anyhow::Ok((copied?, response))
    };
    let copied = copied.await;
    let mut report = report.borrow_mut();
    match copied {
        Ok((length, response)) => {
            let file = if let Destination::File(path) = &destination { Some(path.as_path()) } else { None };
            report.completed(&CompletedFetch { url, response: &response, length, file })
        }
        Err(error) => {
            report.failed(url, &error);
            false
        }
    }
}

/// Returns the URLs of the command line, with those of standard input in place of `-`.
fn urls(arguments: &[String]) -> Urls {
    let arguments = futures_util::stream::iter(arguments.to_vec());
    Box::pin(arguments.flat_map(|url| match &*url {
        "-" => urls_from_stdin(),
        _ => Box::pin(futures_util::stream::iter([url])),
    }))
}

/// Reads URLs from standard input as they are needed. Skips empty lines and comments.
fn urls_from_stdin() -> Urls {
    let (sender, receiver) = tokio::sync::mpsc::channel(64);
    // On a separate thread: standard input may come slowly, and must not block the runtime.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let url = line.trim();
            let is_url = !url.is_empty() && !url.starts_with('#');
            if is_url && sender.blocking_send(url.to_owned()).is_err() {
                return;
            }
        }
    });
    Box::pin(futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|url| (url, receiver))
    }))
}
