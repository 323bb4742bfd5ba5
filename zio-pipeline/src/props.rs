//! How a block is to be written, in the words of the checksum and transform crates.

use checksum::{Algorithm, Flags as ChecksumFlags};
use transform::Compression;
use zio_core::bp::{PoolShape, SECTOR_BYTES};
use zio_core::{BlockPointer, Error, ErrorKind, SpaceClass, Txg, VdevId, WriteProps};

use crate::crypt;
use crate::pending::Pending;

/// Levels a pointer can name: five bits.
const LEVEL_MAX: u8 = 31;

/// Sets the checksum; refuses what is not the checksum of a block.
pub(crate) fn set_checksum(props: &mut WriteProps, algorithm: Algorithm) -> Result<(), Error> {
    if algorithm.flags().contains(ChecksumFlags::EMBEDDED) {
        return Err(invalid(format!("{algorithm} is not the checksum of a block")));
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

/// Do these properties go together? Each by itself was checked when it was set.
pub(crate) fn check(props: &WriteProps) -> Result<(), Error> {
    crypt::check(props)?;
    if !props.dedup {
        return Ok(());
    }
    match Algorithm::from_id(props.checksum) {
        Ok(algorithm) if names_blocks(algorithm) => Ok(()),
        Ok(none) => Err(invalid(format!("dedup with {none}, which tells no block from another"))),
        Err(error) => Err(Error::because(ErrorKind::Unsupported, error)),
    }
}

/// Can blocks be found by this checksum?
pub(crate) fn names_blocks(algorithm: Algorithm) -> bool {
    let is_none = matches!(algorithm, Algorithm::Off | Algorithm::NoParity);
    !is_none && !algorithm.flags().contains(ChecksumFlags::EMBEDDED)
}

fn invalid(what: String) -> Error {
    Error::msg(ErrorKind::Invalid, what)
}

/// What no pointer could say, or what [`RawPointer::check`](zio_core::bp::RawPointer::check)
/// would refuse when the pointer comes back, is refused before it is written.
fn check_object_type(object_type: u8) -> Result<(), Error> {
    /// No address is looked up in it: a hole has none.
    struct NoVdevs;
    impl PoolShape for NoVdevs {
        fn data_bytes(&self, _: VdevId) -> Option<u64> {
            None
        }
        fn unit_bytes(&self, _: VdevId) -> u64 {
            SECTOR_BYTES
        }
    }
    let hole = BlockPointer::hole(SECTOR_BYTES, object_type, 0, 1);
    BlockPointer::from_bytes(&hole.to_bytes()).check(&NoVdevs)?;
    Ok(())
}

/// A write with its properties; ends in the pointer of the new block.
///
/// From the moment it is made nobody can change what is written: a buffer is given away, bytes
/// that are lent are copied, and pointers are copied as well.
///
/// ```compile_fail,E0382
/// # let dir = tempfile::tempdir()?;
/// # let pipeline = zio_pipeline::Pipeline::builder().create(dir.path().join("disk"), 64 << 20).build()?;
/// let mut buffer = pipeline.buffer(8192);
/// buffer.fill(1);
/// let write = pipeline.write(buffer);
/// buffer.fill(2); // it is the write's now
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Nor by what others hold of it, for a buffer that has become [`Data`](crate::Data) is read-only:
///
/// ```compile_fail,E0596
/// # let dir = tempfile::tempdir()?;
/// # let pipeline = zio_pipeline::Pipeline::builder().create(dir.path().join("disk"), 64 << 20).build()?;
/// let mut data = zio_pipeline::Data::from(pipeline.buffer(8192));
/// let write = pipeline.write(data.clone());
/// for chunk in data.chunks() {
///     chunk.fill(2); // `&[u8]`
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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

    /// May take the space that is [held back](crate::Builder::slop): for what makes space.
    pub fn uses_slop(self) -> Self {
        self.with(|zio| {
            zio.props.uses_slop = true;
            Ok(())
        })
    }

    /// Copies, 1 to 3, on different devices where there are as many.
    pub fn copies(self, copies: u8) -> Self {
        self.with(|zio| {
            if !(1..=3).contains(&copies) {
                return Err(invalid(format!("{copies} copies; a block has 1 to 3")));
            }
            zio.props.copies = copies;
            Ok(())
        })
    }

    /// Share the block with equal ones that were written with dedup.
    ///
    /// Equal checksums are taken for equal blocks where the checksum is strong enough for that
    /// ([`Algorithm::Sha256`], [`Algorithm::Blake3`] …); with any other one the bytes are
    /// [compared](Self::dedup_verify).
    pub fn dedup(self, dedup: bool) -> Self {
        self.with(|zio| {
            zio.props.dedup = dedup;
            Ok(())
        })
    }

    /// Before the block is shared, compare its bytes with those of the stored one. That costs a read
    /// for each block that is shared. Always done where the checksum is not strong enough for dedup.
    ///
    /// A block that turns out to be another one with the same checksum is written with SHA-256, or,
    /// if its checksum was a strong one already, without dedup. So is a block whose stored twin
    /// cannot be read.
    pub fn dedup_verify(self, verify: bool) -> Self {
        self.with(|zio| {
            zio.props.dedup_verify = verify;
            Ok(())
        })
    }

    /// Encrypt the block with the [keys](crate::Builder::keys) of its object set; a block
    /// of a type that stays in plain is authenticated instead. Its zeros are a hole all the same, and its
    /// length and place are for all to see. Two copies at most.
    #[cfg(feature = "crypt")]
    pub fn encrypt(self, encrypt: bool) -> Self {
        self.with(|zio| {
            zio.props.encrypt = encrypt;
            Ok(())
        })
    }

    /// The object type in the pointer; 19, plain contents, unless told otherwise.
    pub fn object_type(self, object_type: u8) -> Self {
        self.with(|zio| {
            check_object_type(object_type)?;
            zio.props.object_type = object_type;
            Ok(())
        })
    }

    /// The level in the pointer, up to 31; 0, data, unless told otherwise.
    pub fn level(self, level: u8) -> Self {
        self.with(|zio| {
            if level > LEVEL_MAX {
                return Err(invalid(format!("level {level}; levels are 0 to {LEVEL_MAX}")));
            }
            zio.props.level = level;
            Ok(())
        })
    }

    /// Writes it as metadata is by default: at this level of its object, with lz4, not
    /// shared, on the [special](SpaceClass::Special) vdevs if there are any, in one copy more than it would have (three at the most, two encrypted), and
    /// with fletcher4 where its checksum is not one for metadata. What is asked for after this
    /// has precedence.
    pub fn metadata(self, level: u8) -> Self {
        self.level(level).with(|zio| {
            let props = &mut zio.props;
            set_compression(props, Compression::Lz4);
            props.dedup = false;
            (props.class, props.leaves_reserve) = (Some(SpaceClass::Special), false);
            props.copies = (props.copies + 1).min(if props.encrypt { 2 } else { 3 });
            let good_enough = Algorithm::from_id(props.checksum)
                .is_ok_and(|algorithm| algorithm.flags().contains(ChecksumFlags::METADATA));
            if !good_enough {
                props.checksum = Algorithm::Fletcher4.id();
            }
            Ok(())
        })
    }

    /// Calls `ready` once the pointer is final, before the data is on the
    /// device: a parent block can be built from it. Not called for a write that
    /// fails before. The block must not be freed before the write is done.
    pub fn on_ready(self, ready: impl FnOnce(&BlockPointer) + Send + 'static) -> Self {
        self.with(|zio| {
            zio.on_ready(Box::new(ready));
            Ok(())
        })
    }

    /// Birth transaction group, at least 1; the pipeline's current one unless told otherwise.
    pub fn txg(self, txg: Txg) -> Self {
        self.with(|zio| {
            if txg == 0 {
                return Err(invalid("birth in txg 0, which means \"never written\"".to_owned()));
            }
            zio.txg = txg;
            Ok(())
        })
    }
}
