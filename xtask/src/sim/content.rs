//! What blocks hold: derived from a number, so that the model keeps only the number.

use vdev_sim::Rng;

/// Content of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content {
    number: u64,
    pub(super) len_bytes: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Zeros,
    Noise,
    /// Noise in so many of 16 pieces, the rest one repeated byte.
    Mixed(u8),
    /// Short enough, compressed, to stand in the pointer.
    Tiny,
}

impl Content {
    /// A block of any size and kind; now and then one that was drawn before,
    /// so that dedup has something to find.
    pub(super) fn draw(rng: &mut Rng, sizes_log2_max: u64) -> Self {
        let kind = match rng.below(10) {
            0 => Kind::Zeros,
            1 => Kind::Tiny,
            2..=5 => Kind::Noise,
            _ => Kind::Mixed(rng.below(16) as u8),
        };
        let sectors_max = 1 << rng.below(sizes_log2_max + 1);
        let sectors = 1 + rng.below(sectors_max);
        let few = rng.chance(300);
        let number = if few { rng.below(3) } else { rng.next_u64() };
        let sectors = if few { 1 << rng.below(5) } else { sectors };
        Self { number, len_bytes: sectors as usize * 512, kind }
    }

    /// Another one, of the same length and kind.
    pub(super) fn of_the_same_size(&self, rng: &mut Rng) -> Self {
        Self { number: rng.next_u64(), ..*self }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut rng = Rng::new(self.number);
        let mut bytes = vec![0; self.len_bytes];
        match self.kind {
            Kind::Zeros => {}
            Kind::Noise => rng.fill(&mut bytes),
            Kind::Mixed(noisy) => {
                let piece = self.len_bytes.div_ceil(16);
                for (index, chunk) in bytes.chunks_mut(piece).enumerate() {
                    if index < usize::from(noisy) {
                        rng.fill(chunk);
                    } else {
                        chunk.fill(index as u8 ^ self.number as u8);
                    }
                }
            }
            Kind::Tiny => bytes.fill(1 + self.number as u8 % 250),
        }
        bytes
    }
}
