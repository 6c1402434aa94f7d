//! `larder watch`: fetches pages on a schedule, prints changes and runs a command for them.

use std::{collections::HashSet, process::ExitCode, time::Duration};

use anyhow::Context as _;
use futures_util::StreamExt as _;
use http::HeaderValue;
use larder::client::{RefreshEvent, RefreshOutcome, Schedule, Validators};

use crate::{
    client_args::{ClientArgs, runtime},
    console::{OutputError, note, out},
    humanize::{duration, parse_duration},
    interrupt::{end_by_interrupt, until_interrupted},
    store_url::UsageError,
    url_argument::{parse_argument, without_password},
};

/// Fetch pages on a schedule, and print what has changed.
///
/// A page has changed if its content has, whatever its ETag or Last-Modified are. Pages are
/// revalidated with these: unchanged content is not transferred again. The first fetch is compared
/// with the stored response. If several commands watch the same page with the same store, one of
/// them fetches it for all, once in each round.
///
/// After each failure in a row the pause until the next fetch doubles, up to an hour. While a
/// server requests a pause with Retry-After, nothing is sent to it. A page that is gone (410) is
/// not watched any more. Ctrl-C ends the command by the signal, which a shell reports as 130.
///
/// Exit code: with --once, 0 if every fetch succeeded, and 1 if one failed. Without it, 1 if all
/// pages are gone. 2 if an argument is invalid.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  # Fetch every 5 seconds.
  larder watch https://example.com/news --every 5s

  # At 9 o'clock on weekdays; run a command after a change.
  larder watch https://example.com/report \\
    --cron '0 9 * * MON-FRI' --exec 'notify-send changed'

  # Many pages, each just before it goes stale.
  xargs larder watch < urls.txt

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
    /// cannot be stored, or is fresh for less than a second, is fetched every minute, and no page
    /// more than once a second. The shortest interval that can be set is 100ms.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "cron")]
    every: Option<Duration>,
    /// Cron expression for the times of the fetches, in local time: minute, hour, day, month,
    /// weekday.
    #[arg(long, value_name = "EXPR")]
    cron: Option<String>,
    /// Delay each fetch by a random time of up to this duration.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    jitter: Duration,
    /// Longest pause that a server can request with Retry-After. Longer ones are cut to it.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    max_retry_after: Duration,
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
    let schedule = if args.once { Schedule::every_unless_fresh(Duration::from_secs(3600)) } else { schedule };
    runtime()?.block_on(async {
        let client = args.client.client().await?;
        let (refresher, mut events) = client
            .refresher()
            .jitter(args.jitter)
            .max_retry_after(args.max_retry_after)
            // The events are printed; their bodies are not.
            .max_body(0)
            .start();
        for url in &urls {
            refresher.add(url.clone(), schedule.clone())?;
        }
        let mut failed = false;
        let mut left = urls.clone();
        let watching = async {
            while let Some(event) = events.next().await {
                failed |= matches!(
                    event.outcome,
                    RefreshOutcome::Failed(_)
                        | RefreshOutcome::ErrorStatus(_)
                        | RefreshOutcome::Gone
                        | RefreshOutcome::Blocked
                );
                if args.once && !left.contains(&event.url) {
                    // A page that was blocked is tried again after the pause.
                    continue;
                }
                print_event(args, &event)?;
                if let (Some(exec), RefreshOutcome::Changed { before: Some(_), .. }) = (&exec, &event.outcome)
                {
                    execute(exec, event.url.as_str()).await;
                }
                let is_last = match event.outcome {
                    // Another event of the same run follows.
                    RefreshOutcome::Moved(_) => false,
                    RefreshOutcome::Gone => true,
                    _ => args.once,
                };
                if is_last && left.remove(&event.url) && left.is_empty() {
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
            None => Ok(end_by_interrupt()),
            Some(result) => {
                result?;
                Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
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
fn print_event(args: &Args, event: &RefreshEvent) -> Result<(), OutputError> {
    let now = jiff::Zoned::now();
    let url = without_password(event.url.as_str());
    if args.json {
        return out!("{}", event_json(event, &url, now.timestamp()));
    }
    let time = now.strftime("%F %T");
    match &event.outcome {
        RefreshOutcome::Unchanged if args.once => out!("{time} unchanged {url}"),
        RefreshOutcome::Unchanged => Ok(()),
        RefreshOutcome::Changed { before: None, .. } => out!("{time} first seen {url}"),
        RefreshOutcome::Changed { before: Some(before), now } => {
            out!("{time} changed {url}{}", describe_change(before, now))
        }
        RefreshOutcome::Moved(to) => out!("{time} moved {url} -> {}", without_password(to.as_str())),
        RefreshOutcome::Gone => out!("{time} gone {url} (it is not watched any more)"),
        RefreshOutcome::Failed(error) => {
            note!("{time} failed {error}");
            Ok(())
        }
        outcome => {
            note!("{time} {outcome} {url}{}", describe_pause(event));
            Ok(())
        }
    }
}

/// Describes the pause that a server has requested.
fn describe_pause(event: &RefreshEvent) -> String {
    let Some(pause) = event.retry_after else { return String::new() };
    format!(" (its server requested a pause: next in {})", duration(pause.as_secs()))
}

/// Converts an event to JSON.
fn event_json(event: &RefreshEvent, url: &str, now: jiff::Timestamp) -> serde_json::Value {
    let mut line = serde_json::json!({
        "time": now.to_string(), "url": url, "what": event.outcome.name(), "reason": event.reason.name(),
    });
    match &event.outcome {
        RefreshOutcome::Changed { before, now } => {
            line["before"] = before.as_ref().map_or(serde_json::Value::Null, validators_json);
            line["now"] = validators_json(now);
        }
        RefreshOutcome::Moved(to) => line["to"] = without_password(to.as_str()).into(),
        RefreshOutcome::ErrorStatus(status) => line["status"] = status.as_u16().into(),
        RefreshOutcome::Failed(error) => line["error"] = error.to_string().into(),
        _ => {}
    }
    if let Some(pause) = event.retry_after {
        line["retry_after"] = pause.as_secs().into();
    }
    let next = event.next.filter(|_| !matches!(event.outcome, RefreshOutcome::Gone));
    let next = next.and_then(|next| jiff::Timestamp::try_from(next).ok());
    line["next"] = next.map(|next| next.to_string()).into();
    line
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
