//! The report as one HTML file without anything to load: charts in SVG, the
//! table, the machine.

use std::fmt::Write as _;

use super::report::{Report, Row};
use super::table::{self, HEAD};

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#1d2329;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}
th,td{padding:.2rem .6rem;border-bottom:1px solid #d7dce1;white-space:nowrap}
th{text-align:left;font-weight:600}td.n,th.n{text-align:right}
svg{max-width:100%;height:auto}svg text{font:13px system-ui,sans-serif;fill:currentColor}
.ours{fill:#2a78b8}.base{fill:#b9c1c9}.axis{stroke:#aab2ba}.one{stroke:#c0392b;stroke-dasharray:4 3}
.whisker{stroke:#10324d;stroke-width:1.5}
@media(prefers-color-scheme:dark){body{color:#dfe4e9;background:#14181c}th,td{border-color:#333b43}
.base{fill:#5b6670}.whisker{stroke:#cfe4f5}}
";

/// Left of the bars: the names.
const NAMES_WIDTH: f64 = 190.0;
/// The longest bar.
const BARS_WIDTH: f64 = 520.0;
/// Right of the bars: the figures.
const FIGURES_WIDTH: f64 = 150.0;
const LINE_HEIGHT: f64 = 26.0;
const TOP: f64 = 24.0;

/// The page.
pub(super) fn page(report: &Report) -> String {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n");
    let _ = write!(
        out,
        "<meta name=\"viewport\" content=\"width=device-width\">\n<title>zio bench</title>\n\
         <style>\n{STYLE}</style>\n<h1>zio bench</h1>\n"
    );
    machine(&mut out, report);
    out.push_str(
        "<h2>Ours over the baseline</h2>\n<p>Right of 1 ours is better. The line across a bar's \
         end spans the middle half of the rounds.</p>\n",
    );
    ratios(&mut out, &report.rows);
    out.push_str(
        "<h2>CPU per operation, µs</h2>\n<p>The whole process, user and system: ours above, \
         the baseline below.</p>\n",
    );
    for rows in alike(&report.rows) {
        cpu(&mut out, &rows);
    }
    rows_table(&mut out, &report.rows);
    out.push_str("</html>\n");
    out
}

fn machine(out: &mut String, report: &Report) {
    let machine = &report.machine;
    let memory = machine.memory_bytes.map(|bytes| format!(", {} GiB", bytes >> 30));
    let _ = writeln!(
        out,
        "<p>{}, {} CPUs{}. {}. {} build, fletcher4 by {}.",
        escaped(&machine.cpu),
        machine.cpus,
        memory.unwrap_or_default(),
        escaped(&machine.kernel),
        machine.profile,
        machine.fletcher4_kernel,
    );
    if let Some(target) = &machine.target {
        let _ = writeln!(
            out,
            "<br>{} ({}), {} MiB, {}, {}.",
            escaped(&target.place),
            escaped(&target.kind),
            target.size_bytes >> 20,
            if target.direct { "direct I/O" } else { "through the page cache" },
            if target.io_uring { "io_uring" } else { "no io_uring" },
        );
    }
    out.push_str("</p>\n");
}

fn open_svg(out: &mut String, lines: usize, label: &str) -> f64 {
    let height = TOP + LINE_HEIGHT * lines as f64 + 6.0;
    let width = NAMES_WIDTH + BARS_WIDTH + FIGURES_WIDTH;
    let _ = writeln!(
        out,
        "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" role=\"img\" aria-label=\"{label}\">"
    );
    height
}

/// Bars from 1 to the left or right, on a scale where twice and half are equally far.
fn ratios(out: &mut String, rows: &[Row]) {
    let rows: Vec<(&Row, f64)> = rows.iter().filter_map(|row| Some((row, row.ratio?))).collect();
    let ends = |(row, ratio): &(&Row, f64)| {
        (row.ratio_low.unwrap_or(*ratio).min(*ratio), row.ratio_high.unwrap_or(*ratio).max(*ratio))
    };
    let low = rows.iter().map(|row| ends(row).0).fold(0.5, f64::min).log2().floor();
    let high = rows.iter().map(|row| ends(row).1).fold(2.0, f64::max).log2().ceil();
    let x = |value: f64| NAMES_WIDTH + (value.log2() - low) / (high - low) * BARS_WIDTH;
    let height = open_svg(out, rows.len(), "ratio of each row");
    for power in low as i32..=high as i32 {
        let (at, class) = (x(f64::from(power).exp2()), if power == 0 { "one" } else { "axis" });
        let _ = writeln!(
            out,
            "<text x=\"{at:.1}\" y=\"14\" text-anchor=\"middle\">{}</text>\
             <line class=\"{class}\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"18\" y2=\"{height}\"/>",
            f64::from(power).exp2()
        );
    }
    for (index, (row, ratio)) in rows.into_iter().enumerate() {
        let y = TOP + LINE_HEIGHT * index as f64;
        let thickness = LINE_HEIGHT - 8.0;
        name(out, row.name, y);
        bar(out, (x(ratio), x(1.0)), y, thickness, "ours");
        let (low, high) = ends(&(row, ratio));
        let (from, to, middle) = (x(low), x(high), y + thickness / 2.0);
        let _ = writeln!(
            out,
            "<line class=\"whisker\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{ratio:.2}</text>",
            to.max(x(1.0)) + 8.0,
            y + 14.0
        );
    }
    out.push_str("</svg>\n");
}

/// Rows whose CPU figures fit one scale: within a factor of twenty, longest first.
fn alike(rows: &[Row]) -> Vec<Vec<&Row>> {
    let longest = |row: &Row| row.cpu_us_per_op.max(row.baseline_cpu_us_per_op.unwrap_or(0.0));
    let mut sorted: Vec<&Row> = rows.iter().collect();
    sorted.sort_by(|a, b| longest(b).total_cmp(&longest(a)));
    let mut groups: Vec<Vec<&Row>> = Vec::new();
    for row in sorted {
        match groups.last_mut() {
            Some(group) if longest(row) * 20.0 >= longest(group[0]) => group.push(row),
            _ => groups.push(vec![row]),
        }
    }
    groups
}

fn cpu(out: &mut String, rows: &[&Row]) {
    let figures = |row: &Row| [Some(row.cpu_us_per_op), row.baseline_cpu_us_per_op];
    let end = rows.iter().flat_map(|row| figures(row)).flatten().fold(f64::MIN_POSITIVE, f64::max);
    let x = |value: f64| NAMES_WIDTH + value / end * BARS_WIDTH;
    open_svg(out, rows.len(), "CPU per operation");
    for (index, row) in rows.iter().enumerate() {
        let y = TOP + LINE_HEIGHT * index as f64;
        let half = (LINE_HEIGHT - 6.0) / 2.0;
        name(out, row.name, y);
        bar(out, (x(0.0), x(row.cpu_us_per_op)), y, half, "ours");
        let [ours, baseline] = figures(row).map(|value| value.unwrap_or(0.0));
        if baseline > 0.0 {
            bar(out, (x(0.0), x(baseline)), y + half, half, "base");
        }
        let at = x(ours.max(baseline)) + 8.0;
        let _ = writeln!(
            out,
            "<text x=\"{at:.1}\" y=\"{:.1}\">{ours:.2} / {baseline:.2}</text>",
            y + 14.0
        );
    }
    out.push_str("</svg>\n");
}

/// The name of a line, left of its bar.
fn name(out: &mut String, name: &str, y: f64) {
    let (x, y) = (NAMES_WIDTH - 8.0, y + 14.0);
    let name = escaped(name);
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{name}</text>");
}

/// A bar between two places, in either order.
fn bar(out: &mut String, (a, b): (f64, f64), y: f64, height: f64, class: &str) {
    let (x, width) = (a.min(b), (a - b).abs().max(1.0));
    let _ = writeln!(
        out,
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
    );
}

fn rows_table(out: &mut String, rows: &[Row]) {
    out.push_str("<h2>All figures</h2>\n<div class=\"wide\"><table>\n<tr>");
    let class = |column| if table::is_text(column) { "" } else { " class=\"n\"" };
    for (column, head) in HEAD.into_iter().enumerate() {
        let _ = write!(out, "<th{}>{head}</th>", class(column));
    }
    out.push_str("</tr>\n");
    for row in rows {
        out.push_str("<tr>");
        for (column, cell) in table::cells(row).into_iter().enumerate() {
            let _ = write!(out, "<td{}>{}</td>", class(column), escaped(&cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div>\n");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
