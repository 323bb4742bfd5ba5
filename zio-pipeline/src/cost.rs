//! What a zio's CPU work costs, roughly: decides where it runs.
//!
//! Light work runs on the thread that is there. Heavy work goes to a task
//! queue, where it spreads over the cores. The figures are nanoseconds per KiB
//! on one core of a 2024 server (see the `checksum-*` and `compress-*` rows of
//! the bench); only their order of magnitude matters.

use checksum::Algorithm;
use transform::Compression;
use zio_core::{Context, Zio, ZioType};

use crate::shared::compression_of;

/// From here on a hop to another core costs less than the work (a wake-up
/// takes 20 to 30 µs).
const HEAVY_NS_MIN: u64 = 40_000;

/// Is a zio's work at ISSUE_ASYNC cheap enough to stay on the submitting thread?
pub(crate) fn is_light(zio: &Zio) -> bool {
    match zio.ty() {
        ZioType::Write => write_ns(zio) < HEAVY_NS_MIN,
        _ => true,
    }
}

/// Should what follows a read's completion (verify, decompress) leave the
/// thread that reaps?
pub(crate) fn read_is_heavy(zio: &Zio) -> bool {
    if Context::current() != Context::Completion {
        return false;
    }
    let kib = (zio.size_bytes as u64).div_ceil(1024);
    let lsize_kib = zio.bp.lsize_bytes().div_ceil(1024);
    let unpack = decompress_ns_per_kib(zio.bp.compression()) * lsize_kib;
    checksum_ns_per_kib(zio.bp.checksum_id()) * kib + unpack >= HEAVY_NS_MIN
}

fn write_ns(zio: &Zio) -> u64 {
    let kib = (zio.size_bytes as u64).div_ceil(1024);
    let compress = compression_of(&zio.props).map_or(0, compress_ns_per_kib);
    (checksum_ns_per_kib(zio.props.checksum) + compress) * kib
}

fn checksum_ns_per_kib(id: u8) -> u64 {
    match Algorithm::from_id(id) {
        Ok(Algorithm::Sha256 | Algorithm::Label | Algorithm::GangHeader) => 560,
        Ok(Algorithm::Sha512_256) => 1570,
        Ok(Algorithm::Blake3) => 190,
        Ok(Algorithm::Edonr) => 450,
        Ok(Algorithm::Skein) => 3900,
        _ => 25,
    }
}

fn compress_ns_per_kib(compression: Compression) -> u64 {
    match compression {
        Compression::Off => 0,
        Compression::Empty => 20,
        Compression::Lz4 => 500,
        Compression::Zle => 850,
        Compression::Lzjb => 1300,
        Compression::Zstd(_) => 2500,
        Compression::Gzip(_) => 20_000,
    }
}

fn decompress_ns_per_kib(id: u8) -> u64 {
    match Compression::from_id(id) {
        Ok(Compression::Lz4) => 250,
        Ok(Compression::Zle | Compression::Zstd(_)) => 300,
        Ok(Compression::Lzjb) => 1000,
        Ok(Compression::Gzip(_)) => 3500,
        Ok(Compression::Off | Compression::Empty) | Err(_) => 0,
    }
}
