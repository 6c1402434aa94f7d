//! `larder get`: fetch URLs through a cache.

use std::{io::BufRead as _, path::PathBuf, pin::Pin, process::ExitCode, time::Duration};

use futures_util::{Stream, StreamExt as _};
use larder::{
    client::{CachedClient, Fetched},
    core::CacheMode,
};

use crate::{
    client_args::{Fetching, parse_target, runtime, until_interrupted},
    output::{Folder, Place, copy},
    report::{Answered, Report},
    store_url::UsageError,
};

/// Fetch URLs through a cache.
///
/// One URL's content goes to standard output, and a line that says how it was answered to standard error. Redirects are
/// followed. What may be kept is kept on disk, in your cache directory, for the next time.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  larder get https://example.com/
  larder get --output pages --header 'Accept-Language: de' https://example.com/ https://example.org/
  larder get --json https://example.com/ https://example.org/
  larder get --output pages - < urls.txt")]
pub(crate) struct Args {
    /// What to fetch, each once; `-` reads a list from standard input, one a line.
    #[arg(required = true, value_name = "URL")]
    urls: Vec<String>,
    #[command(flatten)]
    fetching: Fetching,
    /// How many are fetched at once.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,
    /// How many of them from one host.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=1024))]
    per_host: u16,
    /// How often a request is tried again that failed and may not fail again. `Retry-After` is kept to.
    #[arg(long, value_name = "N", default_value_t = 2)]
    retry: u32,
    /// Write each response's content to a file in this folder.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print a line of JSON for each URL instead of the content.
    #[arg(long)]
    json: bool,
    /// Ask the origin, whatever is stored. What is unchanged is not sent again.
    #[arg(long, conflicts_with_all = ["only_if_cached", "offline"])]
    reload: bool,
    /// Don't ask the origin: what is not stored and fresh fails.
    #[arg(long, conflicts_with = "offline")]
    only_if_cached: bool,
    /// Don't ask the origin: what is stored will do, however stale.
    #[arg(long)]
    offline: bool,
}

type Urls = Pin<Box<dyn Stream<Item = String> + Send>>;

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let from_stdin = args.urls.iter().any(|url| url == "-");
    for url in args.urls.iter().filter(|url| *url != "-") {
        parse_target(url, "larder get")?;
    }
    if (args.urls.len() > 1 || from_stdin) && args.output.is_none() && !args.json {
        let hint = "several URLs need --output DIR for their contents, or --json for a line each";
        return Err(UsageError(hint.to_owned()).into());
    }
    args.fetching.check()?;
    let folder = args.output.as_deref().map(Folder::open).transpose()?;
    let total = (!from_stdin).then_some(args.urls.len() as u64);
    let mut report = Report::new(total, args.json);
    let done = runtime()?.block_on(async {
        let client = args.fetching.client().await?;
        let done = until_interrupted(fetch(args, &client, folder, &mut report)).await;
        // What has begun to be stored is not given up for the last of them.
        client.cache().drain(Duration::from_secs(5)).await;
        anyhow::Ok(done)
    })?;
    report.finish(done.is_none());
    Ok(if done == Some(true) { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Whether all were answered.
async fn fetch(args: &Args, client: &CachedClient, mut folder: Option<Folder>, report: &mut Report) -> bool {
    let mode = match (args.reload, args.only_if_cached, args.offline) {
        (true, _, _) => CacheMode::Reload,
        (_, true, _) => CacheMode::OnlyIfCached,
        (_, _, true) => CacheMode::Offline,
        _ => CacheMode::Default,
    };
    let at_once = usize::from(args.concurrency);
    let batch = client
        .fetch_all_of(urls(&args.urls))
        .concurrency(at_once)
        .per_host(usize::from(args.per_host))
        .retry(args.retry)
        .streaming()
        .each(move |request| request.mode(mode));
    let report = std::cell::RefCell::new(report);
    let mut writing = std::pin::pin!(
        batch
            .map(|fetched| {
                let place = match &mut folder {
                    Some(folder) => Place::File(folder.file(&fetched.url)),
                    None if args.json => Place::Nowhere,
                    None => Place::Stdout,
                };
                write(fetched, place, &report)
            })
            .buffer_unordered(at_once)
    );
    let mut all = true;
    while let Some(fine) = writing.next().await {
        all &= fine;
    }
    all
}

/// Moves one content to its place and tells of it; whether it counts as an answer.
async fn write(fetched: Fetched, place: Place, report: &std::cell::RefCell<&mut Report>) -> bool {
    let url = &*fetched.url;
    let copied = async {
        let mut response = fetched.result?;
        let bar = report.borrow().bar(url, response.content_length());
        let moved = |length| bar.iter().for_each(|bar| bar.set_position(length));
        let copied = copy(&mut response, &place, moved).await;
        bar.iter().for_each(indicatif::ProgressBar::finish_and_clear);
        anyhow::Ok((copied?, response))
    };
    let copied = copied.await;
    let mut report = report.borrow_mut();
    match copied {
        Ok((length, response)) => {
            let file = if let Place::File(path) = &place { Some(path.as_path()) } else { None };
            report.answered(&Answered { url, response: &response, length, file })
        }
        Err(error) => {
            report.failed(url, &error);
            false
        }
    }
}

/// The URLs, in place of `-` those of standard input.
fn urls(named: &[String]) -> Urls {
    let named = futures_util::stream::iter(named.to_vec());
    Box::pin(named.flat_map(|url| match &*url {
        "-" => lines(),
        _ => Box::pin(futures_util::stream::iter([url])),
    }))
}

/// The lines of standard input that say something, read as they are wanted.
fn lines() -> Urls {
    let (sender, receiver) = tokio::sync::mpsc::channel(64);
    // A thread of its own: nothing else waits for whoever writes the list.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let url = line.trim();
            let says_something = !url.is_empty() && !url.starts_with('#');
            if says_something && sender.blocking_send(url.to_owned()).is_err() {
                return;
            }
        }
    });
    Box::pin(futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|url| (url, receiver))
    }))
}
