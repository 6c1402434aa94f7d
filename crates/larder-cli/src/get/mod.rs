//! `larder get`: fetches URLs through a cache and writes their bodies.
//!
//! `urls` reads the URLs, `request_args` has the options of requests. `output` decides where a body
//! goes, `report` prints what happened.

mod request_args;
mod urls;

use std::{cell::RefCell, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use futures_util::StreamExt as _;
use larder::{
    cassette::{Cassette, CassetteOptions},
    client::{CachedClient, Download, HostPause, Retry},
    core::CacheMode,
};

use crate::{
    client_args::{ClientArgs, runtime},
    console::{OutputError, note},
    humanize::{self, parse_duration},
    interrupt::{end_by_interrupt, until_interrupted},
    output::{Destination, OutputOptions, copy, create_directory},
    report::{CompletedFetch, Report, Verbosity},
    store_url::UsageError,
    url_argument::parse_argument,
};
use request_args::{RequestArgs, RequestPlan};
use urls::{Placement, UrlList};

/// Fetch URLs through a cache on disk.
///
/// The content of a single URL goes to standard output, and a line with its status and cache status
/// to standard error. Several URLs need --output, -O or --json. Up to 10 redirects are followed.
/// All `larder get` and `larder watch` commands of a user share the cache. The short options are
/// those of curl.
///
/// A URL without a scheme is http. Spaces and characters of any language need no encoding.
///
/// Files appear under their names when they are complete. An unchanged file is not touched, and a
/// response with an error status (400 or above) replaces no file.
///
/// Exit code: 0 if every URL was answered with a status of 2xx or 3xx, 1 if one was not, 2 if an
/// argument is invalid. Ctrl-C ends the command by the signal, which a shell reports as 130.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  # Print one page; the second time it comes from the cache.
  larder get https://example.com/

  # Write two pages to files in the directory `pages`.
  larder get --output pages https://example.com/ \\
    https://example.org/

  # Read URLs from a file; retry each up to five times.
  larder get --output pages --retry 5 - < urls.txt

  # Download a file, and continue if the connection breaks.
  larder get -O --retry 10 https://example.com/long.iso

  # At most two requests a second to each server.
  larder get --output pages --rate 2/s - < urls.txt

  # Headers, a user, and the headers of the response.
  larder get -i -H 'Accept: application/json' -u me:secret \\
    https://example.com/api

  # Which responses would come from the cache? Nothing is sent.
  larder get --json --only-if-cached - < urls.txt

  # Print a line of JSON per URL, with status and outcome.
  larder get --json https://example.com/ \\
    https://example.org/

  # Cache in memory and a Redis server that others share.
  larder get --store memory --store redis://cache:6379/0 \\
    https://example.com/")]
pub(crate) struct Args {
    /// URLs to fetch, each once; `-` reads URLs from standard input, one per line.
    ///
    /// Without a scheme, http is assumed, as in curl. Empty lines and lines that begin with # are
    /// skipped.
    #[arg(required = true, value_name = "URL")]
    urls: Vec<String>,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    request: RequestArgs,
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
    /// retry, up to 30 s. A Retry-After header lengthens the pause. A body that breaks off is
    /// continued, if the server supports it.
    #[arg(long, value_name = "N", default_value_t = 2)]
    retry: u32,
    /// Longest pause that a server can request with Retry-After.
    ///
    /// If a server requests a longer one, or with --retry 0, its other URLs are not sent any more
    /// and fail, unless they are in the cache.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    max_retry_after: Duration,
    /// Write the content of each URL to a file in this directory, which is created if needed.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["output_file", "remote_name"])]
    output: Option<PathBuf>,
    /// Write the content to this file; `-` is standard output. The second -o is for the second URL.
    #[arg(short, long, value_name = "FILE", conflicts_with = "remote_name")]
    output_file: Vec<PathBuf>,
    /// Write the content of each URL to a file in the current directory, with the name at the end
    /// of the URL.
    #[arg(short = 'O', long)]
    remote_name: bool,
    /// Set the time of each file to the Last-Modified of its response.
    #[arg(short = 'R', long)]
    remote_time: bool,
    /// Write the status line and headers before the content.
    #[arg(short, long)]
    include: bool,
    /// Print neither progress nor errors.
    #[arg(short, long)]
    silent: bool,
    /// With --silent: print errors.
    #[arg(short = 'S', long)]
    show_error: bool,
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

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let from_stdin = args.urls.iter().any(|url| url == "-");
    for url in args.urls.iter().filter(|url| *url != "-") {
        parse_argument(url, "larder get")?;
    }
    let placement = args.placement(from_stdin)?;
    args.client.check()?;
    let plan = args.request.plan(args.client.header_lines())?;
    if let Some(directory) = &args.output {
        create_directory(directory)?;
    }
    let total = (!from_stdin).then_some(args.urls.len() as u64);
    let verbosity = match (args.silent, args.show_error) {
        (false, _) => Verbosity::All,
        (true, true) => Verbosity::Errors,
        (true, false) => Verbosity::Nothing,
    };
    let mut report = Report::new(total, args.json, verbosity);
    // A transfer that is interrupted is not waited for.
    let options = CassetteOptions::default().with_drain_timeout(Duration::ZERO);
    let har = args.har.is_some().then(|| Cassette::recorder(options));
    let all_succeeded = runtime()?.block_on(async {
        let mut builder = args.client.builder().await?;
        if let Some(har) = &har {
            builder = builder.map_origin(har.wrap());
        }
        let client = builder.build()?;
        let urls = UrlList::new(placement);
        let fetched = until_interrupted(fetch(args, &client, &plan, &urls, &mut report)).await;
        // Responses that are still being written to the store get five seconds, or until the next
        // Ctrl-C.
        until_interrupted(client.cache().drain(Duration::from_secs(5))).await;
        anyhow::Ok(fetched.transpose()?)
    })?;
    report.finish(all_succeeded.is_none());
    if let (Some(har), Some(path)) = (har, &args.har) {
        std::fs::write(path, har.export_har()).with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(match all_succeeded {
        Some(true) => ExitCode::SUCCESS,
        Some(false) => ExitCode::from(1),
        None => end_by_interrupt(),
    })
}

impl Args {
    /// Returns where the content of each URL goes.
    fn placement(&self, from_stdin: bool) -> Result<Placement, UsageError> {
        let wrong = |hint: &str| Err(UsageError(hint.to_owned()));
        if let Some(directory) = &self.output {
            return Ok(Placement::Directory(directory.clone()));
        }
        if self.remote_name {
            return Ok(Placement::RemoteNames);
        }
        if !self.output_file.is_empty() {
            if from_stdin || self.output_file.len() != self.urls.len() {
                return wrong("each URL needs its own -o FILE; --output DIR names a directory for all");
            }
            let destination = |path: &PathBuf| match path.to_str() {
                Some("-") => Destination::Stdout,
                _ => Destination::File(path.clone()),
            };
            return Ok(Placement::Listed(self.output_file.iter().map(destination).collect()));
        }
        if self.json {
            return Ok(Placement::All(Destination::Discard));
        }
        if self.urls.len() > 1 || from_stdin {
            return wrong(
                "several URLs need --output DIR or -O, which write each to a file, or --json, which prints a line for each",
            );
        }
        Ok(Placement::All(Destination::Stdout))
    }

    /// Returns how the cache is used.
    fn mode(&self) -> CacheMode {
        match (self.reload, self.only_if_cached, self.offline) {
            (true, _, _) => CacheMode::Reload,
            (_, true, _) => CacheMode::OnlyIfCached,
            (_, _, true) => CacheMode::Offline,
            _ => CacheMode::Default,
        }
    }

    /// Returns how responses are written.
    fn output_options(&self) -> OutputOptions {
        OutputOptions { headers: self.include || self.request.head, remote_time: self.remote_time }
    }
}

/// Fetches all URLs. Returns whether every one of them succeeded.
async fn fetch(
    args: &Args,
    client: &CachedClient,
    plan: &RequestPlan,
    urls: &UrlList,
    report: &mut Report,
) -> Result<bool, OutputError> {
    let (mode, concurrency) = (args.mode(), usize::from(args.concurrency));
    let retry = Retry::new(args.retry).with_max_retry_after(args.max_retry_after);
    let client_args = args.client.clone();
    let applied = plan.clone();
    let quiet = args.silent;
    let batch = client
        .fetch_stream(urls.stream(&args.urls, move |url| client_args.without_overridden_user(url)))
        .concurrency(concurrency)
        .per_host(usize::from(args.per_host))
        .method(plan.method.clone())
        .retry(retry)
        .on_pause(move |pause| {
            if !quiet {
                note!("{}", describe(pause))
            }
        })
        .streaming()
        .map_request(move |request| applied.apply(request.mode(mode)));
    let report = RefCell::new(report);
    let mut results = std::pin::pin!(
        batch
            .map(|fetched| {
                let request = client.request(plan.method.clone(), &*fetched.url);
                let request = plan.apply(request.mode(mode));
                let left = args.retry.saturating_sub(fetched.attempts.saturating_sub(1));
                let download = fetched
                    .result
                    .map(|response| Download::new(Some(request), response, retry.with_max_retries(left)));
                write(urls.take(&fetched.url), download, args.output_options(), &report)
            })
            .buffer_unordered(concurrency)
    );
    let mut all_succeeded = true;
    loop {
        let success = results.next().await;
        for (input, error) in urls.take_invalid() {
            report.borrow_mut().failed(&input, &error.into())?;
            all_succeeded = false;
        }
        match success {
            Some(success) => all_succeeded &= success?,
            None => return Ok(all_succeeded),
        }
    }
}

/// Writes one body to its destination and reports the fetch. Returns whether it succeeded.
async fn write(
    job: urls::Job,
    download: Result<Download, larder::client::Error>,
    options: OutputOptions,
    report: &RefCell<&mut Report>,
) -> Result<bool, OutputError> {
    let copied = async {
        let mut download = download?;
        let bar = report.borrow().bar(&job.input, download.response().content_length());
        let progress = |length| bar.iter().for_each(|bar| bar.set_position(length));
        let copied = copy(&mut download, &job.destination, options, progress).await;
        bar.iter().for_each(indicatif::ProgressBar::finish_and_clear);
        anyhow::Ok((copied?, download))
    };
    let copied = copied.await;
    let mut report = report.borrow_mut();
    match copied {
        Ok((copied, download)) => {
            let file = match &job.destination {
                Destination::File(path) if copied.file.is_some() => Some(path.as_path()),
                _ => None,
            };
            let (response, length) = (download.response(), copied.length);
            report.completed(&CompletedFetch { url: &job.input, response, length, file })
        }
        // Nothing more can be printed.
        Err(error) => match error.downcast::<OutputError>() {
            Ok(error) => Err(error),
            Err(error) => report.failed(&job.input, &error).map(|()| false),
        },
    }
}

/// Describes the pause of a host.
fn describe(HostPause { host, status, pause, is_waiting, .. }: &HostPause) -> String {
    let (status, pause) = (status.as_u16(), humanize::duration(pause.as_secs()));
    match is_waiting {
        true => format!("larder: {host} answered {status}: waiting {pause} before the next request to it"),
        false => format!("larder: {host} answered {status}: nothing more is sent to it for {pause}"),
    }
}
