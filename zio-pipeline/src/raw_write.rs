//! Writing what is compressed or encrypted already (spec 3.1, last lines; 1.15 ENCRYPT).

use transform::Compression;
use zio_core::bp::{COMPRESSION_OFF, Embedded, Properties};
use zio_core::{BlockPointer, Error, ErrorKind, Flags, Zio};

use crate::pending::Pending;
use crate::pipeline::{IntoData, Pipeline};
use crate::props::Write;
use crate::replace;
use crate::shared::Shared;
use crate::wishes::Wishes;

/// Object type of dnodes.
const OBJECT_TYPE_DNODE: u8 = 10;

impl Pipeline {
    /// Writes a block in the form in which it was stored elsewhere: the counterpart of
    /// [`Read::raw`](crate::Read::raw). `stored` is what that read gave, and `like` the pointer
    /// it was read by.
    ///
    /// The form is what `like` says: sizes, compression and its byte order, type, level, fill
    /// count, and of an encrypted block salt, IV and MAC. No key is wanted, nothing is expanded,
    /// and whatever the write is told about any of these does nothing. Copies, transaction group
    /// and the like are its own, and it is shared only if told so, whatever `like` was. The
    /// checksum is of the kind that `like` has unless told otherwise, and computed anew.
    ///
    /// A hole stays a hole and embedded data stays in the pointer. A compressed block that is
    /// not encrypted is padded to this pipeline's unit of allocation, if it is still smaller
    /// than the block itself; all others keep their stored size. Zeros are not looked for, but
    /// in dnodes.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: not as many bytes as `like` has stored, or three copies of an
    /// encrypted block. [`ErrorKind::Unsupported`]: an encrypted block is to be shared, or `like`
    /// has a checksum that is not one of blocks.
    pub fn write_raw(&self, stored: impl IntoData, like: &BlockPointer) -> Write {
        let data = stored.into_data(self);
        let stored_bytes = like.psize_bytes();
        if !like.is_hole() && data.len() as u64 != stored_bytes {
            let why = format!("{} bytes stored for {like}", data.len());
            return Pending::new(Err(Error::msg(ErrorKind::Invalid, why)));
        }
        let mut zio = self.make_write(data);
        zio.add_flags(Flags::RAW);
        zio.lsize_bytes = like.lsize_bytes() as usize;
        if !like.is_hole() && !like.is_embedded() {
            zio.props.checksum = like.checksum_id();
        }
        zio.props.compression = like.compression();
        zio.props.dedup = false;
        zio.props.encrypt = false;
        Wishes::of(&mut zio).stored_as = Some(*like);
        Pending::new(Ok(zio_core::Request::new(zio)))
    }
}

/// WRITE_COMPRESS of a block that has its form. Returns the properties to be stored with, unless
/// all there is of the block is its pointer.
pub(crate) fn form(
    shared: &Shared,
    zio: &mut Zio,
    like: &BlockPointer,
) -> Result<Option<Properties>, Error> {
    if *like == BlockPointer::EMPTY {
        zio.bp = *like;
        return Ok(None);
    }
    if like.is_hole() || is_freed_dnodes(zio, like) {
        zio.bp = replace::hole(zio, like.lsize_bytes(), like.object_type(), like.level());
        return Ok(None);
    }
    if like.is_embedded() {
        zio.bp = embed(zio, like)?;
        return Ok(None);
    }
    let (checksum, dedup) = (zio.props.checksum, zio.props.dedup);
    if like.is_crypt() && zio.props.copies > 2 {
        let why = "encrypted, and in three copies: salt and IV take the third's place";
        return Err(Error::msg(ErrorKind::Invalid, why));
    }
    if like.is_crypt() && dedup {
        let why = "encrypted, and shared: no two encrypted blocks are equal";
        return Err(Error::msg(ErrorKind::Unsupported, why));
    }
    if like.compression() != COMPRESSION_OFF && !like.is_crypt() {
        pad(shared, zio);
    }
    let psize_bytes = zio.size_bytes as u64;
    Ok(Some(Properties { psize_bytes, checksum, dedup, ..like.properties() }))
}

/// What the new pointer takes over from the one that the block was read by.
pub(crate) fn install(zio: &mut Zio, like: &BlockPointer) {
    if like.is_encrypted() {
        zio.bp.set_crypt_words(like.crypt_words());
    }
    if like.has_mac() {
        zio.bp.set_mac_words(like.mac_words());
    }
    zio.bp.set_fill(like.fill());
}

/// A block of dnodes all of which were freed. Packed or not, it could be nothing else.
fn is_freed_dnodes(zio: &Zio, like: &BlockPointer) -> bool {
    like.object_type() == OBJECT_TYPE_DNODE
        && like.level() == 0
        && like.compression() == COMPRESSION_OFF
        && zio.data.chunks().all(|chunk| chunk.iter().all(|byte| *byte == 0))
}

fn embed(zio: &Zio, like: &BlockPointer) -> Result<BlockPointer, Error> {
    if like.embedded_payload().is_none() || Compression::from_id(like.compression()).is_err() {
        return Err(Error::msg(ErrorKind::Unsupported, "an embedded pointer without data"));
    }
    let about = Embedded {
        lsize_bytes: like.lsize_bytes(),
        compression: like.compression(),
        object_type: like.object_type(),
        level: like.level(),
        birth: zio.txg,
    };
    let payload = zio.data.to_vec();
    let words = || format!("{} bytes do not embed", payload.len());
    BlockPointer::embed(&about, &payload).ok_or_else(|| Error::msg(ErrorKind::Invalid, words()))
}

/// Zeros behind it up to whole units. The codecs know where their data ends; a MAC would
/// not stand it.
fn pad(shared: &Shared, zio: &mut Zio) {
    let padded_bytes = zio.size_bytes.next_multiple_of(1 << shared.ashift_min());
    if padded_bytes == zio.size_bytes || padded_bytes >= zio.lsize_bytes {
        return;
    }
    let mut tail = zio.engine().buffers().take(padded_bytes - zio.size_bytes);
    tail.fill(0);
    zio.push_transform(None);
    zio.data.push(tail.freeze());
    zio.size_bytes = padded_bytes;
}
