//! Reads every block of an OpenZFS image that a list of pointers names, through
//! the read pipeline, and says of each whether it is what was written.
//!
//! ```text
//! read_openzfs IMAGE[,IMAGE…] POINTERS.json [--key HEX] [--suite NAME] [--read-only]
//! ```
//!
//! Several images are the sides of a mirror, or of a pool that is none (`layout`), its devices in
//! order. Of a mirror any one alone works as well; with all of them a damaged side is
//! repaired on the way, unless `--read-only` is given.
//!
//! The list says how the pool was laid out (`layout`, `nparity`, `ashift`), the salt of its keyed
//! checksums (`cksum_salt`), and for each block its pointer (`bp`, 128 bytes in hex),
//! its length (`len`) and the SHA-256 of its data (`logical_sha256`). The master key of
//! encrypted blocks is `--key`, or else the list's `enc_master_key_<suite>`; its suite is
//! `--suite`, or else that of the list, or else AES-GCM of the key's length.
//!
//! The exit status is 0 if every block verifies and has the right SHA-256, 1 if one does
//! not, 2 if something is wrong with the arguments, the images or the list.

#[path = "read_openzfs/args.rs"]
mod args;
#[path = "read_openzfs/list.rs"]
mod list;
#[path = "read_openzfs/table.rs"]
mod table;

use std::process::ExitCode;

use anyhow::{Context, Result};
use zio_pipeline::{Builder, Mirror, OpenOptions, Pipeline};

use args::Args;
use list::{Block, List};
use table::{Table, Verdict};

fn main() -> ExitCode {
    let outcome = Args::parse().and_then(|args| match args {
        Some(args) => run(&args),
        None => {
            println!("{}", args::USAGE);
            Ok(true)
        }
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("read_openzfs: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// True if all blocks are as they were written.
fn run(args: &Args) -> Result<bool> {
    let list = List::read(&args.pointers)?;
    let pipeline = open(args, &list)?;
    let mut table = Table::new();
    for block in &list.blocks {
        let (bp, verdict) = read(&pipeline, block);
        table.row(block, bp.as_ref(), &verdict);
    }
    table.summary(&pipeline);
    Ok(table.all_good())
}

fn open(args: &Args, list: &List) -> Result<Pipeline> {
    let about = |builder: Builder| -> Result<Builder> {
        let builder = builder.ashift(list.ashift).salt(list.salt()?);
        args.keys(list, builder)
    };
    let opened = match about(devices(args, list, args.read_only))?.build() {
        // Somebody else's image: look, and leave everything as it is.
        Err(_) if !args.read_only => about(devices(args, list, true))?.build(),
        opened => opened,
    };
    opened.with_context(|| format!("opening {}", args.images.join(", ")))
}

/// One image is a device by itself, whatever it was a side of.
fn devices(args: &Args, list: &List, read_only: bool) -> Builder {
    let options = || if read_only { OpenOptions::new().read_only() } else { OpenOptions::new() };
    let images = args.images.iter();
    if images.len() > 1 && list.is_mirror() {
        let mirror = images.fold(Mirror::new(), |mirror, side| mirror.file_with(side, options()));
        return Pipeline::builder().mirror(mirror);
    }
    images.fold(Pipeline::builder(), |builder, image| builder.file_with(image, options()))
}

fn read(pipeline: &Pipeline, block: &Block) -> (Option<zio_pipeline::BlockPointer>, Verdict) {
    let bp = match block.pointer(pipeline) {
        Ok(bp) => bp,
        Err(error) => return (None, Verdict::Unreadable(format!("{error:#}"))),
    };
    let verdict = match pipeline.read(&bp).every_copy().size_if_never_written(block.len).wait() {
        Ok(data) => block.judge(&data),
        Err(error) => Verdict::Unreadable(error.to_string()),
    };
    (Some(bp), verdict)
}
