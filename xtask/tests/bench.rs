//! The bench runs: every row, on next to nothing, in every test run, so that
//! it cannot rot. No figure means anything here.

use std::collections::BTreeSet;

use indicatif::ProgressBar;
use serde_json::Value;
use xtask::bench::{NAMES, Plan, Report, measure};

fn smoke(only: &[&str]) -> Report {
    let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
    measure(&Plan::SMOKE, &only, None, &ProgressBar::hidden()).unwrap()
}

fn number(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_else(|| panic!("no {key} in {row}"))
}

#[test]
fn every_row_runs_and_the_reports_hold_it() {
    let report = smoke(&[]);
    let json: Value = serde_json::to_value(&report).unwrap();
    let machine = &json["machine"];
    assert!(
        machine["cpu"].is_string()
            && machine["kernel"].is_string()
            && number(machine, "cpus") >= 1.0
    );
    assert!(machine["target"]["direct"].is_boolean());
    let ring = machine["target"]["io_uring"] == true;

    let rows = json["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(names, *NAMES);
    for row in rows {
        let name = row["name"].as_str().unwrap_or_default();
        assert!(number(row, "ours") > 0.0, "{row}");
        for key in ["cpu_us_per_op", "ctx_switches_per_op", "allocs_per_op"] {
            assert!(number(row, key) >= 0.0, "{row}");
        }
        let on_disk = ["read-8k-qd", "mirror-", "write-"].iter().any(|row| name.starts_with(row));
        // A scrub's blocks are not timed one by one.
        if (on_disk || name == "scrub-seq") && !ring {
            assert!(row.get("baseline").is_none() && row.get("ratio").is_none(), "{row}");
            continue;
        }
        let quotient = number(row, "ours") / number(row, "baseline");
        let less_is_better = ["ns/op", "p50 µs", "p99 µs"].map(|unit| row["unit"] == unit);
        let better = if less_is_better.contains(&true) { 1.0 / quotient } else { quotient };
        assert!((number(row, "ratio") / better - 1.0).abs() < 1e-9, "{row}");
        assert_eq!(row.get("difference_ns").is_some(), row["unit"] == "ns/op", "{row}");
        assert_eq!(row.get("p50_us").is_some(), row.get("p99_us").is_some(), "{row}");
        if on_disk {
            assert!(number(row, "p50_us") <= number(row, "p99_us"), "{row}");
        }
    }

    let (text, html) = (report.to_text(), report.to_html());
    assert_eq!(text.lines().count(), NAMES.len() + 1);
    for name in NAMES.iter().copied() {
        assert!(text.contains(name) && html.contains(name), "{name}");
    }
    // A well-formed page: whatever is opened is closed.
    for tag in ["svg", "table", "tr", "p", "style", "text"] {
        let count = |pattern: &str| html.matches(pattern).count();
        let opened = count(&format!("<{tag} ")) + count(&format!("<{tag}>"));
        assert_eq!(opened, count(&format!("</{tag}>")), "{tag}");
    }
    assert!(!html.contains("NaN") && !html.contains("inf"));
}

#[test]
fn only_what_was_asked_for_runs() {
    let report = smoke(&["queue-push-pop", "checksum-fletcher4-128k"]);
    let names: BTreeSet<&str> = report.rows.iter().map(|row| row.name).collect();
    assert_eq!(names, BTreeSet::from(["checksum-fletcher4-128k", "queue-push-pop"]));
    assert!(report.machine.target.is_none(), "no row wanted a file");
}

#[test]
fn an_unknown_row_is_an_error_that_lists_the_known_ones() {
    let only = ["read-9k".to_owned()];
    let error = measure(&Plan::SMOKE, &only, None, &ProgressBar::hidden()).unwrap_err();
    let words = error.to_string();
    assert!(words.contains("read-9k") && words.contains("read-8k-qd32"), "{words}");
}
