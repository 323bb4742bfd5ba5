//! The block pointer: 128 bytes that say where a block is and prove what it
//! holds (spec 2).
//!
//! Two types keep trust apart. [`RawPointer`] is what came from a disk, a
//! network or a file: 128 bytes, nothing believed. [`BlockPointer`] is usable:
//! made by this pipeline, or by [`RawPointer::check`], which is the only way
//! from one to the other.
//!
//! | word | content of a normal pointer |
//! |---|---|
//! | 0–5 | three DVAs |
//! | 6 | properties: sizes, compression, checksum, type, level, flags |
//! | 7, 8 | padding |
//! | 9 | physical birth txg; 0 = same as logical |
//! | 10 | logical birth txg |
//! | 11 | fill count |
//! | 12–15 | 256-bit checksum |

mod check;
mod crypt;
mod dva;
mod embedded;
mod gang;

use std::fmt;

pub use check::{BadPointer, PoolShape, RawPointer};
pub use crypt::{CryptWords, OBJECT_TYPE_OBJSET};
pub use dva::{Dva, SECTOR_BYTES, SECTOR_SHIFT};
pub use embedded::{EMBEDDED_PAYLOAD_BYTES_MAX, Embedded};
pub use gang::{BadGang, GANG_HEADER_BYTES, GANG_TRAILER_BYTES, encode_gang_header, gang_slots};

use crate::types::Txg;

/// Bytes of a block pointer on disk.
pub const BLOCK_POINTER_BYTES: usize = 128;

/// Most copies of a block.
pub const DVAS_MAX: usize = 3;

/// Checksum ids in use (spec 7.1); an id is below this.
pub const CHECKSUM_IDS: u8 = 15;

/// Compression ids in use (spec 7.5); an id is below this.
pub const COMPRESSION_IDS: u8 = 17;

/// Id of "no compression".
pub const COMPRESSION_OFF: u8 = 2;

const WORD_PROPS: usize = 6;
const WORD_PHYSICAL_BIRTH: usize = 9;
const WORD_BIRTH: usize = 10;
const WORD_FILL: usize = 11;
const WORD_CHECKSUM: usize = 12;

/// Byte order of a writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Least significant byte first.
    #[default]
    Little,
    /// Most significant byte first.
    Big,
}

impl ByteOrder {
    /// The order of the machine this runs on.
    pub const NATIVE: Self = if cfg!(target_endian = "little") { Self::Little } else { Self::Big };
}

/// A bit range of word 6.
#[derive(Clone, Copy)]
struct Field {
    low: u32,
    bits: u32,
}

impl Field {
    const fn get(self, word: u64) -> u64 {
        (word >> self.low) & ((1 << self.bits) - 1)
    }

    const fn set(self, word: u64, value: u64) -> u64 {
        let mask = ((1 << self.bits) - 1) << self.low;
        (word & !mask) | ((value << self.low) & mask)
    }
}

const LSIZE: Field = Field { low: 0, bits: 16 };
const PSIZE: Field = Field { low: 16, bits: 16 };
const COMPRESSION: Field = Field { low: 32, bits: 7 };
const EMBEDDED: Field = Field { low: 39, bits: 1 };
const CHECKSUM: Field = Field { low: 40, bits: 8 };
const TYPE: Field = Field { low: 48, bits: 8 };
const LEVEL: Field = Field { low: 56, bits: 5 };
const CRYPT: Field = Field { low: 61, bits: 1 };
const DEDUP: Field = Field { low: 62, bits: 1 };
const ORDER: Field = Field { low: 63, bits: 1 };

/// The properties of a normal pointer, spelled out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Properties {
    /// Logical size in bytes, a multiple of 512, 512 B … 32 MiB.
    pub lsize_bytes: u64,
    /// Physical size in bytes, likewise.
    pub psize_bytes: u64,
    /// Compression id (spec 7.5).
    pub compression: u8,
    /// Checksum id (spec 7.1).
    pub checksum: u8,
    /// Object type.
    pub object_type: u8,
    /// Level: 0 is data.
    pub level: u8,
    /// Does it go through the encryption machinery?
    pub crypt: bool,
    /// Is it in the dedup table?
    pub dedup: bool,
    /// Byte order of the block's writer.
    pub order: ByteOrder,
}

impl Properties {
    /// A plain block of a file's contents, stored as it is: not compressed, under fletcher4,
    /// written by a little-endian machine.
    pub const fn plain(size_bytes: u64) -> Self {
        Self {
            lsize_bytes: size_bytes,
            psize_bytes: size_bytes,
            compression: 2,
            checksum: 7,
            object_type: 19,
            level: 0,
            crypt: false,
            dedup: false,
            order: ByteOrder::Little,
        }
    }
}

/// A usable block pointer.
///
/// ```
/// use zio_core::{BlockPointer, Dva, VdevId, bp::{ByteOrder, Properties}};
///
/// let mut bp = BlockPointer::with_properties(&Properties {
///     lsize_bytes: 131072, psize_bytes: 4096, compression: 15, checksum: 8,
///     object_type: 19, level: 0, crypt: false, dedup: false, order: ByteOrder::Little,
/// });
/// bp.set_dva(0, Dva::new(VdevId(0), 0x8000, 4096));
/// assert_eq!(bp.words()[6], 0x8013_080f_0007_00ff);
/// assert_eq!(bp.copies(), 1);
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct BlockPointer([u64; 16]);

impl BlockPointer {
    /// All zero: never written.
    pub const EMPTY: Self = Self([0; 16]);

    /// A pointer with these properties and no address, birth or checksum yet.
    pub fn with_properties(p: &Properties) -> Self {
        let mut bp = Self::EMPTY;
        bp.set_properties(p);
        bp
    }

    /// A hole: a block of zeros that takes no space.
    pub fn hole(lsize_bytes: u64, object_type: u8, level: u8, birth: Txg) -> Self {
        let mut word = LSIZE.set(0, sectors_minus_one(lsize_bytes));
        word = TYPE.set(word, u64::from(object_type));
        word = LEVEL.set(word, u64::from(level));
        let mut bp = Self::EMPTY;
        bp.0[WORD_PROPS] = word;
        bp.0[WORD_BIRTH] = birth;
        bp
    }

    pub(crate) const fn from_words(words: [u64; 16]) -> Self {
        Self(words)
    }

    /// The sixteen words, in native order.
    pub const fn words(&self) -> &[u64; 16] {
        &self.0
    }

    /// The on-disk form, little-endian.
    pub fn to_bytes(&self) -> [u8; BLOCK_POINTER_BYTES] {
        self.to_bytes_in(ByteOrder::Little)
    }

    /// The on-disk form in the order of its parent block's writer.
    pub fn to_bytes_in(&self, order: ByteOrder) -> [u8; BLOCK_POINTER_BYTES] {
        let mut out = [0; BLOCK_POINTER_BYTES];
        for (chunk, word) in out.chunks_exact_mut(8).zip(self.0) {
            chunk.copy_from_slice(&match order {
                ByteOrder::Little => word.to_le_bytes(),
                ByteOrder::Big => word.to_be_bytes(),
            });
        }
        out
    }

    /// Untrusted bytes in little-endian order; same as [`RawPointer::from_bytes`].
    pub fn from_bytes(bytes: &[u8; BLOCK_POINTER_BYTES]) -> RawPointer {
        RawPointer::from_bytes(bytes, ByteOrder::Little)
    }

    /// Properties of a pointer that is neither a hole nor embedded.
    pub fn properties(&self) -> Properties {
        Properties {
            lsize_bytes: self.lsize_bytes(),
            psize_bytes: self.psize_bytes(),
            compression: self.compression(),
            checksum: self.checksum_id(),
            object_type: self.object_type(),
            level: self.level(),
            crypt: self.is_crypt(),
            dedup: self.is_dedup(),
            order: self.order(),
        }
    }

    /// Sets all of word 6.
    pub fn set_properties(&mut self, p: &Properties) {
        let mut word = 0;
        word = LSIZE.set(word, sectors_minus_one(p.lsize_bytes));
        word = PSIZE.set(word, sectors_minus_one(p.psize_bytes));
        word = COMPRESSION.set(word, u64::from(p.compression));
        word = CHECKSUM.set(word, u64::from(p.checksum));
        word = TYPE.set(word, u64::from(p.object_type));
        word = LEVEL.set(word, u64::from(p.level));
        word = CRYPT.set(word, u64::from(p.crypt));
        word = DEDUP.set(word, u64::from(p.dedup));
        word = ORDER.set(word, u64::from(p.order == ByteOrder::Little));
        self.0[WORD_PROPS] = word;
    }

    const fn props(&self) -> u64 {
        self.0[WORD_PROPS]
    }

    /// DVA `index`, valid or not; `None` beyond the third.
    pub fn dva(&self, index: usize) -> Option<Dva> {
        (index < DVAS_MAX).then(|| Dva::from_words([self.0[index * 2], self.0[index * 2 + 1]]))
    }

    /// Sets DVA `index`.
    ///
    /// # Panics
    /// When `index` is above 2.
    pub fn set_dva(&mut self, index: usize, dva: Dva) {
        assert!(index < DVAS_MAX, "a block pointer has no DVA {index}");
        [self.0[index * 2], self.0[index * 2 + 1]] = dva.words();
    }

    /// The valid DVAs, in order. The third is not one when the block is
    /// encrypted (it holds salt and IV then); an embedded pointer has none.
    pub fn dvas(&self) -> impl Iterator<Item = Dva> + use<> {
        let count = match (self.is_embedded(), self.is_encrypted()) {
            (true, _) => 0,
            (false, true) => 2,
            (false, false) => 3,
        };
        let words = self.0;
        (0..count)
            .map(move |i| Dva::from_words([words[i * 2], words[i * 2 + 1]]))
            .filter(|dva| dva.is_valid())
    }

    /// Number of valid DVAs.
    pub fn copies(&self) -> usize {
        self.dvas().count()
    }

    /// Allocated size of all copies, in bytes.
    pub fn asize_bytes(&self) -> u64 {
        self.dvas().map(Dva::asize_bytes).sum()
    }

    /// Logical size in bytes.
    pub fn lsize_bytes(&self) -> u64 {
        if self.is_embedded() {
            embedded::lsize_bytes(self.props())
        } else {
            (LSIZE.get(self.props()) + 1) * SECTOR_BYTES
        }
    }

    /// Stored size in bytes.
    pub fn psize_bytes(&self) -> u64 {
        if self.is_embedded() {
            embedded::psize_bytes(self.props())
        } else {
            (PSIZE.get(self.props()) + 1) * SECTOR_BYTES
        }
    }

    /// Compression id.
    pub const fn compression(&self) -> u8 {
        COMPRESSION.get(self.props()) as u8
    }

    /// Checksum id. Of an embedded pointer these bits hold its kind.
    pub const fn checksum_id(&self) -> u8 {
        CHECKSUM.get(self.props()) as u8
    }

    /// Object type.
    pub const fn object_type(&self) -> u8 {
        TYPE.get(self.props()) as u8
    }

    /// Level; 0 is data.
    pub const fn level(&self) -> u8 {
        LEVEL.get(self.props()) as u8
    }

    /// Is the data in the pointer itself?
    pub const fn is_embedded(&self) -> bool {
        EMBEDDED.get(self.props()) != 0
    }

    /// Does it use the encryption machinery (encrypted, or authenticated only)?
    pub const fn is_crypt(&self) -> bool {
        CRYPT.get(self.props()) != 0
    }

    /// Is it shared through the dedup table?
    pub const fn is_dedup(&self) -> bool {
        DEDUP.get(self.props()) != 0
    }

    /// Marks the block as shared through the dedup table, or not.
    pub fn set_dedup(&mut self, dedup: bool) {
        self.0[WORD_PROPS] = DEDUP.set(self.props(), u64::from(dedup));
    }

    /// Byte order of the block's writer.
    pub const fn order(&self) -> ByteOrder {
        if ORDER.get(self.props()) != 0 { ByteOrder::Little } else { ByteOrder::Big }
    }

    /// A hole: not embedded, and without a first address.
    pub fn is_hole(&self) -> bool {
        !self.is_embedded() && self.0[0] == 0 && self.0[1] == 0
    }

    /// Do its addresses point at gang headers?
    pub fn is_gang(&self) -> bool {
        !self.is_embedded() && Dva::from_words([self.0[0], self.0[1]]).is_gang()
    }

    /// Logical birth txg.
    pub const fn birth(&self) -> Txg {
        self.0[WORD_BIRTH]
    }

    /// Txg in which the data was put where it is.
    pub const fn physical_birth(&self) -> Txg {
        match (self.is_embedded(), self.0[WORD_PHYSICAL_BIRTH]) {
            (true, _) | (false, 0) => self.0[WORD_BIRTH],
            (false, txg) => txg,
        }
    }

    /// Sets both births; equal ones are stored as "physical 0".
    pub fn set_birth(&mut self, birth: Txg, physical: Txg) {
        self.0[WORD_BIRTH] = birth;
        self.0[WORD_PHYSICAL_BIRTH] = if physical == birth { 0 } else { physical };
    }

    /// Number of non-zero level-0 blocks at or below this one.
    pub const fn fill(&self) -> u64 {
        match (self.is_embedded(), self.is_encrypted()) {
            (true, _) => 1,
            (false, true) => self.0[WORD_FILL] & 0xffff_ffff,
            (false, false) => self.0[WORD_FILL],
        }
    }

    /// Sets the fill count; of an encrypted block the low half of the word, for
    /// the high half is part of the IV.
    pub fn set_fill(&mut self, fill: u64) {
        self.0[WORD_FILL] = if self.is_encrypted() {
            (self.0[WORD_FILL] & !0xffff_ffff) | (fill & 0xffff_ffff)
        } else {
            fill
        };
    }

    /// The 256-bit checksum, as four words.
    pub const fn checksum(&self) -> [u64; 4] {
        [
            self.0[WORD_CHECKSUM],
            self.0[WORD_CHECKSUM + 1],
            self.0[WORD_CHECKSUM + 2],
            self.0[WORD_CHECKSUM + 3],
        ]
    }

    /// Sets the checksum.
    pub fn set_checksum(&mut self, words: [u64; 4]) {
        self.0[WORD_CHECKSUM..].copy_from_slice(&words);
    }

    /// Do both pointers name the same stored block: equal births and addresses (spec 2.1)?
    pub fn same_block(&self, other: &Self) -> bool {
        self.0[..6] == other.0[..6]
            && self.birth() == other.birth()
            && self.physical_birth() == other.physical_birth()
    }

    /// Is this block to be freed, now that a write over it has ended in `new`? Not where the
    /// block was kept, or written over in place: the space is that of `new` then. A shared
    /// block is: `new` has a reference of its own, be it to the same space.
    pub fn is_replaced_by(&self, new: &Self) -> bool {
        new.is_dedup() || !self.dvas().eq(new.dvas())
    }
}

const fn sectors_minus_one(bytes: u64) -> u64 {
    debug_assert!(
        bytes > 0 && bytes.is_multiple_of(SECTOR_BYTES) && bytes >> SECTOR_SHIFT <= 1 << 16
    );
    (bytes >> SECTOR_SHIFT).saturating_sub(1)
}

impl fmt::Debug for BlockPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for BlockPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lsize, birth) = (self.lsize_bytes(), self.birth());
        if *self == Self::EMPTY {
            return f.write_str("bp(never written)");
        }
        if self.is_hole() {
            return write!(f, "bp(hole, {lsize} bytes, birth {birth})");
        }
        if self.is_embedded() {
            let psize = self.psize_bytes();
            return write!(f, "bp(embedded, {lsize} from {psize} bytes, birth {birth})");
        }
        write!(f, "bp({lsize}/{} bytes", self.psize_bytes())?;
        for dva in self.dvas() {
            write!(f, ", {dva}")?;
        }
        write!(f, ", checksum {}, compression {}", self.checksum_id(), self.compression())?;
        if self.is_dedup() {
            f.write_str(", dedup")?;
        }
        write!(f, ", birth {birth}/{})", self.physical_birth())
    }
}
