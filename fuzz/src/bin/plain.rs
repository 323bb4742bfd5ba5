//! The plain driver: mutates seeds, guided by nothing.
//!
//! It speaks the part of libFuzzer's command line that `cargo xtask fuzz` uses:
//! `-max_total_time=SECONDS`, `-seed=NUMBER`, `-artifact_prefix=FOLDER/`, then folders of seeds, or
//! files to run once each. Other options are passed over. The same seed makes the same inputs.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fuzz::mutate::{Random, child};
use fuzz::{INPUT_BYTES_MAX, Target, chosen_target};

/// Exit status of a crash, as libFuzzer's.
const CRASHED: u8 = 77;

struct Options {
    budget: Duration,
    seed: u64,
    crash_prefix: String,
    paths: Vec<PathBuf>,
}

impl Options {
    fn parse(args: impl Iterator<Item = String>) -> Self {
        let mut options = Self {
            budget: Duration::from_secs(60),
            seed: 1,
            crash_prefix: String::from("./"),
            paths: Vec::new(),
        };
        for arg in args {
            match arg.split_once('=') {
                Some(("-max_total_time", n)) => {
                    options.budget = Duration::from_secs(n.parse().expect("a number of seconds"));
                }
                Some(("-seed", n)) => options.seed = n.parse().expect("a number"),
                Some(("-artifact_prefix", prefix)) => options.crash_prefix = prefix.to_owned(),
                Some((option, _)) if option.starts_with('-') => {}
                _ => options.paths.push(PathBuf::from(arg)),
            }
        }
        options
    }
}

fn main() -> ExitCode {
    let target = chosen_target();
    let options = Options::parse(std::env::args().skip(1));
    match drive(target, &options) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn drive(target: Target, options: &Options) -> io::Result<ExitCode> {
    let (folders, files): (Vec<_>, Vec<_>) = options.paths.iter().partition(|path| path.is_dir());
    for file in files {
        (target.run)(&fs::read(file)?);
        println!("{}: fine", file.display());
    }
    if folders.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let mut seeds = Vec::new();
    for folder in folders {
        seeds.extend(read_folder(folder)?);
    }
    let begun = Instant::now();
    let mut random = Random::new(options.seed);
    let mut executions = 0_u64;
    for seed in &seeds {
        executions += 1;
        if !survives(target, seed, &options.crash_prefix)? {
            return Ok(ExitCode::from(CRASHED));
        }
    }
    while begun.elapsed() < options.budget {
        let input = child(&seeds, INPUT_BYTES_MAX, &mut random);
        executions += 1;
        if !survives(target, &input, &options.crash_prefix)? {
            return Ok(ExitCode::from(CRASHED));
        }
    }
    eprintln!("stat::number_of_executed_units: {executions}");
    Ok(ExitCode::SUCCESS)
}

/// The files of a folder in the order of their names.
fn read_folder(folder: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        paths.push(entry?.path());
    }
    paths.sort();
    paths.into_iter().map(fs::read).collect()
}

/// Runs one input; one that panics is kept under the prefix.
fn survives(target: Target, input: &[u8], crash_prefix: &str) -> io::Result<bool> {
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    if outcome.is_err() {
        let hash = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        let path = format!("{crash_prefix}crash-{hash:016x}");
        fs::write(&path, input)?;
        eprintln!("Test unit written to {path}");
    }
    Ok(outcome.is_ok())
}
