//! Which class of space a write asks for (spec 3.8).

use zio_core::{BlockPointer, SpaceClass, Zio};

use crate::pipeline::Pipeline;
use crate::props::Write;

/// Object types that hold contents: none, a file's, a volume's, plain bytes and words. Of the others with a
/// fixed number all are metadata.
const CONTENTS: [u8; 5] = [0, 19, 23, 25, 26];

/// Object types of the dedup table: its entries, its figures.
const DEDUP_TABLE: [u8; 2] = [42, 43];

/// Bit that marks the newer, self-describing object types, and in those the one for metadata.
const NEW_TYPE: u8 = 0x80;
const NEW_TYPE_METADATA: u8 = 0x40;

/// A class, and whether the block [leaves a reserve](zio_core::Want::leaves_reserve) of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) class: SpaceClass,
    pub(crate) leaves_reserve: bool,
}

impl Asked {
    const fn whole(class: SpaceClass) -> Self {
        Self { class, leaves_reserve: false }
    }

    const fn but_a_reserve(class: SpaceClass) -> Self {
        Self { class, leaves_reserve: true }
    }

    /// What a write asks for: what it was told to, else by what it is. Pieces of a gang were told
    /// what their leader asked for.
    pub(crate) fn by(zio: &Zio) -> Self {
        let (props, bp) = (&zio.props, &zio.bp);
        let is_small = zio.size_bytes as u64 <= u64::from(props.small_block_bytes_max);
        match props.class {
            Some(class) => Self { class, leaves_reserve: props.leaves_reserve },
            None if DEDUP_TABLE.contains(&bp.object_type()) => Self::whole(SpaceClass::Dedup),
            None if is_metadata(bp) => Self::whole(SpaceClass::Special),
            None if is_small => Self::but_a_reserve(SpaceClass::Special),
            None if bp.is_dedup() => Self::but_a_reserve(SpaceClass::Dedup),
            None => Self::whole(SpaceClass::Normal),
        }
    }
}

fn is_metadata(bp: &BlockPointer) -> bool {
    let object_type = bp.object_type();
    let is_type = match object_type & NEW_TYPE {
        0 => !CONTENTS.contains(&object_type),
        _ => object_type & NEW_TYPE_METADATA != 0,
    };
    bp.level() > 0 || is_type
}

impl Write {
    /// The class of space to ask for, whatever the block is: by itself a block of
    /// [metadata](Self::metadata), of any level above 0, and a [small one](Self::small_blocks) asks
    /// for [`SpaceClass::Special`], one with [dedup](Self::dedup) for [`SpaceClass::Dedup`], every
    /// other one for [`SpaceClass::Normal`].
    ///
    /// A class that has no vdev or no room is no error while those it falls back to have some.
    pub fn space_class(self, class: SpaceClass) -> Self {
        self.with(|zio| {
            (zio.props.class, zio.props.leaves_reserve) = (Some(class), false);
            Ok(())
        })
    }

    /// Contents that take so many bytes at most, as they are stored, go with the metadata. Unless told
    /// otherwise, what the [builder](crate::Builder::small_blocks) says.
    pub fn small_blocks(self, bytes_max: u32) -> Self {
        self.with(|zio| {
            zio.props.small_block_bytes_max = bytes_max;
            Ok(())
        })
    }
}

impl Pipeline {
    /// Bytes that can be allocated now for blocks of one class: on its vdevs, and on those it falls
    /// back to. Without what is [held back](crate::Builder::slop).
    pub fn free_bytes_of(&self, class: SpaceClass) -> u64 {
        let want = zio_core::Want { class, uses_slop: true, ..zio_core::Want::default() };
        self.shared().allocator.free_bytes_for(&want)
    }
}
