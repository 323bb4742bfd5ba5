//! How a block is to be read.

use zio_core::segment::BLOCK_BYTES_MAX;
use zio_core::{BlockPointer, Data, Error, ErrorKind, Flags};

use crate::pending::Pending;

/// A read with its properties; ends in the data of the block.
pub type Read = Pending<Data>;

impl Read {
    /// Whether bad copies that the read comes across are written anew from the
    /// good one; they are unless told otherwise.
    ///
    /// What is written over is what the pointer names. Say `false` where the pointer itself is
    /// doubtful: a damaged second address would have the copy written over another block.
    pub fn repair(self, repair: bool) -> Self {
        self.with(|zio| {
            if repair {
                zio.remove_flags(Flags::DONT_REPAIR);
            } else {
                zio.add_flags(Flags::DONT_REPAIR);
            }
            Ok(())
        })
    }

    /// Read and verify every copy on every leaf, not just the first that is good: with
    /// [repair](Self::repair) all of them are good afterwards. What a scrub does.
    pub fn every_copy(self) -> Self {
        self.with(|zio| {
            zio.add_flags(Flags::SCRUB);
            Ok(())
        })
    }

    /// The block as it is stored: verified, and neither decrypted nor decompressed. It has
    /// [`psize_bytes`](BlockPointer::psize_bytes); a hole has none stored and reads as zeros.
    pub fn raw(self) -> Self {
        self.with(|zio| {
            zio.add_flags(Flags::RAW);
            Ok(())
        })
    }

    /// The size of the block, where its pointer does not say: one that was
    /// [never written](BlockPointer::EMPTY). Ignored for all others.
    pub fn size_if_never_written(self, len_bytes: usize) -> Self {
        self.with(|zio| {
            if len_bytes == 0 || len_bytes > BLOCK_BYTES_MAX {
                return Err(Error::msg(
                    ErrorKind::Invalid,
                    format!("a block of {len_bytes} bytes; it has 1 to {BLOCK_BYTES_MAX}"),
                ));
            }
            if zio.bp == BlockPointer::EMPTY {
                zio.lsize_bytes = len_bytes;
                zio.size_bytes = len_bytes;
            }
            Ok(())
        })
    }
}
