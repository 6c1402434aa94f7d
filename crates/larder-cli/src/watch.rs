//! `larder watch`: fetch pages again on time, and say what changed.

use std::{collections::HashSet, process::ExitCode, time::Duration};

use anyhow::Context as _;
use futures_util::StreamExt as _;
use http::HeaderValue;
use larder::client::{RefreshEvent, RefreshOutcome, Schedule, Validators};

use crate::{
    client_args::{Fetching, parse_target, runtime, until_interrupted},
    store_url::UsageError,
};

/// Fetch pages again on time, and say what changed and when.
///
/// What is unchanged is asked about and not sent again, and what is stored from last time counts as seen. Several that watch
/// the same pages with one store ask once between them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  larder watch https://example.com/news --every 5s
  larder watch https://example.com/report --cron '0 9 * * MON-FRI' --exec 'notify-send changed'
  larder watch https://example.com/ --once --json")]
pub(crate) struct Args {
    /// What to watch.
    #[arg(required = true, value_name = "URL")]
    urls: Vec<String>,
    #[command(flatten)]
    fetching: Fetching,
    /// The interval, e.g. 5s, 10m, 1h. [default: as the pages go stale]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "cron")]
    every: Option<Duration>,
    /// A cron expression, in local time: minute, hour, day, month, weekday.
    #[arg(long, value_name = "EXPR")]
    cron: Option<String>,
    /// Begin each run up to so much later, by chance.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    jitter: Duration,
    /// Run this when a page has changed, with its URL as the last argument. Not through a shell.
    #[arg(long, value_name = "CMD")]
    exec: Option<String>,
    /// Look at each page once, and end.
    #[arg(long)]
    once: bool,
    /// Print each run as a line of JSON, also those that found nothing new.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    for url in &args.urls {
        parse_target(url, "larder watch")?;
    }
    args.fetching.check()?;
    let when = match (&args.cron, args.every) {
        (Some(expression), _) => {
            Schedule::cron(expression).map_err(|error| UsageError(format!("--cron: {error}")))?
        }
        (None, Some(interval)) => Schedule::every(interval),
        (None, None) => Schedule::before_stale(Duration::from_secs(1)),
    };
    let exec = args.exec.as_deref().map(command).transpose()?;
    // The first look is at once, whatever comes then.
    let when = if args.once { Schedule::every(Duration::from_secs(3600)) } else { when };
    runtime()?.block_on(async {
        let client = args.fetching.client().await?;
        let settings = client.refresher().jitter(args.jitter);
        let (refresher, mut events) = settings.start();
        let urls: HashSet<_> = args.urls.iter().collect();
        for url in &urls {
            refresher.add(url.as_str(), when.clone())?;
        }
        let mut failed = false;
        let mut left = urls.len();
        let watching = async {
            while let Some(event) = events.next().await {
                failed |= matches!(event.outcome, RefreshOutcome::Failed(_) | RefreshOutcome::ErrorStatus(_));
                tell(args, &event);
                if let (Some(exec), RefreshOutcome::Changed { before: Some(_), .. }) = (&exec, &event.outcome)
                {
                    execute(exec, event.url.as_str()).await;
                }
                left = left.saturating_sub(1);
                if args.once && left == 0 {
                    break;
                }
            }
        };
        until_interrupted(watching).await;
        refresher.stop().await;
        client.cache().drain(Duration::from_secs(5)).await;
        Ok(if args.once && failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
    })
}

/// Program and arguments.
fn command(text: &str) -> Result<Vec<String>, UsageError> {
    let words = shell_words::split(text).ok().filter(|words| !words.is_empty());
    words.ok_or_else(|| {
        UsageError(format!("--exec '{text}' is no command; e.g. --exec 'notify-send \"it has changed\"'"))
    })
}

/// Runs it to its end: what comes meanwhile waits.
async fn execute(command: &[String], url: &str) {
    let [program, arguments @ ..] = command else { return };
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).arg(url).env("LARDER_URL", url).kill_on_drop(true);
    let result = command.status().await.with_context(|| format!("can't run {program}"));
    match result {
        Ok(status) if status.success() => {}
        Ok(status) => eprintln!("larder: {program}: {status}"),
        Err(error) => eprintln!("larder: --exec: {error:#}"),
    }
}

fn tell(args: &Args, RefreshEvent { url, outcome: what, .. }: &RefreshEvent) {
    let now = jiff::Zoned::now();
    if args.json {
        let mut line = serde_json::json!({ "time": now.timestamp().to_string(), "url": url.as_str(), "what": what.name() });
        match what {
            RefreshOutcome::Changed { before, now } => {
                line["before"] = before.as_ref().map_or(serde_json::Value::Null, validators);
                line["now"] = validators(now);
            }
            RefreshOutcome::ErrorStatus(status) => line["status"] = status.as_u16().into(),
            RefreshOutcome::Failed(error) => line["error"] = error.to_string().into(),
            _ => {}
        }
        println!("{line}");
        return;
    }
    let time = now.strftime("%F %T");
    match what {
        RefreshOutcome::Unchanged if args.once => println!("{time} unchanged {url}"),
        RefreshOutcome::Unchanged => {}
        RefreshOutcome::Changed { before: None, .. } => println!("{time} first seen {url}"),
        RefreshOutcome::Changed { before: Some(before), now } => {
            println!("{time} changed {url}{}", step(before, now));
        }
        RefreshOutcome::Failed(error) => eprintln!("{time} failed {error}"),
        what => eprintln!("{time} {what} {url}"),
    }
}

fn validators(validators: &Validators) -> serde_json::Value {
    let text =
        |value: &Option<HeaderValue>| value.as_ref().map(|value| value.to_str().unwrap_or("?").to_owned());
    serde_json::json!({ "etag": text(&validators.etag), "last_modified": text(&validators.last_modified) })
}

/// From what to what.
fn step(before: &Validators, now: &Validators) -> String {
    let text =
        |value: &Option<HeaderValue>| value.as_ref().and_then(|value| value.to_str().ok().map(str::to_owned));
    let pairs =
        [(text(&before.etag), text(&now.etag)), (text(&before.last_modified), text(&now.last_modified))];
    let changed = pairs.into_iter().find(|(before, now)| before != now);
    match changed {
        Some((Some(before), Some(now))) => format!(" ({before} -> {now})"),
        Some((None, Some(now))) => format!(" ({now})"),
        _ => String::new(),
    }
}
