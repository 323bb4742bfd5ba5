//! ZFS block checksums.
//!
//! A ZFS block pointer carries a 256-bit checksum of the block it points at,
//! so every read can tell good data from bad, and a tree of blocks is good if
//! its root is. This crate computes and verifies these checksums exactly as the
//! on-disk format wants them, for either byte order, and does nothing else: no
//! I/O, no thread, no clock, no heap allocation, no state between calls.
//!
//! # The model
//!
//! * An [`Algorithm`] is what an on-disk id names. Its [`Flags`] say what it is
//!   strong enough for.
//! * A [`Context`] is an algorithm made ready for a pool, with the pool's
//!   [`Salt`] if the algorithm is keyed. Make it once, share it.
//! * A block is a list of *segments*, byte slices that follow each other.
//!   [`Context::compute`] and [`Context::verify`] walk them where they lie; a
//!   [`Hasher`] takes them one at a time.
//! * A [`Checksum`] is four 64-bit integers. [`ByteOrder`] is the order of the
//!   machine that *wrote* the block; write with [`ByteOrder::NATIVE`].
//! * Labels, gang headers and log blocks carry their checksum inside, bound to
//!   their place: [`embedded`].
//! * The [`fletcher`] states are there for those who want just them.
//!
//! # Example
//!
//! A block of three segments; then one bit of it rots.
//!
//! ```
//! use checksum::{Algorithm, ByteOrder, Context};
//!
//! let context = Context::new(Algorithm::from_id(7)?, None)?;
//! let mut segments = [vec![1u8; 4096], vec![2u8; 1000], vec![3u8; 3096]];
//! let sum = context.compute(ByteOrder::NATIVE, segments.iter().map(Vec::as_slice));
//! context.verify(ByteOrder::NATIVE, segments.iter().map(Vec::as_slice), &sum)?;
//!
//! segments[1][500] ^= 0x10;
//! let mismatch = context
//!     .verify(ByteOrder::NATIVE, segments.iter().map(Vec::as_slice), &sum)
//!     .unwrap_err();
//! assert_eq!((mismatch.expected, mismatch.algorithm), (sum, Algorithm::Fletcher4));
//! println!("{mismatch}"); // fletcher4 checksum mismatch: expected …, actual …
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is never so
//!
//! * The result never depends on how a block is cut into segments, where these
//!   lie in memory, which CPU runs, or which cargo features are on.
//! * An id that no block may carry never becomes an [`Algorithm`].
//! * A salted algorithm never runs without a salt.
//! * Bytes from disk never cause a panic or a read outside of them.
//! * No call allocates or uses a thread, except those named `…_parallel`,
//!   which exist only with the feature `rayon`.
//!
//! # Sources
//!
//! Spec 2.6, 7.1 to 7.4. J. G. Fletcher, "An Arithmetic Checksum for Serial
//! Transmissions", IEEE Trans. Comm. 30 (1982). FIPS 180-4. J. O'Connor et al.,
//! "BLAKE3: one function, fast everywhere" (2020). N. Ferguson et al., "The
//! Skein Hash Function Family", version 1.3 (2010). D. Gligoroski et al.,
//! "Cryptographic Hash Function Edon-R′" (2009).

// Unsafe has one room: calling kernels compiled for CPU features.
#![deny(unsafe_code)]

mod algorithm;
mod carry;
mod context;
mod digest;
mod edonr;
pub mod embedded;
pub mod fletcher;
mod hasher;
mod mismatch;
mod order;
mod salt;
mod skein;
mod value;

pub use algorithm::{Algorithm, AlgorithmError, Flags};
pub use context::{Context, ContextError};
pub use hasher::Hasher;
pub use mismatch::Mismatch;
pub use order::ByteOrder;
pub use salt::Salt;
pub use value::Checksum;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
