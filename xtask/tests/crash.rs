//! A few kills: `cargo xtask crash` does a hundred.

use std::process::Command;

#[test]
fn a_killed_writer_loses_nothing_it_recorded() {
    let crash = Command::new(env!("CARGO_BIN_EXE_xtask")).args(["crash", "--rounds", "8"]).output();
    let crash = crash.unwrap();
    let told = String::from_utf8_lossy(&crash.stdout);
    assert!(crash.status.success(), "{told}{}", String::from_utf8_lossy(&crash.stderr));
    assert!(told.starts_with("8 kills"), "{told}");
}
