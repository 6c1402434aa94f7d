//! `larder watch`: fetches pages on a schedule, prints changes and runs a command for them.

use std::{collections::HashSet, process::ExitCode, time::Duration};

use anyhow::Context as _;
use futures_util::StreamExt as _;
use http::HeaderValue;
use larder::client::{RefreshEvent, RefreshOutcome, Schedule, Validators};

use crate::{
    client_args::{ClientArgs, runtime},
    console::{OutputError, note, out},
    humanize::parse_duration,
    interrupt::{end_by_interrupt, until_interrupted},
    store_url::UsageError,
    url_argument::{parse_argument, without_password},
};

/// Fetch pages on a schedule, and print what has changed.
///
/// A page has changed if its content has. Pages are revalidated with their ETag or Last-Modified:
/// unchanged content is not transferred again. The first fetch is compared with the stored
/// response. If several commands watch the same page with the same store, one of them fetches it
/// for all.
///
/// After each failure in a row the pause until the next fetch doubles, up to an hour. A Retry-After
/// header lengthens it. Ctrl-C ends the command.
///
/// Exit code: 0 after Ctrl-C. With --once, 0 if every fetch succeeded, and 1 if one failed. 2 if an
/// argument is invalid.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  # Fetch every 5 seconds.
  larder watch https://example.com/news --every 5s

  # At 9 o'clock on weekdays; run a command after a change.
  larder watch https://example.com/report \\
    --cron '0 9 * * MON-FRI' --exec 'notify-send changed'

  # Compare with the stored page now, and print JSON.
  larder watch https://example.com/ --once --json")]
pub(crate) struct Args {
    /// Pages to watch.
    #[arg(required = true, value_name = "URL")]
    urls: Vec<String>,
    #[command(flatten)]
    client: ClientArgs,
    /// Time between two fetches of a page, e.g. 5s, 10m, 1h [default: just before the page goes
    /// stale].
    ///
    /// By default, a page is fetched one second before its stored response goes stale. A page that
    /// cannot be stored, or is fresh for less than a second, is fetched every minute. The shortest
    /// interval is 100ms.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "cron")]
    every: Option<Duration>,
    /// Cron expression for the times of the fetches, in local time: minute, hour, day, month,
    /// weekday.
    #[arg(long, value_name = "EXPR")]
    cron: Option<String>,
    /// Delay each fetch by a random time of up to this duration.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    jitter: Duration,
    /// Command to run when a page has changed, with the URL as its last argument.
    ///
    /// The command does not run in a shell. The URL is also in the environment variable LARDER_URL.
    /// The first version of a page is not a change: if the page was not stored before, its first
    /// fetch does not run the command.
    #[arg(long, value_name = "CMD")]
    exec: Option<String>,
    /// Check each page once, and exit.
    ///
    /// A stored response that is fresh and less than an hour old counts as unchanged, and is not
    /// fetched.
    #[arg(long)]
    once: bool,
    /// Print one line of JSON per fetch, even if nothing has changed.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let urls = args.urls.iter().map(|url| parse_argument(url, "larder watch"));
    let urls: HashSet<_> =
        urls.map(|url| Ok(args.client.without_overridden_user(url?))).collect::<Result<_, UsageError>>()?;
    args.client.check()?;
    let schedule = match (&args.cron, args.every) {
        (Some(expression), _) => {
            Schedule::cron(expression).map_err(|error| UsageError(format!("--cron: {error}")))?
        }
        (None, Some(interval)) => Schedule::every(interval),
        (None, None) => Schedule::before_stale(Duration::from_secs(1)),
    };
    let exec = args.exec.as_deref().map(parse_command).transpose()?;
    // A schedule with an interval makes the first fetch at once. With --once there is no second
    // one.
    let schedule = if args.once { Schedule::every(Duration::from_secs(3600)) } else { schedule };
    runtime()?.block_on(async {
        let client = args.client.client().await?;
        let (refresher, mut events) = client.refresher().jitter(args.jitter).start();
        for url in &urls {
            refresher.add(url.clone(), schedule.clone())?;
        }
        let mut failed = false;
        let mut remaining = urls.len();
        let watching = async {
            while let Some(event) = events.next().await {
                failed |= matches!(event.outcome, RefreshOutcome::Failed(_) | RefreshOutcome::ErrorStatus(_));
                print_event(args, &event)?;
                if let (Some(exec), RefreshOutcome::Changed { before: Some(_), .. }) = (&exec, &event.outcome)
                {
                    execute(exec, event.url.as_str()).await;
                }
                remaining = remaining.saturating_sub(1);
                if args.once && remaining == 0 {
                    break;
                }
            }
            Ok::<_, OutputError>(())
        };
        let watched = until_interrupted(watching).await;
        let ending = async {
            // A run in progress may take as long as its server likes.
            if matches!(watched, Some(Ok(()))) {
                refresher.stop().await;
            }
            client.cache().drain(Duration::from_secs(5)).await;
        };
        until_interrupted(ending).await;
        match watched {
            // Without --once, this is how the command ends.
            None if args.once => Ok(end_by_interrupt()),
            None => Ok(ExitCode::SUCCESS),
            Some(result) => {
                result?;
                Ok(if args.once && failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
            }
        }
    })
}

/// Splits the value of `--exec` into program and arguments, as a shell does.
fn parse_command(text: &str) -> Result<Vec<String>, UsageError> {
    let words = shell_words::split(text).ok().filter(|words| !words.is_empty());
    words.ok_or_else(|| {
        UsageError(format!("--exec '{text}' is not a command; e.g. --exec 'notify-send \"page changed\"'"))
    })
}

/// Runs the command of `--exec` to its end. Events that arrive in the meantime wait.
async fn execute(command: &[String], url: &str) {
    let [program, arguments @ ..] = command else { return };
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).arg(url).env("LARDER_URL", url).kill_on_drop(true);
    let result = command.status().await.with_context(|| format!("can't run {program}"));
    match result {
        Ok(status) if status.success() => {}
        Ok(status) => note!("larder: --exec: {program} failed: {status}"),
        Err(error) => note!("larder: --exec: {error:#}"),
    }
}

/// Prints the result of one fetch: changes to standard output, failures to standard error.
fn print_event(args: &Args, RefreshEvent { url, outcome, .. }: &RefreshEvent) -> Result<(), OutputError> {
    let shown = without_password(url.as_str());
    let now = jiff::Zoned::now();
    if args.json {
        let mut line =
            serde_json::json!({ "time": now.timestamp().to_string(), "url": shown, "what": outcome.name() });
        match outcome {
            RefreshOutcome::Changed { before, now } => {
                line["before"] = before.as_ref().map_or(serde_json::Value::Null, validators_json);
                line["now"] = validators_json(now);
            }
            RefreshOutcome::ErrorStatus(status) => line["status"] = status.as_u16().into(),
            RefreshOutcome::Failed(error) => line["error"] = error.to_string().into(),
            _ => {}
        }
        return out!("{line}");
    }
    let time = now.strftime("%F %T");
    match outcome {
        RefreshOutcome::Unchanged if args.once => out!("{time} unchanged {shown}"),
        RefreshOutcome::Unchanged => Ok(()),
        RefreshOutcome::Changed { before: None, .. } => out!("{time} first seen {shown}"),
        RefreshOutcome::Changed { before: Some(before), now } => {
            out!("{time} changed {shown}{}", describe_change(before, now))
        }
        RefreshOutcome::Failed(error) => {
            note!("{time} failed {error}");
            Ok(())
        }
        outcome => {
            note!("{time} {outcome} {shown}");
            Ok(())
        }
    }
}

/// Converts validators to JSON.
fn validators_json(validators: &Validators) -> serde_json::Value {
    let text =
        |value: &Option<HeaderValue>| value.as_ref().map(|value| value.to_str().unwrap_or("?").to_owned());
    serde_json::json!({ "etag": text(&validators.etag), "last_modified": text(&validators.last_modified) })
}

/// Formats the first validator that differs, as ` (before -> now)`.
fn describe_change(before: &Validators, now: &Validators) -> String {
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
