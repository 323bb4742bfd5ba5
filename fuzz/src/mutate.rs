//! A mutator that looks at nothing: for machines without libFuzzer.

/// Random numbers from a seed: SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.next_u64().to_le_bytes());
        words.flatten().take(len).collect()
    }

    /// A number below `bound`; 0 if `bound` is.
    pub fn below(&mut self, bound: usize) -> usize {
        // The remainder fits: it is below a usize.
        if bound == 0 { 0 } else { (self.next_u64() % bound as u64) as usize }
    }
}

/// Numbers at which formats and their readers change their mind.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

/// A descendant of one of `parents`: some changes, now and then a piece of another parent, never
/// more than `bytes_max` long.
pub fn child(parents: &[Vec<u8>], bytes_max: usize, random: &mut Random) -> Vec<u8> {
    let mut child = parents.get(random.below(parents.len())).cloned().unwrap_or_default();
    // Mostly few changes, sometimes many.
    let changes = 1 << random.below(5);
    for _ in 0..changes {
        change(&mut child, parents, random);
    }
    child.truncate(bytes_max);
    child
}

fn change(bytes: &mut Vec<u8>, parents: &[Vec<u8>], random: &mut Random) {
    let len = bytes.len();
    let at = random.below(len + 1);
    match random.below(8) {
        0 if at < len => bytes[at] ^= 1 << random.below(8),
        1 if at < len => bytes[at] = random.next_u64().to_le_bytes()[0],
        2 => {
            let end = at + random.below((len - at).min(16) + 1);
            bytes.drain(at..end);
        }
        3 => {
            let end = at + random.below((len - at).min(64) + 1);
            let piece = bytes[at..end].to_vec();
            let to = random.below(len + 1);
            bytes.splice(to..to, piece);
        }
        4 => overwrite_with_edge(&mut bytes[at..], random),
        5 => bytes.truncate(at),
        6 => {
            let other = parents.get(random.below(parents.len())).map_or(&[][..], Vec::as_slice);
            let from = random.below(other.len() + 1);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        _ => bytes.insert(at, random.next_u64().to_le_bytes()[0]),
    }
}

/// Writes an edge, or a number next to one, over the front of `bytes`.
fn overwrite_with_edge(bytes: &mut [u8], random: &mut Random) {
    let edge = EDGES[random.below(EDGES.len())].wrapping_add(random.below(3) as u64);
    let width = (1 << random.below(4)).min(bytes.len());
    let big_endian = random.below(2) == 0;
    for (index, byte) in bytes[..width].iter_mut().enumerate() {
        let place = if big_endian { width - 1 - index } else { index };
        *byte = edge.to_le_bytes()[place];
    }
}
