//! Compression, the zero test and encryption of 128 KiB, hot in cache, on one thread.
//!
//! The general codecs get text, which halves; zle and lzjb, which only older pools and special
//! blocks have, get blocks half of whose every page is zeros. Each side expands what it made itself
//! into a buffer of the block's length, and is checked before it is measured.

use std::cell::RefCell;
use std::hint::black_box;

use anyhow::{Context, Result, anyhow, ensure};
use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use flate2::{FlushCompress, FlushDecompress, Status};
use transform::crypt::{KeyCache, MasterKey, Suite};
use transform::{
    Compression, GzipLevel, Scratch, ZstdLevel, compress, decompress, is_zero, minimum_saving_limit,
};

use super::Bench;
use crate::bench::contest::Contender;
use crate::bench::random::{Content, Random};
use crate::bench::report::Unit;

// The model that the crate's own tests hold its lzjb and zle against.
#[path = "../../../../transform/tests/common/plain.rs"]
mod plain;

/// Two rows for each codec, then the others.
pub(super) const NAMES: [&str; 14] = [
    "compress-lz4",
    "decompress-lz4",
    "compress-zstd1",
    "decompress-zstd1",
    "compress-zstd3",
    "decompress-zstd3",
    "compress-gzip6",
    "decompress-gzip6",
    "compress-zle",
    "decompress-zle",
    "compress-lzjb",
    "decompress-lzjb",
    "zero-detect-128k",
    "aes-gcm-128k",
];

const CODECS: usize = 6;
const BLOCK_BYTES: usize = 128 << 10;
/// Blocks between two looks at the clock.
const BATCH: usize = 4;
const UNIT: Unit = Unit::GbPerSecond(BLOCK_BYTES);

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let (pairs, _) = NAMES.as_chunks::<2>();
    for (at, &[first, second]) in pairs.iter().enumerate() {
        if at < CODECS {
            codec_rows(bench, at, first, second).context(first)?;
        } else {
            zero_row(bench, first)?;
            aes_row(bench, second)?;
        }
    }
    Ok(())
}

/// Input and room for output.
type Work<T> = Box<dyn FnMut(&[u8], &mut [u8]) -> Option<T>>;

/// One side of a codec's two contests.
struct Codec {
    /// Block in, length of the payload out; `None` if it does not fit.
    pack: Work<usize>,
    /// Payload in; `None` if it does not fill the block.
    unpack: Work<()>,
}

fn codec_rows(
    bench: &mut Bench<'_>,
    at: usize,
    pack_name: &'static str,
    unpack_name: &'static str,
) -> Result<()> {
    if !bench.wants(pack_name) && !bench.wants(unpack_name) {
        return Ok(());
    }
    let zstd = |level| ZstdLevel::new(level).map(Compression::Zstd).context("no such level");
    let (compression, block, baseline_name, baseline) = match at {
        0 => (Compression::Lz4, text(), "lz4_flex", lz4_flex()),
        1 => (zstd(1)?, text(), "zstd", bare_zstd(1)?),
        2 => (zstd(3)?, text(), "zstd", probed(bare_zstd(3)?)),
        3 => (Compression::Gzip(GzipLevel::default()), text(), "flate2, zlib-rs", zlib_rs(6)),
        4 => {
            let plain = plain_loop(plain::zle_compress, plain::zle_decompress);
            (Compression::Zle, half_zero(), "plain loop", plain)
        }
        _ => {
            let plain = plain_loop(plain::lzjb_compress, plain::lzjb_decompress);
            (Compression::Lzjb, half_zero(), "plain loop", plain)
        }
    };
    let mut sides = [ours(compression), baseline];
    let mut payloads = Vec::new();
    for side in &mut sides {
        let mut payload = vec![0; 2 * BLOCK_BYTES];
        let len = (side.pack)(&block, &mut payload).context("it should fit")?;
        ensure!(len <= minimum_saving_limit(BLOCK_BYTES), "it should shrink");
        payload.truncate(len);
        let mut back = vec![0xa5; BLOCK_BYTES];
        (side.unpack)(&payload, &mut back).context("it should decode")?;
        ensure!(back == block, "it should decode to what it was");
        payloads.push(payload);
    }
    let [ours, baseline] = sides;
    if bench.wants(pack_name) {
        let (ours, baseline) = (repeat(ours.pack, &block, 2), repeat(baseline.pack, &block, 2));
        let name = if at == 2 { "zstd, after lz4's probe" } else { baseline_name };
        bench.row(pack_name, UNIT, name, ours, Some(baseline))?;
    }
    if bench.wants(unpack_name) {
        let (ours, baseline) =
            (repeat(ours.unpack, &payloads[0], 1), repeat(baseline.unpack, &payloads[1], 1));
        bench.row(unpack_name, UNIT, baseline_name, ours, Some(baseline))?;
    }
    Ok(())
}

/// Does the same thing over and over, with room for so many blocks.
fn repeat<'a, T: 'a>(
    mut work: impl FnMut(&[u8], &mut [u8]) -> Option<T> + 'a,
    input: &'a [u8],
    room_blocks: usize,
) -> Contender<'a> {
    let mut output = vec![0; room_blocks * BLOCK_BYTES];
    Box::new(move |round| {
        loop {
            for _ in 0..BATCH {
                black_box(work(black_box(input), &mut output)).context("it worked before")?;
            }
            if !round.count(BATCH) {
                return Ok(());
            }
        }
    })
}

fn ours(compression: Compression) -> Codec {
    let (mut packing, mut unpacking) = (Scratch::new(), Scratch::new());
    Codec {
        pack: Box::new(move |block, dst| {
            let limit = minimum_saving_limit(block.len());
            compress(compression, block, &mut dst[..limit], &mut packing)
        }),
        unpack: Box::new(move |payload, block| {
            decompress(compression, payload, block, &mut unpacking).ok()
        }),
    }
}

/// It has no limit: it wants room for the worst case.
fn lz4_flex() -> Codec {
    let mut table = ::lz4_flex::block::CompressTable::default();
    Codec {
        pack: Box::new(move |block, dst| {
            ::lz4_flex::block::compress_into_with_table(block, dst, &mut table).ok()
        }),
        unpack: Box::new(|payload, block| {
            let len = ::lz4_flex::block::decompress_into(payload, block).ok()?;
            (len == block.len()).then_some(())
        }),
    }
}

fn bare_zstd(level: i32) -> Result<Codec> {
    let mut encoder = zstd::bulk::Compressor::new(level)?;
    let mut decoder = zstd::bulk::Decompressor::new()?;
    Ok(Codec {
        pack: Box::new(move |block, dst| encoder.compress_to_buffer(block, dst).ok()),
        unpack: Box::new(move |payload, block| {
            let len = decoder.decompress_to_buffer(payload, block).ok()?;
            (len == block.len()).then_some(())
        }),
    })
}

/// The rules ask that lz4 fits before a block this long is given to zstd from level 3 on.
fn probed(codec: Codec) -> Codec {
    let mut scratch = Scratch::new();
    let mut probe = vec![0; minimum_saving_limit(BLOCK_BYTES)];
    let mut pack = codec.pack;
    Codec {
        pack: Box::new(move |block, dst| {
            compress(Compression::Lz4, block, &mut probe, &mut scratch)?;
            pack(block, dst)
        }),
        ..codec
    }
}

fn zlib_rs(level: u32) -> Codec {
    let mut encoder = flate2::Compress::new(flate2::Compression::new(level), true);
    let mut decoder = flate2::Decompress::new(true);
    Codec {
        pack: Box::new(move |block, dst| {
            encoder.reset();
            match encoder.compress(block, dst, FlushCompress::Finish) {
                Ok(Status::StreamEnd) => usize::try_from(encoder.total_out()).ok(),
                _ => None,
            }
        }),
        unpack: Box::new(move |payload, block| {
            decoder.reset(true);
            let status = decoder.decompress(payload, block, FlushDecompress::Finish).ok()?;
            (status == Status::StreamEnd && decoder.total_out() == block.len() as u64).then_some(())
        }),
    }
}

fn plain_loop(
    pack: fn(&[u8], &mut [u8]) -> Option<usize>,
    unpack: fn(&[u8], &mut [u8]) -> Option<()>,
) -> Codec {
    Codec { pack: Box::new(pack), unpack: Box::new(unpack) }
}

/// A block that is a hole: the whole of it must be looked at.
fn zero_row(bench: &mut Bench<'_>, name: &'static str) -> Result<()> {
    if !bench.wants(name) {
        return Ok(());
    }
    let zeros = vec![0; BLOCK_BYTES];
    let side = |test: fn(&[u8]) -> bool| {
        repeat(move |block, _: &mut [u8]| test(block).then_some(()), &zeros, 0)
    };
    let baseline = side(|block| block.iter().all(|&byte| byte == 0));
    bench.row(name, UNIT, "plain loop", side(is_zero), Some(baseline))
}

/// Sealing a block with a key that is at hand, as most blocks find theirs.
fn aes_row(bench: &mut Bench<'_>, name: &'static str) -> Result<()> {
    if !bench.wants(name) {
        return Ok(());
    }
    let (secret, salt, iv) = ([7; 32], [1; 8], [2; 12]);
    let block = Content::new(BLOCK_BYTES).block(1);
    let keys = KeyCache::new(MasterKey::new(Suite::Aes256Gcm, &secret)?);
    let key = UnboundKey::new(&aead::AES_256_GCM, &secret).map_err(|_| anyhow!("no key"))?;
    let key = LessSafeKey::new(key);
    let mac = RefCell::new([0; 16]);
    let ours = |block: &[u8], dst: &mut [u8]| keys.get(&salt).seal(&iv, &[], [block], dst).ok();
    let bare = |block: &[u8], dst: &mut [u8]| {
        let nonce = Nonce::assume_unique_for_key(iv);
        let mac = &mut *mac.borrow_mut();
        key.seal_out_of_place_scatter(nonce, Aad::empty(), block, dst, &[], mac).ok()
    };
    let (ours, baseline) = (repeat(ours, &block, 1), repeat(bare, &block, 1));
    bench.row(name, UNIT, "aws-lc-rs", ours, Some(baseline))
}

/// Words, the frequent ones far more often than the rare ones.
fn text() -> Vec<u8> {
    let mut random = Random::new(1);
    let words: Vec<Vec<u8>> = (0..2000)
        .map(|_| (0..2 + random.below(8)).map(|_| b'a' + random.below(26) as u8).collect())
        .collect();
    let mut text = Vec::new();
    while text.len() < BLOCK_BYTES {
        // Of three draws the lowest: low numbers come up most.
        let word = (0..3).map(|_| random.below(words.len() as u64)).min().unwrap_or(0);
        text.extend(&words[word as usize]);
        text.push(b' ');
    }
    text.truncate(BLOCK_BYTES);
    text
}

/// Noise, the second half of each page of which is zeros.
fn half_zero() -> Vec<u8> {
    let mut block = Content::new(BLOCK_BYTES).block(1);
    for page in block.chunks_mut(4096) {
        page[2048..].fill(0);
    }
    block
}
