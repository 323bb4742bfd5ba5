//! Where a block's contents are stored.

/// A data virtual address: two words that mean something to the pool, not here. All zeros is "no
/// address".
pub type Dva = [u64; 2];

const NO_DVA: Dva = [0; 2];

/// One stored block: up to three addresses and the transaction group of its birth.
///
/// Always has a first address and a birth; one without cannot be built.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Phys {
    dvas: [Dva; 3],
    birth_txg: u64,
}

/// What tells one stored block from every other, for the whole life of the pool: its first address
/// and its birth.
///
/// The number of addresses says nothing about a block: a gang header has more of them than the
/// block has copies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Identity {
    /// The first address.
    pub dva0: Dva,
    /// The physical birth: the transaction group in which the block was written.
    pub birth_txg: u64,
}

/// Why addresses and birth are no stored block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PhysError {
    /// The first address is missing.
    #[error("stored block has no first address (addresses {dvas:x?})")]
    NoAddress {
        /// The addresses given.
        dvas: [Dva; 3],
    },
    /// Birth zero means "not stored".
    #[error("stored block at {dva0:x?} has birth 0")]
    NoBirth {
        /// Its first address.
        dva0: Dva,
    },
}

impl Phys {
    /// A stored block; unused addresses are zero.
    ///
    /// # Errors
    ///
    /// [`PhysError`] if the first address or the birth is missing.
    pub const fn new(dvas: [Dva; 3], birth_txg: u64) -> Result<Self, PhysError> {
        let [dva0, ..] = dvas;
        if dva0[0] == 0 && dva0[1] == 0 {
            Err(PhysError::NoAddress { dvas })
        } else if birth_txg == 0 {
            Err(PhysError::NoBirth { dva0 })
        } else {
            Ok(Self { dvas, birth_txg })
        }
    }

    /// A stored block with one address, known to be valid because a valid one was taken apart.
    pub(crate) const fn rebuilt(dva0: Dva, birth_txg: u64) -> Self {
        Self { dvas: [dva0, NO_DVA, NO_DVA], birth_txg }
    }

    /// The addresses; unused ones are zero.
    pub const fn dvas(&self) -> [Dva; 3] {
        self.dvas
    }

    /// The transaction group in which the block was written.
    pub const fn birth_txg(&self) -> u64 {
        self.birth_txg
    }

    /// What tells this block from all others.
    pub const fn identity(&self) -> Identity {
        Identity { dva0: self.dvas[0], birth_txg: self.birth_txg }
    }

    pub(crate) fn has_one_address(&self) -> bool {
        self.dvas[1] == NO_DVA && self.dvas[2] == NO_DVA
    }
}

/// How many copies of a block its writer asked for. Blocks of the same contents written with
/// different numbers of copies are stored apart and share nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Copies {
    /// One copy.
    One = 1,
    /// Two copies.
    Two = 2,
    /// Three copies.
    Three = 3,
}

impl Copies {
    /// `n` copies, or `None` unless `1 <= n <= 3`.
    pub const fn new(n: u8) -> Option<Self> {
        match n {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            3 => Some(Self::Three),
            _ => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self as u8
    }
}
