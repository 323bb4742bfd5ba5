//! Numbers and bytes that only have to look random, and be the same each time.

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

/// Blocks that do not compress and do not repeat: noise, with a number in each page.
pub(super) struct Content(Vec<u8>);

/// Every page of a block differs from every other one.
const PAGE_BYTES: usize = 4096;

impl Content {
    pub(super) fn new(block_bytes: usize) -> Self {
        let mut random = Random::new(block_bytes as u64);
        Self((0..block_bytes.div_ceil(8)).flat_map(|_| random.next().to_le_bytes()).collect())
    }

    /// Blocks of which every page is half noise, half zeros: they compress to about a half.
    pub(super) fn halving(block_bytes: usize) -> Self {
        let mut content = Self::new(block_bytes);
        for page in content.0.chunks_mut(PAGE_BYTES) {
            let half = page.len() / 2;
            page[half..].fill(0);
        }
        content
    }

    pub(super) fn block_bytes(&self) -> usize {
        self.0.len()
    }

    /// Makes `block` the `number`th block.
    pub(super) fn fill(&self, block: &mut [u8], number: u64) {
        block.copy_from_slice(&self.0);
        for page in block.chunks_mut(PAGE_BYTES) {
            page[..8].copy_from_slice(&number.to_le_bytes());
        }
    }

    pub(super) fn block(&self, number: u64) -> Vec<u8> {
        let mut block = vec![0; self.0.len()];
        self.fill(&mut block, number);
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_keeps_everything_and_its_order_not() {
        let mut items: Vec<u32> = (0..1000).collect();
        Random::new(1).shuffle(&mut items);
        assert!(!items.is_sorted());
        items.sort_unstable();
        assert!(items.into_iter().eq(0..1000));
    }

    #[test]
    fn blocks_of_other_numbers_differ_in_every_page() {
        let content = Content::new(8192);
        let (one, two) = (content.block(1), content.block(2));
        for (a, b) in one.chunks(4096).zip(two.chunks(4096)) {
            assert_ne!(a, b);
        }
        assert_eq!(one, content.block(1));
    }
}
