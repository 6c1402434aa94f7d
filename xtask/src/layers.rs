//! `cargo xtask layers`: checks that dependencies between crates only point to a lower floor.
//!
//! The floors are defined here only. A crate on no floor fails the check, so that adding a crate
//! means choosing its floor. Development dependencies may point up, but carry no version: cargo
//! drops those when it publishes a crate, so that no cycle blocks a release.

use cargo_metadata::{DependencyKind, MetadataCommand};

const FLOORS: &[&[&str]] = &[
    &["larder-policy"],
    &["larder-core"],
    &["larder-cassette", "larder-compress"],
    &[
        "larder-disk",
        "larder-memory",
        "larder-redis",
        "larder-tiered",
        "larder-metrics",
        "larder-origin",
        "larder-actix",
        "larder-tower",
        "larder-memoize",
        "larder-testkit",
    ],
    &["larder-proxy", "larder-reqwest"],
    &["larder"],
    &["larder-cli", "xtask", "larder-attack-apps", "larder-counts", "larder-examples", "larder-peers"],
];

pub(crate) fn run() -> anyhow::Result<()> {
    let workspace = MetadataCommand::new().no_deps().exec()?;
    let floor = |name: &str| FLOORS.iter().position(|floor| floor.contains(&name));
    let mut wrong = Vec::new();
    for package in workspace.workspace_packages() {
        let Some(here) = floor(&package.name) else {
            wrong.push(format!("{} is on no floor: add it to FLOORS in {}", package.name, file!()));
            continue;
        };
        for dependency in &package.dependencies {
            let Some(there) = floor(&dependency.name) else { continue };
            if dependency.kind == DependencyKind::Development {
                if dependency.req != cargo_metadata::semver::VersionReq::STAR {
                    let (package, name) = (&package.name, &dependency.name);
                    wrong.push(format!(
                        "{package}: give the development dependency on {name} a path and no version"
                    ));
                }
            } else if there >= here {
                let (package, name) = (&package.name, &dependency.name);
                wrong.push(format!("{package} (floor {here}) depends on {name} (floor {there})"));
            }
        }
    }
    anyhow::ensure!(wrong.is_empty(), "dependencies that do not point down:\n  {}", wrong.join("\n  "));
    println!("layers: every dependency points down");
    Ok(())
}
