//! `cargo xtask fuzz`: hostile bytes for everything that reads a disk.
//!
//! Builds the package `fuzz/` (its page tells what a target is and how to add one), runs its
//! targets one after the other and says one line about each. Coverage guides the mutation where
//! there is a C++ compiler, for libFuzzer is C++; elsewhere a plain mutator runs the same targets.
//!
//! Stable Rust can do all of that: the coverage pass is LLVM's and needs no unstable flag, so
//! neither a nightly compiler nor cargo-fuzz is needed. Only `--asan` opens the stable compiler's
//! back door (`RUSTC_BOOTSTRAP`).
//!
//! Everything lands under `target/fuzz/`:
//!
//! | folder | what |
//! |---|---|
//! | `corpus/TARGET/` | inputs that reached something new; the next run starts from them |
//! | `crashes/TARGET/` | inputs that failed |
//! | `logs/` | what the drivers said |

mod build;
mod log;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::house;
use build::Driver;
pub use log::Figures;

/// Word in place of a target: all of them, briefly.
const SMOKE: &str = "smoke";

const SMOKE_SECONDS: u64 = 3;
const SECONDS: u64 = 60;

/// The longest input worth trying; longer ones are slow and show nothing new.
const INPUT_BYTES_MAX: u64 = 8192;

/// An input that runs so long is a failure: all have next to nothing to do.
const HANG_SECONDS: u64 = 60;

/// What to fuzz, and how long.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Args {
    /// Targets by name; none means all. `smoke` means all for three seconds each, from the seeds
    /// and from the same random numbers each time.
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// How long for each target [default: 60].
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Processes at one target; they share their finds.
    #[arg(long, value_name = "J", default_value_t = 1)]
    jobs: u32,
    /// Run the one target on this file, once, instead of looking for new inputs.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Use the plain mutator even where libFuzzer can be had.
    #[arg(long)]
    plain: bool,
    /// Watch memory too, with AddressSanitizer; for `zstd`, whose decoder is C.
    #[arg(long, conflicts_with = "plain")]
    asan: bool,
    /// Say which targets there are, and end.
    #[arg(long)]
    list: bool,
}

impl Args {
    /// What CI runs.
    pub fn smoke() -> Self {
        Self { targets: vec![SMOKE.to_owned()], jobs: 1, ..Self::default() }
    }

    fn is_smoke(&self) -> bool {
        self.targets.iter().any(|target| target == SMOKE)
    }
}

/// Builds the targets and runs those asked for.
///
/// # Errors
/// When they cannot be built, when no target has a given name, or with the names of the targets
/// that failed.
pub fn run(args: &Args) -> Result<()> {
    let driver = build::driver(args.plain, args.asan)?;
    let all = driver.targets()?;
    if args.list {
        println!("{}", all.join("\n"));
        return Ok(());
    }
    let chosen = chosen(&args.targets, &all)?;
    if let Some(input) = &args.input {
        ensure!(chosen.len() == 1, "an input belongs to one target: cargo xtask fuzz TARGET …");
        return run_again(&driver, &chosen[0], input);
    }
    let mut failed = Vec::new();
    for target in &chosen {
        if !run_target(&driver, target, args)? {
            failed.push(target.as_str());
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// What CI checks: the package, which is no member of the workspace, by the workspace's rules, and
/// a smoke test.
///
/// # Errors
/// Whatever failed first.
pub fn check() -> Result<()> {
    let manifest = build::package_dir().join("Cargo.toml");
    let cargo = |args: &[&str], more: &[&str]| {
        let mut command = house::cargo(args);
        command.arg("--manifest-path").arg(&manifest).args(more);
        command.env("CARGO_TARGET_DIR", build::work_dir());
        house::run(command)
    };
    cargo(&["fmt"], &["--check"])?;
    cargo(
        &["clippy"],
        &["--quiet", "--all-targets", "--features", "seeds", "--", "-D", "warnings"],
    )?;
    cargo(&["test", "--release", "--quiet"], &[])?;
    run(&Args::smoke())
}

fn chosen(asked: &[String], all: &[String]) -> Result<Vec<String>> {
    if asked.is_empty() || asked.iter().any(|name| name == SMOKE) {
        return Ok(all.to_vec());
    }
    if let Some(unknown) = asked.iter().find(|name| !all.contains(name)) {
        bail!("no target {unknown:?}; targets are {}", all.join(", "));
    }
    Ok(asked.to_vec())
}

fn run_again(driver: &Driver, target: &str, input: &Path) -> Result<()> {
    let input = std::path::absolute(input)?;
    ensure!(input.is_file(), "there is no file {}", input.display());
    let mut command = driver.command(target);
    command.arg(input);
    house::run(command)
}

/// Where a run finds and leaves things.
struct Places {
    seeds: PathBuf,
    corpus: PathBuf,
    crashes: PathBuf,
    logs: PathBuf,
}

impl Places {
    /// A smoke test starts from nothing but the seeds.
    fn make(target: &str, smoke: bool) -> Result<Self> {
        let work = build::work_dir();
        let corpus = work.join(if smoke { "smoke" } else { "corpus" }).join(target);
        if smoke && corpus.exists() {
            fs::remove_dir_all(&corpus).with_context(|| corpus.display().to_string())?;
        }
        let places = Self {
            seeds: build::package_dir().join("seeds").join(target),
            corpus,
            crashes: work.join("crashes").join(target),
            logs: work.join("logs"),
        };
        for folder in [&places.corpus, &places.crashes, &places.logs] {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        ensure!(places.seeds.is_dir(), "{target} has no seeds in {}", places.seeds.display());
        Ok(places)
    }
}

/// Runs one target and says a line about it; true if nothing failed.
fn run_target(driver: &Driver, target: &str, args: &Args) -> Result<bool> {
    let smoke = args.is_smoke();
    let seconds = args.seconds.unwrap_or(if smoke { SMOKE_SECONDS } else { SECONDS });
    let places = Places::make(target, smoke)?;
    let mut running = Vec::new();
    for job in 1..=args.jobs.max(1) {
        let log = places.logs.join(format!("{target}-{job}.log"));
        let file = File::create(&log).with_context(|| log.display().to_string())?;
        let mut command = driver.command(target);
        options(&mut command, &places, seconds);
        if smoke || driver.is_plain() {
            command.arg(format!("-seed={job}"));
        }
        command.stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        running.push((child, log));
    }
    let mut figures = Figures::default();
    let mut failed_logs = Vec::new();
    for (mut child, path) in running {
        let ended_well = child.wait()?.success();
        let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        let passed = ended_well && !log::was_interrupted(&text);
        figures.add(&Figures::read(&text));
        if !passed {
            failed_logs.push((path, text));
        }
    }
    let verdict = if failed_logs.is_empty() { "ok" } else { "FAILED" };
    println!("{target:<14} {figures}  {verdict}");
    for (log, text) in &failed_logs {
        explain(target, args, log, text);
    }
    Ok(failed_logs.is_empty())
}

fn options(command: &mut Command, places: &Places, seconds: u64) {
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-timeout={HANG_SECONDS}"))
        .arg(format!("-artifact_prefix={}/", places.crashes.display()))
        .args(["-print_final_stats=1", "-reload=1"]);
    command.arg(&places.corpus).arg(&places.seeds);
}

/// What failed, and how to run it again.
fn explain(target: &str, args: &Args, log: &Path, text: &str) {
    println!("{}", log::reason(text));
    println!("  log:       {}", log.display());
    if let Some(input) = log::failed_input(text) {
        let asan = if args.asan { " --asan" } else { "" };
        println!("  input:     {input}");
        println!("  run again: cargo xtask fuzz {target}{asan} --input {input}");
    }
}
