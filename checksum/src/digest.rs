//! Digest bytes to checksum words.

use sha2::{Digest, Sha256, Sha512_256};

use crate::{
    ByteOrder, Checksum, Salt,
    edonr::{Edonr, EdonrKey},
    skein::{Skein, SkeinKey},
};

/// SHA-256 words are big-endian reads of the digest on every kind of machine.
pub(crate) fn sha256_words(hash: Sha256) -> Checksum {
    Checksum::from_bytes(&hash.finalize().into(), ByteOrder::Big)
}

/// SHA-512/256 words are the digest read in the writer's order.
pub(crate) fn sha512_256_words(hash: Sha512_256, order: ByteOrder) -> Checksum {
    Checksum::from_bytes(&hash.finalize().into(), order)
}

/// Skein words are the digest read in the writer's order.
pub(crate) fn skein_words(hash: Skein, order: ByteOrder) -> Checksum {
    Checksum::from_bytes(&hash.finish(), order)
}

/// Edon-R words are the kept part of the digest read in the writer's order.
pub(crate) fn edonr_words(hash: Edonr, order: ByteOrder) -> Checksum {
    Checksum::from_bytes(&hash.finish(), order)
}

/// BLAKE3 words are the digest read in the writer's order.
pub(crate) fn blake3_words(hash: &blake3::Hash, order: ByteOrder) -> Checksum {
    Checksum::from_bytes(hash.as_bytes(), order)
}

/// SHA-256 of some pieces.
pub(crate) fn sha256<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Checksum {
    let mut hash = Sha256::new();
    pieces.into_iter().for_each(|piece| hash.update(piece));
    sha256_words(hash)
}

/// SHA-512/256 of some pieces.
pub(crate) fn sha512_256<'a>(
    order: ByteOrder,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Checksum {
    let mut hash = Sha512_256::new();
    pieces.into_iter().for_each(|piece| hash.update(piece));
    sha512_256_words(hash, order)
}

/// Keyed Skein of some pieces.
pub(crate) fn skein<'a>(
    key: &SkeinKey,
    order: ByteOrder,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Checksum {
    let mut hash = Skein::new(key);
    pieces.into_iter().for_each(|piece| hash.update(piece));
    skein_words(hash, order)
}

/// Keyed Edon-R of some pieces.
pub(crate) fn edonr<'a>(
    key: &EdonrKey,
    order: ByteOrder,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Checksum {
    let mut hash = Edonr::new(key);
    pieces.into_iter().for_each(|piece| hash.update(piece));
    edonr_words(hash, order)
}

/// Keyed BLAKE3 of some pieces. One piece alone takes the one-shot road, which
/// carries no two-kilobyte state around.
pub(crate) fn blake3<'a>(
    salt: &Salt,
    order: ByteOrder,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Checksum {
    let mut pieces = pieces.into_iter();
    let first = pieces.next().unwrap_or_default();
    let hash = match pieces.next() {
        None => blake3::keyed_hash(&salt.0, first),
        Some(second) => {
            let mut state = blake3::Hasher::new_keyed(&salt.0);
            state.update(first);
            state.update(second);
            pieces.for_each(|piece| {
                state.update(piece);
            });
            state.finalize()
        }
    };
    blake3_words(&hash, order)
}
