//! Checksums of one block, hot in cache, on one thread.

use std::hint::black_box;

use anyhow::{Result, ensure};
use aws_lc_rs::digest;
use checksum::fletcher::{Fletcher2, Fletcher4, Kernel};
use checksum::{Algorithm, ByteOrder, Checksum, Context, Salt};
use skein::{Digest as _, Skein512_256};

use super::Bench;
use crate::bench::contest::Contender;
use crate::bench::random::Content;
use crate::bench::report::Unit;

pub(super) const NAMES: [&str; 12] = [
    "checksum-fletcher2-8k",
    "checksum-fletcher2-128k",
    "checksum-fletcher4-8k",
    "checksum-fletcher4-128k",
    "checksum-sha256-8k",
    "checksum-sha256-128k",
    "checksum-sha512-8k",
    "checksum-sha512-128k",
    "checksum-skein-8k",
    "checksum-skein-128k",
    "checksum-blake3-8k",
    "checksum-blake3-128k",
];

/// Each with a block of 8 KiB and one of 128 KiB, as in [`NAMES`].
const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::Fletcher2,
    Algorithm::Fletcher4,
    Algorithm::Sha256,
    Algorithm::Sha512_256,
    Algorithm::Skein,
    Algorithm::Blake3,
];
const BLOCK_BYTES: [usize; 2] = [8 << 10, 128 << 10];

/// Hashed between two looks at the clock.
const BATCH_BYTES: usize = 512 << 10;

const SALT: Salt = Salt([0x5a; 32]);

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let kinds = ALGORITHMS.into_iter().flat_map(|algorithm| BLOCK_BYTES.map(|b| (algorithm, b)));
    for (name, (algorithm, block_bytes)) in NAMES.into_iter().zip(kinds) {
        if bench.wants(name) {
            row(bench, name, algorithm, block_bytes)?;
        }
    }
    Ok(())
}

fn row(
    bench: &mut Bench<'_>,
    name: &'static str,
    algorithm: Algorithm,
    block_bytes: usize,
) -> Result<()> {
    let block = Content::new(block_bytes).block(1);
    let context = Context::new(algorithm, Some(&SALT))?;
    let ours = |block: &[u8]| context.compute(ByteOrder::NATIVE, [block]);
    let Baseline { name: baseline_name, compute, same } = baseline(algorithm)?;
    ensure!(!same || ours(&block) == compute(&block), "{algorithm}: the sides disagree");
    let (ours, baseline) = (side(&block, ours), side(&block, compute));
    bench.row(name, Unit::GbPerSecond(block_bytes), baseline_name, ours, Some(baseline))
}

/// The best that could be had instead.
struct Baseline {
    name: &'static str,
    compute: fn(&[u8]) -> Checksum,
    /// Whether it is the same function: no crate has a keyed Skein.
    same: bool,
}

fn baseline(algorithm: Algorithm) -> Result<Baseline> {
    let (name, compute): (_, fn(&[u8]) -> Checksum) = match algorithm {
        Algorithm::Fletcher2 => ("plain loop", |block| {
            let mut state = Fletcher2::with_kernel(ByteOrder::NATIVE, Kernel::SCALAR);
            state.update(block);
            state.finish()
        }),
        Algorithm::Fletcher4 => ("plain loop", |block| {
            let mut state = Fletcher4::with_kernel(ByteOrder::NATIVE, Kernel::SCALAR);
            state.update(block);
            state.finish()
        }),
        Algorithm::Sha256 => ("aws-lc-rs", |block| {
            words(digest::digest(&digest::SHA256, block).as_ref(), ByteOrder::Big)
        }),
        Algorithm::Sha512_256 => ("aws-lc-rs", |block| {
            words(digest::digest(&digest::SHA512_256, block).as_ref(), ByteOrder::NATIVE)
        }),
        Algorithm::Skein => {
            ("skein, without a key", |block| words(&Skein512_256::digest(block), ByteOrder::NATIVE))
        }
        Algorithm::Blake3 => ("blake3", |block| {
            words(blake3::keyed_hash(&SALT.0, block).as_bytes(), ByteOrder::NATIVE)
        }),
        other => anyhow::bail!("nothing to compare {other} with"),
    };
    Ok(Baseline { name, compute, same: algorithm != Algorithm::Skein })
}

/// The words of a digest of 32 bytes.
fn words(digest: &[u8], order: ByteOrder) -> Checksum {
    digest.first_chunk().map_or(Checksum::ZERO, |bytes| Checksum::from_bytes(bytes, order))
}

fn side<'a>(block: &'a [u8], compute: impl Fn(&[u8]) -> Checksum + 'a) -> Contender<'a> {
    let batch = BATCH_BYTES / block.len();
    Box::new(move |round| {
        loop {
            for _ in 0..batch {
                black_box(compute(black_box(block)));
            }
            if !round.count(batch) {
                return Ok(());
            }
        }
    })
}
