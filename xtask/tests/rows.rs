//! `docs/rows.md` names the test of each row; every test it names exists.

use std::path::Path;

fn house() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// What stands between backquotes and looks like a test.
fn named_tests(page: &str) -> Vec<(&str, &str)> {
    let quoted = page.split('`').skip(1).step_by(2);
    quoted.filter_map(|name| name.split_once(".rs::")).collect()
}

/// Is there a test, or a property, of this name in the file?
fn is_there(source: &str, name: &str) -> bool {
    let is_start = |line: &str| line.trim_start().starts_with("#[test]");
    let declares = |line: &str| line.trim_start().starts_with(&format!("fn {name}("));
    let lines: Vec<&str> = source.lines().collect();
    (0..lines.len()).any(|at| {
        declares(lines[at]) && lines[at.saturating_sub(4)..at].iter().any(|line| is_start(line))
    })
}

#[test]
fn every_test_that_is_named_exists() {
    let page = std::fs::read_to_string(house().join("docs/rows.md")).unwrap();
    let named = named_tests(&page);
    assert!(named.len() > 100, "{} tests are named", named.len());
    let missing: Vec<_> = named
        .iter()
        .filter(|(file, name)| {
            let source = std::fs::read_to_string(house().join(format!("{file}.rs")));
            // A module within the file comes before the name.
            let name = name.rsplit("::").next().unwrap_or(name);
            !source.is_ok_and(|source| is_there(&source, name))
        })
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}

#[test]
fn a_test_that_is_gone_is_noticed() {
    let source = "#[test]\nfn here() {}\nfn helper() {}\n";
    assert!(is_there(source, "here"));
    assert!(!is_there(source, "gone") && !is_there("\n\n\n\nfn helper() {}", "helper"));
    assert_eq!(named_tests("| A1 | `a/tests/b.rs::c` `plain` |"), [("a/tests/b", "c")]);
}
