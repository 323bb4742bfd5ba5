//! What `cargo xtask fuzz` reads out of logs, and what it builds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use xtask::fuzz::Figures;

#[test]
fn a_clean_run_ends_with_its_sums() {
    let log = "INFO: Seed: 1\n\
               #61\tINITED cov: 131 ft: 163 corp: 9/1161b exec/s: 0 rss: 28Mb\n\
               #471442\tDONE   cov: 251 ft: 340 corp: 83/5555b lim: 3998 exec/s: 117860 rss: 28Mb\n\
               stat::number_of_executed_units: 471443\n";
    assert_eq!(Figures::read(log), Figures { executions: 471_443, coverage: Some(251) });
}

#[test]
fn a_crash_ends_with_the_last_find() {
    let log = "#8\tINITED cov: 100 ft: 1 corp: 1/1b\n#4096\tNEW    cov: 120 ft: 2 corp: 2/2b\n\
               thread panicked at src/lib.rs\n";
    assert_eq!(Figures::read(log), Figures { executions: 4096, coverage: Some(120) });
}

#[test]
fn the_plain_driver_sees_no_coverage() {
    let figures = Figures::read("stat::number_of_executed_units: 42\n");
    assert_eq!(figures, Figures { executions: 42, coverage: None });
    assert_eq!(Figures::read(""), Figures::default());
}

#[test]
fn processes_at_one_target_share_coverage_but_not_inputs() {
    let mut sum = Figures { executions: 10, coverage: Some(7) };
    sum.add(&Figures { executions: 5, coverage: Some(9) });
    sum.add(&Figures { executions: 1, coverage: None });
    assert_eq!(sum, Figures { executions: 16, coverage: Some(9) });
    assert_eq!(sum.to_string(), "         16 inputs       9 branches");
}

/// Package names and their versions in a lock file.
fn locked(path: &str) -> BTreeMap<String, Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join(path)).unwrap();
    let mut packages: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in text.split("[[package]]").skip(1) {
        let field = |key: &str| {
            let mark = format!("{key} = \"");
            let line = package.lines().find_map(|line| line.strip_prefix(&mark)).unwrap();
            line.trim_end_matches('"').to_owned()
        };
        packages.entry(field("name")).or_default().push(field("version"));
    }
    packages
}

/// `fuzz/` has a lock file of its own. What it fuzzes should be what the house ships.
#[test]
fn the_fuzzed_versions_are_the_shipped_ones() {
    let (shipped, fuzzed) = (locked("Cargo.lock"), locked("fuzz/Cargo.lock"));
    let mut shared = 0;
    for (name, versions) in &fuzzed {
        let Some(ours) = shipped.get(name) else { continue };
        shared += 1;
        let strange: Vec<_> = versions.iter().filter(|version| !ours.contains(version)).collect();
        assert!(
            strange.is_empty(),
            "{name} is fuzzed as {strange:?} and shipped as {ours:?}: copy Cargo.lock to fuzz/ and \
             run `cargo metadata --manifest-path fuzz/Cargo.toml >/dev/null`"
        );
    }
    assert!(shared > 20, "only {shared} packages are in both lock files");
}
