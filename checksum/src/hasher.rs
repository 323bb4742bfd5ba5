//! The incremental state of any algorithm.

use sha2::Digest;

use crate::{
    ByteOrder, Checksum, digest,
    edonr::Edonr,
    fletcher::{Fletcher2, Fletcher4},
    skein::Skein,
};

/// An incremental checksum, made by [`Context::hasher`](crate::Context::hasher).
///
/// Feed it the block in any pieces; the result equals
/// [`Context::compute`](crate::Context::compute) over the whole. It owns no
/// heap memory. For BLAKE3 it is about two kilobytes large: keep it in place
/// rather than moving it about, and feed it multiples of 16 KiB if you can, since
/// unlike `compute` it does not gather short pieces.
#[derive(Clone, Debug)]
#[must_use = "a hasher does nothing until `finish` is called"]
pub struct Hasher {
    order: ByteOrder,
    state: State,
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "the hot path does not touch the heap")]
pub(crate) enum State {
    Nothing,
    Fletcher2(Fletcher2),
    Fletcher4(Fletcher4),
    Sha256(sha2::Sha256),
    Sha512_256(sha2::Sha512_256),
    Skein(Skein),
    Edonr(Edonr),
    Blake3(blake3::Hasher),
}

impl Hasher {
    #[inline]
    pub(crate) fn new(order: ByteOrder, state: State) -> Self {
        Self { order, state }
    }

    /// Adds the next bytes of the block.
    pub fn update(&mut self, segment: &[u8]) {
        match &mut self.state {
            State::Nothing => {}
            State::Fletcher2(state) => state.update(segment),
            State::Fletcher4(state) => state.update(segment),
            State::Sha256(state) => state.update(segment),
            State::Sha512_256(state) => state.update(segment),
            State::Skein(state) => state.update(segment),
            State::Edonr(state) => state.update(segment),
            State::Blake3(state) => {
                state.update(segment);
            }
        }
    }

    /// The checksum of everything added.
    #[must_use]
    pub fn finish(self) -> Checksum {
        match self.state {
            State::Nothing => Checksum::ZERO,
            State::Fletcher2(state) => state.finish(),
            State::Fletcher4(state) => state.finish(),
            State::Sha256(state) => digest::sha256_words(state),
            State::Sha512_256(state) => digest::sha512_256_words(state, self.order),
            State::Skein(state) => digest::skein_words(state, self.order),
            State::Edonr(state) => digest::edonr_words(state, self.order),
            State::Blake3(state) => digest::blake3_words(&state.finalize(), self.order),
        }
    }
}
