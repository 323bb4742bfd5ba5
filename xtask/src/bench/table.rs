//! The report as a table for the terminal; its cells also fill the HTML page.

use std::fmt::Write as _;

use super::report::{Report, Row};

pub(super) const HEAD: [&str; 13] = [
    "row",
    "unit",
    "ours",
    "baseline",
    "ratio",
    "quartiles",
    "CPU µs/op",
    "baseline",
    "cs/op",
    "allocs/op",
    "p50 µs",
    "p99 µs",
    "against",
];

/// Columns that hold words; the others hold figures and stand to the right.
pub(super) fn is_text(column: usize) -> bool {
    matches!(column, 0 | 1 | 12)
}

/// A row's cells, one for each of [`HEAD`].
pub(super) fn cells(row: &Row) -> [String; 13] {
    let maybe = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), figure);
    let quartiles = match (row.ratio_low, row.ratio_high) {
        (Some(low), Some(high)) => format!("{low:.2}–{high:.2}"),
        _ => "–".to_owned(),
    };
    let against = match row.difference_ns {
        Some(ns) => format!("{} ({ns:+.0} ns)", row.baseline_name),
        None => row.baseline_name.to_owned(),
    };
    [
        row.name.to_owned(),
        row.unit.to_owned(),
        figure(row.ours),
        maybe(row.baseline),
        row.ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}")),
        quartiles,
        figure(row.cpu_us_per_op),
        maybe(row.baseline_cpu_us_per_op),
        rare(row.ctx_switches_per_op),
        rare(row.allocs_per_op),
        maybe(row.p50_us),
        maybe(row.p99_us),
        against,
    ]
}

/// Three digits that count, thousands marked.
fn figure(value: f64) -> String {
    match value.abs() {
        v if v < 9.995 => format!("{value:.2}"),
        v if v < 99.95 => format!("{value:.1}"),
        v => format!("{}{}", if value < 0.0 { "-" } else { "" }, thousands(v.round() as u64)),
    }
}

fn thousands(n: u64) -> String {
    if n < 1000 { n.to_string() } else { format!("{},{:03}", thousands(n / 1000), n % 1000) }
}

/// A count per operation that should be 0: nothing else is shown as 0.
fn rare(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        v if v < 0.001 => "<0.001".to_owned(),
        v if v < 1.0 => format!("{v:.3}"),
        v => figure(v),
    }
}

/// The table.
pub(super) fn text(report: &Report) -> String {
    let rows: Vec<[String; 13]> = report.rows.iter().map(cells).collect();
    let mut out = String::new();
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|column| {
            let width = |cell: &str| cell.chars().count();
            rows.iter().map(|row| width(&row[column])).max().unwrap_or(0).max(width(HEAD[column]))
        })
        .collect();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (column, (cell, width)) in cells.zip(&widths).enumerate() {
            let _ = match is_text(column) {
                true => write!(text, "{cell:<width$}  "),
                false => write!(text, "{cell:>width$}  "),
            };
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(&mut HEAD.into_iter());
    for row in &rows {
        line(&mut row.iter().map(String::as_str));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_three_digits_and_mark_thousands() {
        let shown = [0.0341, 5.678, 23.45, 99.96, 123.4, 60_123.4, 1_234_567.0, -1234.0];
        let expected = ["0.03", "5.68", "23.4", "100", "123", "60,123", "1,234,567", "-1,234"];
        assert_eq!(shown.map(figure), expected);
    }

    #[test]
    fn only_nothing_is_shown_as_nothing() {
        assert_eq!([0.0, 0.0002, 0.03, 2.0].map(rare), ["0", "<0.001", "0.030", "2.00"]);
    }
}
