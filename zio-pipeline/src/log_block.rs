//! Blocks of an intent log: placed before they are written (spec 8.7).
//!
//! A log block holds the pointer to the next one, so its place has to be there before its
//! content, and its pointer cannot hold its checksum. The pointer's checksum field holds a
//! *seed* instead, which log and number in it a block is, and the block holds a
//! checksum over itself and the seed.

use checksum::Algorithm;
use checksum::embedded::{LOG_COVER_BYTES, LOG_HEAD_BYTES};
use zio_core::bp::{COMPRESSION_OFF, Properties};
use zio_core::segment::BLOCK_BYTES_MAX;
use zio_core::{
    BlockPointer, Data, Error, ErrorKind, Flags, Priority, Request, SpaceClass, Stages, Want,
    WriteProps, ZioType,
};

use crate::pending::Pending;
use crate::pipeline::{IntoData, Pipeline};
use crate::read::Read;
use crate::stages::allocate;

/// Object type of a log block.
const OBJECT_TYPE_LOG: u8 = 9;

/// Which block of which log: the checksum field of a pointer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogSeed {
    /// Names the chain; no other one of the pool, past or future, has the same. Random.
    pub chain: [u64; 2],
    /// The set of objects that the log belongs to.
    pub objset: u64,
    /// Number of the block in its chain.
    pub sequence: u64,
}

impl LogSeed {
    /// The seed in a pointer to a log block; `None` for any other pointer.
    pub fn of(bp: &BlockPointer) -> Option<Self> {
        if !is_log_block(bp) {
            return None;
        }
        let [a, b, objset, sequence] = bp.checksum();
        Some(Self { chain: [a, b], objset, sequence })
    }

    fn words(self) -> [u64; 4] {
        [self.chain[0], self.chain[1], self.objset, self.sequence]
    }
}

/// A pointer as [`Pipeline::allocate_log`] makes them.
fn is_log_block(bp: &BlockPointer) -> bool {
    bp.checksum_id() == Algorithm::Zilog2.id()
        && bp.copies() == 1
        && !(bp.is_hole() || bp.is_embedded() || bp.is_gang() || bp.is_dedup() || bp.is_crypt())
        && bp.compression() == COMPRESSION_OFF
}

impl Pipeline {
    /// Finds a place for a log block, and writes nothing. The block is as long as it is said here;
    /// its one copy is never a gang.
    ///
    /// The place belongs to the caller, who [frees](Self::free) it, written or not.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`]; [`ErrorKind::Invalid`]: a size that is not a multiple of 4 KiB, is
    /// none, or more than the largest block.
    pub fn allocate_log(&self, size_bytes: usize, seed: LogSeed) -> Result<BlockPointer, Error> {
        if size_bytes == 0
            || !size_bytes.is_multiple_of(LOG_COVER_BYTES)
            || size_bytes > BLOCK_BYTES_MAX
        {
            let words = format!(
                "a log block of {size_bytes} bytes; sizes are multiples of {LOG_COVER_BYTES} up to {BLOCK_BYTES_MAX}"
            );
            return Err(Error::msg(ErrorKind::Invalid, words));
        }
        let mut bp = BlockPointer::with_properties(&Properties {
            lsize_bytes: size_bytes as u64,
            psize_bytes: size_bytes as u64,
            compression: COMPRESSION_OFF,
            checksum: Algorithm::Zilog2.id(),
            object_type: OBJECT_TYPE_LOG,
            level: 0,
            crypt: false,
            dedup: false,
            order: zio_core::bp::ByteOrder::NATIVE,
        });
        let txg = self.txg();
        let want = Want {
            size_bytes: size_bytes as u64,
            copies: 1,
            txg,
            class: SpaceClass::Log,
            affinity: seed.objset as u32,
            ..Want::default()
        };
        for (index, dva) in allocate(self.shared(), &want)?.iter().enumerate() {
            bp.set_dva(index, *dva);
        }
        bp.set_birth(txg, txg);
        bp.set_checksum(seed.words());
        Ok(bp)
    }

    /// Writes a log block to its place: `data` is as long as it was said when that was
    /// [allocated](Self::allocate_log), and begins with a head in this machine's byte order, of
    /// which 8 bytes are unused, 128 are the pointer to the next block, and 8 the number of bytes
    /// used, head included. The 40 behind them are replaced, in a copy, by the checksum of
    /// the used part.
    pub fn write_log(&self, bp: &BlockPointer, data: impl IntoData) -> Pending<()> {
        let data: Data = data.into_data(self);
        Pending::new(admit(bp, data.len()).map(|()| {
            let flags = Flags::CANFAIL | Flags::IO_REWRITE;
            let mut zio = self.engine().make(ZioType::Write, flags, Stages::REWRITE);
            zio.bp = *bp;
            zio.lsize_bytes = data.len();
            zio.size_bytes = data.len();
            zio.data = data;
            zio.props = WriteProps { checksum: bp.checksum_id(), ..WriteProps::default() };
            zio.priority = Priority::SyncWrite;
            zio.txg = bp.birth();
            Request::new(zio)
        }))
    }
}

fn admit(bp: &BlockPointer, len_bytes: usize) -> Result<(), Error> {
    let invalid = |words| Err(Error::msg(ErrorKind::Invalid, words));
    if !is_log_block(bp) {
        return invalid(format!("{bp} is not a pointer to a log block"));
    }
    if len_bytes as u64 != bp.psize_bytes() || len_bytes < LOG_HEAD_BYTES {
        return invalid(format!("{len_bytes} bytes for {bp}"));
    }
    Ok(())
}

impl Read {
    /// A read that may well find nothing, and is no sign of damage then: the block behind the last
    /// one of a log.
    pub fn speculative(self) -> Self {
        self.with(|zio| {
            zio.add_flags(Flags::SPECULATIVE);
            Ok(())
        })
    }
}
