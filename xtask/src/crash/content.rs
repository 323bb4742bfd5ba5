//! What a block holds: derived from its number, so that the log keeps only that.

use vdev_sim::Rng;
use zio_pipeline::{Checksum, Compression, Write, ZstdLevel};

/// The largest blocks have 1 MiB, in sectors of 512 bytes.
const SECTORS_LOG2_MAX: u64 = 11;

/// Numbers below this come again and again, so that dedup has something to find.
const FEW: u64 = 8;

/// One number says length, bytes, and how the block is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content(pub(super) u64);

impl Content {
    /// A new block; one in four is one of [a few](FEW).
    pub(super) fn draw(rng: &mut Rng) -> Self {
        Self(if rng.chance(250) { rng.below(FEW) } else { rng.next_u64() })
    }

    fn rng(self) -> Rng {
        Rng::stream(self.0, 0xb10c)
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        let mut rng = self.rng();
        let sectors_max = 1 << rng.below(SECTORS_LOG2_MAX + 1);
        let mut bytes = vec![0; 512 * (1 + rng.index(sectors_max))];
        rng.fill(&mut bytes);
        let dull = rng.below(5) as usize;
        for piece in bytes.chunks_mut(128) {
            let from = piece.len() - piece.len() * dull / 4;
            piece[from..].fill(dull as u8);
        }
        bytes
    }

    /// The same for the same number, or equal blocks would not be shared.
    pub(super) fn properties(self, write: Write) -> Write {
        let mut rng = Rng::stream(self.0, 0x70b5);
        let write = match rng.below(5) {
            0 => write.compression(Compression::Lz4),
            1 => write.compression(Compression::Zstd(ZstdLevel::DEFAULT)),
            2 => write.compression(Compression::Lzjb),
            _ => write,
        };
        let checksums = [Checksum::Fletcher4, Checksum::Sha256, Checksum::Blake3];
        let write = write.checksum(checksums[rng.index(checksums.len())]);
        let copies = 1 + rng.below(3) as u8;
        match rng.below(4) {
            _ if self.0 < FEW => write.checksum(Checksum::Blake3).copies(copies).dedup(true),
            0 => write.checksum(Checksum::Blake3).copies(copies).dedup(true),
            // Salt and IV take the third copy's place.
            1 => write.copies(copies.min(2)).encrypt(true),
            _ => write.copies(copies),
        }
    }
}
