//! Draws the SVG plots of the README.

use std::fs;

use plotters::prelude::*;

const FOLDER: &str = "benches/plots";
const SIZE: (u32, u32) = (760, 420);

/// A named line and its points.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// A plot with two logarithmic axes.
#[derive(Debug)]
pub(super) struct Plot<'a> {
    /// The file name without extension.
    pub(super) file: &'a str,
    pub(super) title: &'a str,
    pub(super) x: &'a str,
    pub(super) y: &'a str,
    pub(super) lines: Vec<Line>,
}

impl Plot<'_> {
    pub(super) fn write(&self) -> anyhow::Result<()> {
        fs::create_dir_all(FOLDER)?;
        let path = format!("{FOLDER}/{}.svg", self.file);
        self.draw(&path).map_err(|error| anyhow::anyhow!("{path}: {error}"))?;
        println!("written to {path}");
        Ok(())
    }

    fn draw(&self, path: &str) -> Result<(), Box<dyn std::error::Error + '_>> {
        let area = SVGBackend::new(path, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let points = || self.lines.iter().flat_map(|line| line.points.iter().copied());
        let ends = |of: fn((f64, f64)) -> f64| {
            let least = points().map(of).fold(f64::INFINITY, f64::min);
            least..points().map(of).fold(0.0, f64::max)
        };
        let (x, y) = (ends(|point| point.0), ends(|point| point.1));
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(70)
            .right_y_label_area_size(0)
            .build_cartesian_2d((x.start..x.end).log_scale(), (y.start * 0.7..y.end * 1.6).log_scale())?;
        let short = |number: &f64| short(*number);
        chart
            .configure_mesh()
            .x_desc(self.x)
            .y_desc(self.y)
            .x_label_formatter(&short)
            .y_label_formatter(&short)
            .light_line_style(RGBColor(236, 236, 236))
            .bold_line_style(RGBColor(214, 214, 214))
            .draw()?;
        for (index, line) in self.lines.iter().enumerate() {
            let ours = line.name.starts_with("larder");
            let colour = Palette99::pick(index);
            let style = ShapeStyle::from(&colour).stroke_width(if ours { 3 } else { 1 });
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), style).point_size(if ours {
                    4
                } else {
                    2
                }))?
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        }
        if self.lines.len() > 1 {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperLeft)
                .background_style(WHITE.mix(0.85))
                .border_style(RGBColor(214, 214, 214))
                .draw()?;
        }
        area.present()?;
        Ok(())
    }
}

/// Formats `10000000` as `10M`.
fn short(number: f64) -> String {
    for (unit, size) in [("G", 1e9), ("M", 1e6), ("k", 1e3)] {
        if number >= size {
            return format!("{}{unit}", round(number / size));
        }
    }
    round(number)
}

fn round(number: f64) -> String {
    if number >= 10.0 || number.fract() == 0.0 { format!("{number:.0}") } else { format!("{number:.1}") }
}

/// Reads the lines of a plot from a printed table: the first column against each of the named
/// `columns`.
pub(super) fn lines(table: &str, heading: &str, columns: &[(usize, &str)]) -> Vec<Line> {
    let rows = table.lines().skip_while(|line| !line.starts_with(heading)).skip(2);
    let rows: Vec<Vec<f64>> = rows
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().parse().unwrap_or(f64::NAN)).collect()
        })
        .collect();
    let line = |(column, name): &(usize, &str)| {
        let points = rows.iter().filter_map(|row| Some((*row.first()?, *row.get(*column)?)));
        let drawn = points.filter(|(x, y)| *x > 0.0 && *y > 0.0);
        Line { name: (*name).to_owned(), points: drawn.collect() }
    };
    columns.iter().map(line).collect()
}
