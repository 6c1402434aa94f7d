//! The criterion benchmarks of the stores, and the plot of their hits.

use super::{
    criterion::{self, Found},
    plots::{Line, Plot},
};

pub(super) fn run() -> anyhow::Result<String> {
    criterion::bench(&["stores"], &["--noplot"])?;
    let found = criterion::found("store/")?;
    plot(&found)?;
    Ok(criterion::table(&found))
}

fn plot(found: &[Found]) -> anyhow::Result<()> {
    let sizes = [("1KiB", 1024.0), ("64KiB", 65_536.0), ("1MiB", 1_048_576.0)];
    let mut lines: Vec<Line> = Vec::new();
    for (size, bytes) in sizes {
        for one in found.iter().filter(|one| one.group == format!("store/hit/{size}/1")) {
            let point = (bytes, one.nanos / 1e3);
            match lines.iter_mut().find(|line| line.name == one.name) {
                Some(line) => line.points.push(point),
                None => lines.push(Line { name: one.name.clone(), points: vec![point] }),
            }
        }
    }
    lines.sort_by_key(|line| !line.name.starts_with("larder"));
    let plot =
        Plot { file: "store-hits", title: "A hit, read to its end", x: "bytes of the body", y: "µs", lines };
    plot.write()
}
