//! Running sums of fletcher4 and their closed-form concatenation.

use crate::ByteOrder;

/// The four accumulators after some run of 32-bit words, modulo 2^64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) a: u64,
    pub(crate) b: u64,
    pub(crate) c: u64,
    pub(crate) d: u64,
}

impl Sums {
    /// The definition: one word after the other. `data` is read as whole
    /// 32-bit words; a shorter rest is left out.
    #[inline(always)]
    pub(crate) fn push_words<const BIG: bool>(&mut self, data: &[u8]) {
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
    pub(crate) fn append(self, words: u64, tail: Self) -> Self {
        let (n1, n2, n3) = (words, triangle(words), tetrahedron(words));
        let times = u64::wrapping_mul;
        Self {
            a: self.a.wrapping_add(tail.a),
            b: self.b.wrapping_add(times(n1, self.a)).wrapping_add(tail.b),
            c: self
                .c
                .wrapping_add(times(n1, self.b))
                .wrapping_add(times(n2, self.a))
                .wrapping_add(tail.c),
            d: self
                .d
                .wrapping_add(times(n1, self.c))
                .wrapping_add(times(n2, self.b))
                .wrapping_add(times(n3, self.a))
                .wrapping_add(tail.d),
        }
    }
}

/// One 32-bit word of a writer whose order is given by `BIG`.
#[inline(always)]
pub(crate) const fn read_u32<const BIG: bool>(bytes: [u8; 4]) -> u32 {
    if BIG { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
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

/// The scalar kernel: sums of whole words of `data`, from zero.
pub(crate) fn scalar(order: ByteOrder, data: &[u8]) -> Sums {
    let mut sums = Sums::default();
    match order {
        ByteOrder::Little => sums.push_words::<false>(data),
        ByteOrder::Big => sums.push_words::<true>(data),
    }
    sums
}
