//! Compression and encryption of blocks, as ZFS stores them.
//!
//! A block on its way to disk is a buffer of known length. This crate says whether it is all zeros
//! (then it is not stored at all), shrinks it if enough is saved, and turns what was stored back
//! into exactly the bytes it came from. Everything here is a pure function of its arguments: no
//! I/O, no thread, no clock, nothing of the pipeline around it.
//!
//! | id on disk | name | payload |
//! |---|---|---|
//! | 2 | off | the block itself |
//! | 3 | lzjb | LZJB groups |
//! | 4 | empty | none: only the all-zero test |
//! | 5–13 | gzip-1 … gzip-9 | a zlib stream |
//! | 14 | zle | runs of zeros, everything else literal |
//! | 15 | lz4 | compressed length, one raw LZ4 block |
//! | 16 | zstd | compressed length, level, version, one magicless frame |
//!
//! Payloads are compatible with OpenZFS in both directions.
//!
//! # Model
//!
//! * [`Compression`] names a function: what a block pointer's field holds, and what a writer asks
//!   for.
//! * [`compress`] writes a payload into a buffer whose length is the limit. "Does not fit" is an
//!   answer (`None`), not an error; the encoder stops as soon as it knows.
//! * [`decompress`] fills a buffer exactly or returns a [`DecodeError`]. It is safe on any input.
//! * [`compress_block`] puts the questions about a whole block in order: zero, fits, embeds, saves
//!   at least a unit of space after rounding up.
//! * [`Scratch`] is working memory that calls reuse, so that the hot path does not allocate.
//! * `crypt` (with the feature of that name) seals and opens blocks with AES-GCM and AES-CCM, and
//!   authenticates those that stay plain.
//!
//! ```
//! use transform::{BlockRules, Compression, Packed, Scratch, compress_block, decompress};
//!
//! let block = b"all work and no play ".repeat(400)[..8192].to_vec();
//! let mut stored = vec![0; block.len()];
//! let mut scratch = Scratch::new();
//! let rules = BlockRules { unit_shift: 9, may_embed: false };
//!
//! let packed = compress_block(Compression::Lz4, &block, &mut stored, rules, &mut scratch);
//! let Packed::Compressed { psize_bytes, .. } = packed else { panic!("{packed:?}") };
//! assert_eq!(psize_bytes, 512);
//!
//! let mut back = vec![0; block.len()];
//! decompress(Compression::Lz4, &stored[..psize_bytes], &mut back, &mut scratch)?;
//! assert_eq!(back, block);
//! # Ok::<(), transform::DecodeError>(())
//! ```
//!
//! # What is never so
//!
//! * A payload is never longer than the limit, and nothing is written beyond it.
//! * A result never depends on what the [`Scratch`] was used for before. Deduplication and nop
//!   writes compare compressed bytes, so an encoder is a function of input, parameters and library
//!   version alone. (A new zstd or zlib may produce other bytes: old and new copies of a block then
//!   no longer deduplicate. Both stay readable.)
//! * Bytes from disk never make a decoder panic, hang, allocate, or leave `dst` half filled
//!   with `Ok`.
//!
//! # Sources
//!
//! Spec 3.1 (rules for a block), 7.5 (table and framing), 7.6 (zle), 7.7 (lzjb); the LZ4 block
//! format description; RFC 1950 (zlib) and RFC 8878 (zstd). lzjb and zle are written here; lz4, zstd
//! and zlib streams are the work of liblz4, libzstd and libdeflate.
#![forbid(unsafe_code)]

mod block;
mod bytes;
mod codec;
mod compression;
#[cfg(feature = "crypt")]
pub mod crypt;
mod error;
mod gzip;
mod lz4;
mod lzjb;
mod scratch;
mod size;
mod zero;
mod zle;
mod zstd;
mod zstd_level;

pub use block::{BlockRules, Packed, compress_block};
pub use codec::{compress, decompress};
pub use compression::{Compression, GzipLevel, IdError};
pub use error::{DecodeError, Format};
pub use scratch::Scratch;
pub use size::{EMBEDDED_BYTES_MAX, minimum_saving_limit, payload_limit, round_up_to_shift};
pub use zero::is_zero;
pub use zstd::ZstdHeader;
pub use zstd_level::ZstdLevel;
