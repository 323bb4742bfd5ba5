//! How a block is to be written, in the words of the checksum and transform crates.

use checksum::{Algorithm, Flags as ChecksumFlags};
use transform::Compression;
use zio_core::{BlockPointer, Error, ErrorKind, Txg, WriteProps};

use crate::pending::Pending;

/// Sets the checksum; refuses what is not the checksum of a block.
pub(crate) fn set_checksum(props: &mut WriteProps, algorithm: Algorithm) -> Result<(), Error> {
    if algorithm.flags().contains(ChecksumFlags::EMBEDDED) {
        return Err(Error::msg(
            ErrorKind::Invalid,
            format!("{algorithm} is not the checksum of a block"),
        ));
    }
    props.checksum = algorithm.id();
    Ok(())
}

/// Sets the compression and its level.
pub(crate) fn set_compression(props: &mut WriteProps, compression: Compression) {
    props.compression = compression.id();
    props.compression_level = match compression {
        Compression::Zstd(level) => level.id(),
        _ => 0,
    };
}

/// Is this set of properties one that can be written?
pub(crate) fn check(props: &WriteProps) -> Result<(), Error> {
    if !(1..=3).contains(&props.copies) {
        let words = format!("{} copies; a block has 1 to 3", props.copies);
        return Err(Error::msg(ErrorKind::Invalid, words));
    }
    let strong = Algorithm::from_id(props.checksum)
        .is_ok_and(|a| a.flags().contains(ChecksumFlags::DEDUP));
    if props.dedup && !strong {
        return Err(Error::msg(
            ErrorKind::Invalid,
            "dedup without a checksum strong enough to take equal sums for equal blocks",
        ));
    }
    Ok(())
}

/// A write with its properties; ends in the pointer of the new block.
pub type Write = Pending<BlockPointer>;

impl Write {
    /// The checksum. fletcher4 unless told otherwise.
    pub fn checksum(self, algorithm: Algorithm) -> Self {
        self.with(|zio| set_checksum(&mut zio.props, algorithm))
    }

    /// The compression. Off unless told otherwise; with any other a block of
    /// zeros takes no space.
    pub fn compression(self, compression: Compression) -> Self {
        self.with(|zio| {
            set_compression(&mut zio.props, compression);
            Ok(())
        })
    }

    /// Copies, 1 to 3, on different devices where there are as many.
    pub fn copies(self, copies: u8) -> Self {
        self.with(|zio| {
            zio.props.copies = copies;
            check(&WriteProps { dedup: false, ..zio.props })
        })
    }

    /// Share the block with equal ones that were written with dedup. Wants a
    /// dedup-strong checksum ([`Algorithm::Sha256`], [`Algorithm::Blake3`] …).
    pub fn dedup(self, dedup: bool) -> Self {
        self.with(|zio| {
            zio.props.dedup = dedup;
            Ok(())
        })
    }

    /// The object type in the pointer; 19, plain contents, unless told otherwise.
    pub fn object_type(self, object_type: u8) -> Self {
        self.with(|zio| {
            zio.props.object_type = object_type;
            Ok(())
        })
    }

    /// The level in the pointer; 0, data, unless told otherwise.
    pub fn level(self, level: u8) -> Self {
        self.with(|zio| {
            zio.props.level = level;
            Ok(())
        })
    }

    /// Calls `ready` once the pointer is final, before the data is on the
    /// device: a parent block can be built from it.
    pub fn on_ready(self, ready: impl FnOnce(&BlockPointer) + Send + 'static) -> Self {
        self.with(|zio| {
            zio.on_ready(Box::new(ready));
            Ok(())
        })
    }

    /// Birth transaction group; the pipeline's current one unless told otherwise.
    pub fn txg(self, txg: Txg) -> Self {
        self.with(|zio| {
            zio.txg = txg;
            Ok(())
        })
    }
}
