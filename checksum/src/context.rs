//! One algorithm made ready for one pool.

use crate::{
    Algorithm, ByteOrder, Checksum, Flags, Mismatch, Salt, digest,
    edonr::{Edonr, EdonrKey},
    fletcher::{Fletcher2, Fletcher4, Kernel},
    hasher::{Hasher, State},
    skein::{Skein, SkeinKey},
};

/// An algorithm ready to run: prepared once per (pool, algorithm), shared by
/// all threads, cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    algorithm: Algorithm,
    function: Function,
}

/// What to run, with everything that is the same for each block.
#[derive(Clone, Copy, Debug)]
enum Function {
    Nothing,
    Fletcher2(Kernel),
    Fletcher4(Kernel),
    Sha256,
    Sha512_256,
    Skein(SkeinKey),
    Edonr(EdonrKey),
    Blake3(Salt),
}

/// No context can be made of this algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ContextError {
    /// The algorithm is keyed by the pool's salt, and none was given.
    #[error("{algorithm} is keyed by the pool's salt, and there is none")]
    SaltMissing {
        /// The algorithm asked for.
        algorithm: Algorithm,
    },
    /// The checksum lives inside the block and needs its place to verify:
    /// use [`embedded`](crate::embedded).
    #[error("{algorithm} is stored inside the block; seal or check the block itself")]
    Embedded {
        /// The algorithm asked for.
        algorithm: Algorithm,
    },
}

impl Context {
    /// Prepares `algorithm` for a pool. Unsalted algorithms ignore the salt.
    ///
    /// # Errors
    /// [`ContextError::SaltMissing`] for a salted algorithm without a salt;
    /// [`ContextError::Embedded`] for the kinds that live inside their block.
    pub fn new(algorithm: Algorithm, salt: Option<&Salt>) -> Result<Self, ContextError> {
        let needed = || salt.ok_or(ContextError::SaltMissing { algorithm });
        let function = match algorithm {
            Algorithm::Off | Algorithm::NoParity => Function::Nothing,
            Algorithm::Fletcher2 => Function::Fletcher2(Kernel::fastest()),
            Algorithm::Fletcher4 => Function::Fletcher4(Kernel::fastest()),
            Algorithm::Sha256 => Function::Sha256,
            Algorithm::Sha512_256 => Function::Sha512_256,
            Algorithm::Skein => Function::Skein(SkeinKey::new(needed()?)),
            Algorithm::Edonr => Function::Edonr(EdonrKey::new(needed()?)),
            Algorithm::Blake3 => Function::Blake3(*needed()?),
            Algorithm::Label | Algorithm::GangHeader | Algorithm::Zilog | Algorithm::Zilog2 => {
                return Err(ContextError::Embedded { algorithm });
            }
        };
        Ok(Self { algorithm, function })
    }

    /// The algorithm this context runs.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The flags of [`Context::algorithm`].
    #[must_use]
    pub const fn flags(&self) -> Flags {
        self.algorithm.flags()
    }

    /// An empty incremental state for a block written in `order`.
    #[inline]
    pub fn hasher(&self, order: ByteOrder) -> Hasher {
        Hasher::new(
            order,
            match &self.function {
                Function::Nothing => State::Nothing,
                Function::Fletcher2(kernel) => {
                    State::Fletcher2(Fletcher2::with_kernel(order, *kernel))
                }
                Function::Fletcher4(kernel) => {
                    State::Fletcher4(Fletcher4::with_kernel(order, *kernel))
                }
                Function::Sha256 => State::Sha256(sha2::Digest::new()),
                Function::Sha512_256 => State::Sha512_256(sha2::Digest::new()),
                Function::Skein(key) => State::Skein(Skein::new(key)),
                Function::Edonr(key) => State::Edonr(Edonr::new(key)),
                Function::Blake3(salt) => State::Blake3(blake3::Hasher::new_keyed(&salt.0)),
            },
        )
    }

    /// The checksum of the segments of a block, in order, as a writer of
    /// `order` would store it.
    ///
    /// Segments may be cut anywhere, lie anywhere and be empty. Nothing is
    /// allocated, and nothing is copied but what the function's unit needs to
    /// be whole: for BLAKE3 that is 16 KiB, gathered on the stack.
    #[must_use]
    pub fn compute<'a>(
        &self,
        order: ByteOrder,
        segments: impl IntoIterator<Item = &'a [u8]>,
    ) -> Checksum {
        match &self.function {
            Function::Nothing => Checksum::ZERO,
            Function::Fletcher2(kernel) => {
                let mut state = Fletcher2::with_kernel(order, *kernel);
                segments.into_iter().for_each(|segment| state.update(segment));
                state.finish()
            }
            Function::Fletcher4(kernel) => {
                let mut state = Fletcher4::with_kernel(order, *kernel);
                segments.into_iter().for_each(|segment| state.update(segment));
                state.finish()
            }
            Function::Sha256 => digest::sha256(segments),
            Function::Sha512_256 => digest::sha512_256(order, segments),
            Function::Skein(key) => digest::skein(key, order, segments),
            Function::Edonr(key) => digest::edonr(key, order, segments),
            Function::Blake3(salt) => digest::blake3(salt, order, segments),
        }
    }

    /// Computes the checksum of the segments and compares it with `expected`.
    /// [`Algorithm::Off`] and [`Algorithm::NoParity`] accept everything.
    ///
    /// # Errors
    /// [`Mismatch`] with both values if they differ.
    pub fn verify<'a>(
        &self,
        order: ByteOrder,
        segments: impl IntoIterator<Item = &'a [u8]>,
        expected: &Checksum,
    ) -> Result<(), Mismatch> {
        self.judge(order, expected, || self.compute(order, segments))
    }

    /// The two words that stand in the pointer of an encrypted block beside its
    /// MAC: [`Context::compute`], then [`Algorithm::truncate_for_mac`].
    #[must_use]
    pub fn compute_truncated<'a>(
        &self,
        order: ByteOrder,
        segments: impl IntoIterator<Item = &'a [u8]>,
    ) -> [u64; 2] {
        self.algorithm.truncate_for_mac(self.compute(order, segments))
    }

    /// Verifies a block in whose pointer a MAC has taken the place of half of
    /// the checksum: an encrypted block, or one that is only authenticated.
    /// `expected` is words 0 and 1 of the pointer's four.
    ///
    /// Whether the MAC is right is another question, which needs the key. The
    /// block of an object set keeps all four words: [`Context::verify`].
    ///
    /// # Errors
    /// [`Mismatch`], with [`Mismatch::truncated`] set, if the two words differ.
    pub fn verify_truncated<'a>(
        &self,
        order: ByteOrder,
        segments: impl IntoIterator<Item = &'a [u8]>,
        expected: [u64; 2],
    ) -> Result<(), Mismatch> {
        let widen = |[a, b]: [u64; 2]| Checksum([a, b, 0, 0]);
        self.judge(order, &widen(expected), || widen(self.compute_truncated(order, segments)))
            .map_err(|mismatch| Mismatch { truncated: true, ..mismatch })
    }

    fn judge(
        &self,
        order: ByteOrder,
        expected: &Checksum,
        compute: impl FnOnce() -> Checksum,
    ) -> Result<(), Mismatch> {
        if matches!(self.function, Function::Nothing) {
            return Ok(());
        }
        let actual = compute();
        if actual == *expected {
            return Ok(());
        }
        Err(Mismatch {
            expected: *expected,
            actual,
            algorithm: self.algorithm,
            byteswapped: order.is_swapped(),
            truncated: false,
        })
    }
}

/// Only with the cargo feature `rayon`.
#[cfg(feature = "rayon")]
impl Context {
    /// The same value as [`Context::compute`], BLAKE3 computed on the threads
    /// of rayon's pool. Worth its hand-over from some 128 KiB per segment on.
    /// The other functions are sequential by nature and run right here.
    #[must_use]
    pub fn compute_parallel<'a>(
        &self,
        order: ByteOrder,
        segments: impl IntoIterator<Item = &'a [u8]>,
    ) -> Checksum {
        let Function::Blake3(salt) = &self.function else {
            return self.compute(order, segments);
        };
        let hash = digest::blake3_gathered(salt, segments.into_iter(), |state, run| {
            state.update_rayon(run);
        });
        digest::blake3_words(&hash, order)
    }

    /// The same answer as [`Context::verify`], by [`Context::compute_parallel`].
    ///
    /// # Errors
    /// [`Mismatch`] with both values if they differ.
    pub fn verify_parallel<'a>(
        &self,
        order: ByteOrder,
        segments: impl IntoIterator<Item = &'a [u8]>,
        expected: &Checksum,
    ) -> Result<(), Mismatch> {
        self.judge(order, expected, || self.compute_parallel(order, segments))
    }
}
