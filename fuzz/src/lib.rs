//! Hostile bytes for everything in the house that reads a disk.
//!
//! Nothing that comes from a disk is trusted, and "decoding never panics" is a promise over *all*
//! byte strings. Here is who tries to break it.
//!
//! A [`Target`] is a plain function over bytes. It takes them apart (first a few that choose sizes,
//! levels, byte order; then the thing itself), hands them to the code under test, and asserts
//! whatever must then be true: no panic is the least of it. What a pool accepts lies within the
//! pool; what checks is what sealing makes; what our encoder made decodes back; an answer does not
//! depend on what a scratch was used for before; a fast decoder says what the [slow one](models)
//! says.
//!
//! Two drivers run targets:
//!
//! | driver | guided by | needs |
//! |---|---|---|
//! | `bin/libfuzzer.rs` | coverage: branches, compared values, also of zstd's C | a C++ compiler, for libFuzzer itself |
//! | `bin/plain.rs` | nothing: [mutates](mutate) seeds, the same way for the same number | Rust |
//!
//! Nobody calls them by hand:
//!
//! ```text
//! cargo xtask fuzz                      all targets, a minute each
//! cargo xtask fuzz zle --seconds 600    one, longer; its corpus stays under target/fuzz/corpus
//! cargo xtask fuzz smoke                all, three seconds each: what CI runs
//! cargo xtask fuzz zle --input FILE     one input again, with the panic's place
//! ```
//!
//! # Adding a target
//!
//! A file in `src/targets/` with `pub(crate) fn run(data: &[u8])` and a table of its input's bytes
//! on top; a line in [`TARGETS`]; seeds in `seeds/NAME/`, made by `src/bin/seeds.rs`, so that the
//! fuzzer need not guess a format from nothing. Then break the code it guards, and see it found.
//!
//! # What is never so
//!
//! * A target never depends on the inputs before: no state outlives a run. Else a crash could not
//!   be run again.
//! * A target never skips an input as too short: zeros stand beyond its [end](input::Input).
#![forbid(unsafe_code)]

pub mod input;
pub mod models;
pub mod mutate;
mod targets;

pub use targets::block_pointer;
use targets::{dedup_key, embedded, gang_header, gzip, label, lz4, lzjb, zle, zstd};

/// A function under attack.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// How the command line, and the folders of seeds and corpus, call it.
    pub name: &'static str,
    /// Runs one input; panics if something is wrong.
    pub run: fn(&[u8]),
}

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// Every target.
pub const TARGETS: [Target; 10] = [
    target("block_pointer", block_pointer::run),
    target("dedup_key", dedup_key::run),
    target("embedded", embedded::run),
    target("gang_header", gang_header::run),
    target("gzip", gzip::run),
    target("label", label::run),
    target("lz4", lz4::run),
    target("lzjb", lzjb::run),
    target("zle", zle::run),
    target("zstd", zstd::run),
];

/// The longest input worth trying, in bytes: the largest seed fits.
pub const INPUT_BYTES_MAX: usize = 8192;

/// The variable that tells a driver its target.
pub const TARGET_VARIABLE: &str = "FUZZ_TARGET";

/// The target that [`TARGET_VARIABLE`] names. Without it the process ends here, with the names of
/// all targets printed, one a line.
///
/// # Panics
/// When no target has that name.
pub fn chosen_target() -> Target {
    let Some(name) = std::env::var_os(TARGET_VARIABLE) else {
        TARGETS.iter().for_each(|target| println!("{}", target.name));
        std::process::exit(0);
    };
    *TARGETS
        .iter()
        .find(|target| name == target.name)
        .unwrap_or_else(|| panic!("no target is called {}", name.display()))
}
