//! A few kills: `cargo xtask crash` does a hundred.

use std::process::Command;

/// Runs so many rounds, and returns what was told.
fn kill(rounds: u64, layout: &str) -> String {
    let rounds = rounds.to_string();
    let args = ["crash", "--rounds", rounds.as_str(), "--layout", layout];
    let crash = Command::new(env!("CARGO_BIN_EXE_xtask")).args(args).output().unwrap();
    let told = String::from_utf8_lossy(&crash.stdout).into_owned();
    assert!(crash.status.success(), "{told}{}", String::from_utf8_lossy(&crash.stderr));
    assert!(told.starts_with(&format!("{rounds} kills of 1 pools")), "{told}");
    told
}

#[test]
fn a_killed_writer_loses_nothing_it_recorded() {
    kill(4, "file");
}

#[test]
fn what_a_killed_writer_recorded_is_on_every_leaf() {
    for layout in ["mirror", "mixed"] {
        let told = kill(3, layout);
        assert!(!told.contains("(0 of them on each leaf"), "{told}");
    }
}
