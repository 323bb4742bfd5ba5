//! Running sums of the fletchers, by their definitions, and how the sums of two
//! runs give those of both, one after the other.

/// The accumulators of fletcher2 after some run of pairs of 64-bit words, all
/// modulo 2^64: of even words at 0, of odd words at 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums2 {
    pub(super) a: [u64; 2],
    pub(super) b: [u64; 2],
}

impl Sums2 {
    /// The definition: one pair after the other. `data` is read as whole pairs;
    /// a shorter rest is left out.
    #[inline(always)]
    pub(super) fn push_pairs<const BIG: bool>(&mut self, data: &[u8]) {
        let Self { a: [mut a0, mut a1], b: [mut b0, mut b1] } = *self;
        for &[even, odd] in data.as_chunks::<8>().0.as_chunks::<2>().0 {
            a0 = a0.wrapping_add(read_u64::<BIG>(even));
            a1 = a1.wrapping_add(read_u64::<BIG>(odd));
            b0 = b0.wrapping_add(a0);
            b1 = b1.wrapping_add(a1);
        }
        *self = Self { a: [a0, a1], b: [b0, b1] };
    }

    /// The sums of "the run of `self`, then a run of `pairs` pairs whose own
    /// sums, started from zero, are `tail`": while n pairs go by, a constant `a`
    /// enters `b` n times.
    pub(super) fn append(self, pairs: u64, tail: Self) -> Self {
        let b = |i: usize| self.b[i].wrapping_add(pairs.wrapping_mul(self.a[i]));
        Self {
            a: [0, 1].map(|i| self.a[i].wrapping_add(tail.a[i])),
            b: [0, 1].map(|i| b(i).wrapping_add(tail.b[i])),
        }
    }
}

/// The accumulators of fletcher4 after some run of 32-bit words, modulo 2^64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums4 {
    pub(super) a: u64,
    pub(super) b: u64,
    pub(super) c: u64,
    pub(super) d: u64,
}

impl Sums4 {
    /// The definition: one word after the other. `data` is read as whole
    /// 32-bit words; a shorter rest is left out.
    #[inline(always)]
    pub(super) fn push_words<const BIG: bool>(&mut self, data: &[u8]) {
        let Self { mut a, mut b, mut c, mut d } = *self;
        for &word in data.as_chunks::<4>().0 {
            a = a.wrapping_add(u64::from(read_u32::<BIG>(word)));
            b = b.wrapping_add(a);
            c = c.wrapping_add(b);
            d = d.wrapping_add(c);
        }
        *self = Self { a, b, c, d };
    }

    /// The sums of "the run of `self`, then a run of `words` words whose own
    /// sums, started from zero, are `tail`".
    ///
    /// While n words go by, a constant `a` enters `b` n times, `c` n(n+1)/2
    /// times and `d` n(n+1)(n+2)/6 times; likewise `b` into `c` and `d`, and
    /// `c` into `d`. Example: the word 1, then the word 2: {1,1,1,1} and, n = 1,
    /// {2,2,2,2} give a = 3, b = 1+1+2 = 4, c = 1+1+1+2 = 5, d = 1+1+1+1+2 = 6.
    pub(super) fn append(self, words: u64, tail: Self) -> Self {
        let (n1, n2, n3) = (words, triangle(words), tetrahedron(words));
        let times = u64::wrapping_mul;
        let moved = Self {
            a: self.a,
            b: self.b.wrapping_add(times(n1, self.a)),
            c: self.c.wrapping_add(times(n1, self.b)).wrapping_add(times(n2, self.a)),
            d: self
                .d
                .wrapping_add(times(n1, self.c))
                .wrapping_add(times(n2, self.b))
                .wrapping_add(times(n3, self.a)),
        };
        moved.plus(tail)
    }

    /// Sum by sum.
    #[inline(always)]
    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            a: self.a.wrapping_add(other.a),
            b: self.b.wrapping_add(other.b),
            c: self.c.wrapping_add(other.c),
            d: self.d.wrapping_add(other.d),
        }
    }
}

/// One 32-bit word of a writer whose order is given by `BIG`.
#[inline(always)]
pub(super) const fn read_u32<const BIG: bool>(bytes: [u8; 4]) -> u32 {
    if BIG { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
}

/// One 64-bit word of a writer whose order is given by `BIG`.
#[inline(always)]
pub(super) const fn read_u64<const BIG: bool>(bytes: [u8; 8]) -> u64 {
    if BIG { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) }
}

/// n(n+1)/2 modulo 2^64.
const fn triangle(n: u64) -> u64 {
    // One of the two is even; halve it before the product can wrap.
    if n.is_multiple_of(2) { (n / 2).wrapping_mul(n + 1) } else { n.wrapping_mul(n.div_ceil(2)) }
}

/// n(n+1)(n+2)/6 modulo 2^64.
const fn tetrahedron(n: u64) -> u64 {
    // Exactly one of three neighbours is a multiple of 3, and one of the first
    // two is even: divide those before the product can wrap.
    let (mut x, mut y, mut z) = (n, n + 1, n + 2);
    match n % 3 {
        0 => x /= 3,
        1 => z /= 3,
        _ => y /= 3,
    }
    if x.is_multiple_of(2) {
        x /= 2;
    } else {
        y /= 2;
    }
    x.wrapping_mul(y).wrapping_mul(z)
}
