//! `larder get`: fetch URLs through a cache.

use std::{
    collections::HashSet,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use futures_util::StreamExt as _;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request,
    header::{CACHE_CONTROL, USER_AGENT},
};
use larder::{
    core::{Answer, Body, Cache, Rules, TargetUri},
    hyper::{HyperOptions, HyperOrigin},
};

use crate::spec::{self, UsageError};

/// Fetch URLs through a cache.
///
/// One URL's content goes to standard output, and a line that says how it was answered to standard error. What may be
/// kept is kept on disk, in your cache directory, for the next time.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  larder get https://example.com/
  larder get --output pages --header 'Accept-Language: de' https://example.com/ https://example.org/
  larder get --json https://example.com/ https://example.com/")]
pub(crate) struct Args {
    /// What to fetch.
    #[arg(required = true, value_name = "URL")]
    urls: Vec<String>,
    /// Where responses are kept: disk:PATH?max=10GiB, memory, redis://host. [default: disk, in your cache directory]
    #[arg(long, value_name = "SPEC")]
    store: Vec<String>,
    /// How many are fetched at once.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,
    /// Write each response's content to a file in this folder.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print a line of JSON for each URL instead of the content.
    #[arg(long)]
    json: bool,
    /// Ask the origin, whatever is stored.
    #[arg(long, conflicts_with = "only_if_cached")]
    reload: bool,
    /// Don't ask the origin: what is not stored fails.
    #[arg(long)]
    only_if_cached: bool,
    /// Send this field; may be given more than once.
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let fields = fields(args)?;
    let targets =
        args.urls.iter().map(|url| parse_target(url, "larder get")).collect::<Result<Vec<_>, _>>()?;
    if targets.len() > 1 && args.output.is_none() && !args.json {
        let hint = "several URLs need --output DIR for their contents, or --json for a line each";
        return Err(UsageError(hint.to_owned()).into());
    }
    spec::check(&args.store)?;
    let origin = Arc::new(HyperOrigin::new(HyperOptions::default())?);
    if let Some(folder) = &args.output {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("can't make the folder {}", folder.display()))?;
    }
    let all_answered = actix_rt::System::new().block_on(async {
        let cache = Cache::builder(spec::store_or_disk(&args.store).await?).rules(Rules::private()).build();
        let mut all_answered = true;
        let mut names = HashSet::new();
        let (cache, origin, fields) = (&cache, &origin, &fields);
        let fetching =
            targets.iter().map(|target| async move { (target, fetch(cache, origin, target, fields).await) });
        let mut answers = futures_util::stream::iter(fetching).buffered(usize::from(args.concurrency));
        while let Some((target, answer)) = answers.next().await {
            all_answered &= match answer {
                Ok(answer) => report(args, target, answer, &mut names).await?,
                Err(error) => {
                    failed(args, target, &error);
                    false
                }
            };
        }
        cache.drain(Duration::from_secs(5)).await;
        anyhow::Ok(all_answered)
    })?;
    Ok(if all_answered { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn fields(args: &Args) -> Result<HeaderMap, UsageError> {
    let mut fields = parse_fields(&args.header)?;
    if args.reload {
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    } else if args.only_if_cached {
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("only-if-cached"));
    }
    Ok(fields)
}

/// The fields that `--header` names, and who we are.
pub(crate) fn parse_fields(headers: &[String]) -> Result<HeaderMap, UsageError> {
    let mut fields = HeaderMap::new();
    fields.insert(USER_AGENT, HeaderValue::from_static(concat!("larder/", env!("CARGO_PKG_VERSION"))));
    for header in headers {
        let parsed = header.split_once(':').and_then(|(name, value)| {
            Some((name.trim().parse::<HeaderName>().ok()?, HeaderValue::from_str(value.trim()).ok()?))
        });
        let (name, value) = parsed.ok_or_else(|| {
            UsageError(format!("--header '{header}' is not a field; e.g. --header 'Accept-Language: de'"))
        })?;
        fields.append(name, value);
    }
    Ok(fields)
}

pub(crate) fn parse_target(url: &str, command: &str) -> Result<TargetUri, UsageError> {
    TargetUri::parse(url)
        .map_err(|error| UsageError(format!("{url}: {error}; e.g. {command} https://example.com/")))
}

async fn fetch(
    cache: &Cache,
    origin: &Arc<HyperOrigin>,
    target: &TargetUri,
    fields: &HeaderMap,
) -> anyhow::Result<Answer> {
    let mut request = Request::get(target.as_str()).body(Body::empty())?;
    *request.headers_mut() = fields.clone();
    Ok(cache.fetch(request, Arc::clone(origin) as _).await?)
}

/// Prints or writes an answer; says whether it counts as one.
async fn report(
    args: &Args,
    target: &TargetUri,
    mut answer: Answer,
    names: &mut HashSet<String>,
) -> anyhow::Result<bool> {
    let file = args.output.as_ref().map(|folder| folder.join(file_name(target, names)));
    let length = match copy(answer.take_body(), file.as_deref(), args.json).await {
        Ok(length) => length,
        Err(error) => {
            failed(args, target, &error);
            return Ok(false);
        }
    };
    let (status, how, age) =
        (answer.status().as_u16(), answer.cache_status().to_string(), answer.age_seconds());
    if args.json {
        let line = serde_json::json!({
            "url": target.as_str(), "status": status, "cache_status": how, "age": age, "bytes": length,
            "file": file.as_ref().map(|file| file.display().to_string()),
        });
        println!("{line}");
    } else {
        eprintln!("{status} {target} ({how}, {length} bytes)");
    }
    Ok(answer.status().is_success() || answer.status().is_redirection())
}

fn failed(args: &Args, target: &TargetUri, error: &anyhow::Error) {
    if args.json {
        println!("{}", serde_json::json!({ "url": target.as_str(), "error": format!("{error:#}") }));
    } else {
        eprintln!("larder: {target}: {error:#}");
    }
}

/// Moves the content, piece by piece. A file is there only when it is whole.
async fn copy(mut body: Body, file: Option<&Path>, discard: bool) -> anyhow::Result<u64> {
    let partial = file.map(|file| file.with_extension("part"));
    let mut out: Box<dyn std::io::Write> = match &partial {
        Some(partial) => {
            let created = std::fs::File::create(partial);
            Box::new(created.with_context(|| format!("can't write {}", partial.display()))?)
        }
        None if discard => Box::new(std::io::sink()),
        None => Box::new(std::io::stdout().lock()),
    };
    let mut length = 0;
    while let Some(piece) = body.next_piece().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                if let Some(partial) = &partial {
                    let _ = std::fs::remove_file(partial);
                }
                anyhow::bail!("the content broke off after {length} bytes: {error}");
            }
        };
        out.write_all(&piece).context("can't write the content")?;
        length += piece.len() as u64;
    }
    out.flush().context("can't write the content")?;
    if let (Some(partial), Some(file)) = (&partial, file) {
        std::fs::rename(partial, file).with_context(|| format!("can't write {}", file.display()))?;
    }
    Ok(length)
}

/// A name from the URL in which nothing can lead out of the folder, and no two URLs share one.
fn file_name(target: &TargetUri, taken: &mut HashSet<String>) -> String {
    let text = target.as_str().split_once("://").map_or(target.as_str(), |(_, rest)| rest);
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let name: String = text.trim_matches('/').chars().map(safe).take(120).collect();
    let name = name.trim_start_matches('.').to_owned();
    let mut unique = name.clone();
    let mut count = 2;
    while !taken.insert(unique.clone()) {
        unique = format!("{name}.{count}");
        count += 1;
    }
    unique
}
