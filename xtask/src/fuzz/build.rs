//! Building the drivers.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::house;

/// What cargo-fuzz passes for a build without sanitizer, all of it known to the stable compiler.
const COVERAGE_FLAGS: [&str; 8] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-sanitizer-coverage-stack-depth",
    // Branches folded into one are branches the fuzzer cannot tell apart.
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "--cfg=fuzzing",
];

/// The same for C, understood by gcc and clang; `fuzz/c/branches.c` turns it into counters.
const C_COVERAGE_FLAGS: &str = "-fsanitize-coverage=trace-pc,trace-cmp";

/// AddressSanitizer for C. It does not see into zstd's assembly, which therefore stays out. gcc 12
/// puts a constant array of zstd's encoder into read-only data and still marks it as a dead stack
/// variable when its block ends, so that kind of report is off.
const C_ASAN_FLAGS: &str = "-fsanitize=address -fno-sanitize-address-use-after-scope \
                            -fno-omit-frame-pointer -DZSTD_DISABLE_ASM";

/// The package with the targets.
pub(super) fn package_dir() -> PathBuf {
    house::root().join("fuzz")
}

/// Where drivers are built and run.
pub(super) fn work_dir() -> PathBuf {
    house::target_dir().join("fuzz")
}

/// A built driver.
#[derive(Debug)]
pub(super) struct Driver {
    binary: PathBuf,
    plain: bool,
}

impl Driver {
    pub(super) fn is_plain(&self) -> bool {
        self.plain
    }

    /// The names of all targets: a driver that is told none says them.
    pub(super) fn targets(&self) -> Result<Vec<String>> {
        let names = house::output_of(Command::new(&self.binary))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// The driver at one target; options are to follow.
    pub(super) fn command(&self, target: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.env("FUZZ_TARGET", target);
        command
    }
}

/// Builds libFuzzer around the targets, or the plain mutator if asked to or if there is no C++.
pub(super) fn driver(plain: bool, asan: bool) -> Result<Driver> {
    if plain {
        return build_plain();
    }
    if !compiles_cpp() {
        ensure!(!asan, "AddressSanitizer comes with libFuzzer, which needs a C++ compiler");
        println!(
            "No C++ compiler ($CXX or c++) with its standard library: libFuzzer cannot be built.\n\
             A plain mutator runs instead. It sees no coverage, and finds less."
        );
        return build_plain();
    }
    build_libfuzzer(asan)
}

/// A build of one of the package's binaries.
fn cargo_build(binary: &str) -> Command {
    let mut command = house::cargo(["build", "--release", "--quiet", "--bin", binary]);
    command.arg("--manifest-path").arg(package_dir().join("Cargo.toml"));
    command.env("CARGO_TARGET_DIR", work_dir());
    command
}

fn build_plain() -> Result<Driver> {
    house::run(cargo_build("plain"))?;
    Ok(Driver { binary: work_dir().join("release/plain"), plain: true })
}

fn build_libfuzzer(asan: bool) -> Result<Driver> {
    let host = host()?;
    let target_dir = if asan { work_dir().join("asan") } else { work_dir() };
    let mut flags = COVERAGE_FLAGS.map(str::to_owned).to_vec();
    let mut c_flags = C_COVERAGE_FLAGS.to_owned();
    let mut command = cargo_build("libfuzzer");
    // With a target named, flags do not reach build scripts.
    command.args(["--features", "libfuzzer", "--target", &host]);
    command.env("CARGO_TARGET_DIR", &target_dir);
    if asan {
        flags.push("-Zsanitizer=address".to_owned());
        c_flags = format!("{c_flags} {C_ASAN_FLAGS}");
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    command.env(format!("CFLAGS_{}", host.replace('-', "_")), c_flags);
    house::run(command)?;
    Ok(Driver { binary: target_dir.join(&host).join("release/libfuzzer"), plain: false })
}

/// The triple of the machine this runs on, as the compiler calls it.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command.arg("-vV");
    let version = house::output_of(command)?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// Is there a C++ compiler that finds its standard library?
fn compiles_cpp() -> bool {
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| OsString::from("c++"));
    let Ok(mut child) = Command::new(compiler)
        .args(["-x", "c++", "-std=c++17", "-fsyntax-only", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
    else {
        return false;
    };
    let written = child.stdin.take().is_some_and(|mut stdin| {
        stdin.write_all(b"#include <atomic>\n#include <vector>\nint main() { return 0; }\n").is_ok()
    });
    child.wait().is_ok_and(|status| status.success()) && written
}
