//! Writes that replace a block (spec 3.2 to 3.5), and the commit of blocks that were written
//! before (spec 1.15, W1).
//!
//! A block is never written over where anybody could still want what it was. What replaces it
//! goes elsewhere, but for two cases: it is equal to it, and there is nothing to write; or the
//! block was born in this very transaction group, which is being synced, and nothing that
//! is durable can lead to it.

use checksum::{Algorithm, Flags as ChecksumFlags};
use zio_core::bp::{COMPRESSION_OFF, Embedded};
use zio_core::{BlockPointer, Dva, Error, ErrorKind, Flags, Stages, Txg, Zio};

use crate::props::Write;
use crate::wishes::Wishes;

/// From this pass of a sync on a block is written over in place, where that can be.
/// In the first one a block of the group was written ahead of the sync, and something durable,
/// like the record of a log, may lead to it.
pub const REWRITE_PASS_MIN: u32 = 2;

/// From this pass of a sync on a block that was written in the same sync before is not
/// compressed any more. Its size stays the same from then on, so that it is written over in
/// place, and the sync comes to an end. 8 as in OpenZFS since 2.0; it was 5 before.
pub const NO_COMPRESSION_PASS_MIN: u32 = 8;

impl Write {
    /// The block takes the place of this one; [`BlockPointer::EMPTY`] for one that was never
    /// written.
    ///
    /// * Equal to it, it [may be kept](Self::nop_write): the pointer that comes back is `old`.
    /// * Born in the same transaction group, `old` may be [written over](Self::sync_pass).
    /// * Zeros, with compression, are a hole: one with the size, type, level and birth of
    ///   this write. Where nothing was ever written they are [`BlockPointer::EMPTY`] again.
    ///
    /// `old` is not freed. Do that once its successor has been linked in, if
    /// [`is_replaced_by`](BlockPointer::is_replaced_by) says so:
    ///
    /// ```
    /// # use zio_pipeline::{Checksum, Compression, Pipeline};
    /// # let dir = tempfile::tempdir()?;
    /// # let pipeline = Pipeline::builder().create(dir.path().join("disk"), 64 << 20).build()?;
    /// # let old = pipeline.write(&[1; 4096]).wait()?;
    /// # let data = vec![2; 4096];
    /// let new = pipeline.write(&data).over(&old).wait()?;
    /// if old.is_replaced_by(&new) {
    ///     pipeline.free(&old).wait()?;
    /// }
    /// # assert_eq!(pipeline.allocated_bytes(), 4096);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The write of `old` has ended by then: what is kept must be there.
    pub fn over(self, old: &BlockPointer) -> Self {
        self.with(|zio| {
            zio.bp = *old;
            zio.props.replaces = true;
            Ok(())
        })
    }

    /// Whether the block that this one [replaces](Self::over) is kept where both are equal: the
    /// same pointer comes back, births and all, nothing is allocated and nothing written.
    /// It is unless told otherwise.
    ///
    /// That takes a checksum that is strong enough to tell ([`Algorithm::Sha256`],
    /// [`Algorithm::Blake3`] …), compression, and data at level 0 that is neither encrypted nor
    /// shared. Both blocks must have the same properties and as many copies.
    pub fn nop_write(self, keep: bool) -> Self {
        self.with(|zio| {
            zio.props.nop_write = keep;
            Ok(())
        })
    }

    /// Which pass of its transaction group's sync the write belongs to; the first unless
    /// told otherwise.
    ///
    /// A sync that writes what it has just changed comes back to the same blocks. From pass
    /// [`REWRITE_PASS_MIN`] on a block that was born in the group it [replaces](Self::over) is
    /// written over in place, if the sizes are equal: same addresses, same births, new contents.
    /// From pass [`NO_COMPRESSION_PASS_MIN`] on such a block is not compressed, so that its size
    /// settles.
    ///
    /// Written over, the old contents are gone at once, also when the write fails; a read by the
    /// old pointer, repairs included, has to end before. Blocks that are shared, or of another
    /// number of copies, are never written over. Of a gang the headers are read first, and if
    /// one cannot be read the write fails.
    pub fn sync_pass(self, pass: u32) -> Self {
        self.with(|zio| {
            if pass == 0 {
                let why = "pass 0 of a sync; they count from 1".to_owned();
                return Err(Error::msg(ErrorKind::Invalid, why));
            }
            zio.props.sync_pass = pass;
            Ok(())
        })
    }

    /// The block has been written before, and this is where: the write is its commit.
    ///
    /// Somebody who cannot wait for a sync has it written at once; when the sync comes to the
    /// block, nothing is written and nothing allocated. Callbacks, parents and
    /// [`over`](Self::over) are those of any write. What comes back is `written`, born
    /// in the transaction group of the commit. A crash before it leaks nothing: a block without
    /// a pointer is one that nobody claims.
    ///
    /// The data is still wanted: a block that is to be [shared](Self::dedup) and was not is
    /// written through the table. In that case alone another pointer comes back, and `written`
    /// is to be freed.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: a block of another size, or of a later transaction group.
    pub fn already_written(self, written: &BlockPointer) -> Self {
        self.with(|zio| {
            Wishes::of(zio).written = Some(*written);
            Ok(())
        })
    }
}

/// The block was written before: its pointer is the outcome.
pub(crate) fn commit(zio: &mut Zio, written: &BlockPointer) -> Result<(), Error> {
    let is_stored = written.copies() > 0;
    let refuse = |why: String| Err(Error::msg(ErrorKind::Invalid, why));
    if *written != BlockPointer::EMPTY && written.lsize_bytes() != zio.lsize_bytes as u64 {
        return refuse(format!("{written} is no block of {} bytes", zio.lsize_bytes));
    }
    if written.birth() > zio.txg || (is_stored && written.physical_birth() > zio.txg) {
        return refuse(format!("{written} is younger than its commit in txg {}", zio.txg));
    }
    if is_stored && zio.props.replaces && !zio.bp_before.is_replaced_by(written) {
        // What was written was kept from before.
        zio.add_flags(Flags::NOPWRITE);
        zio.bp = *written;
    } else if is_stored && zio.props.dedup && !written.is_dedup() {
        // The table does not know the block; it learns of blocks by writing them.
        return Ok(());
    } else {
        zio.bp = born_in(written, zio.txg);
    }
    zio.become_interlock();
    Ok(())
}

/// The same block, put where it is when it was, and new to those who look for what has changed.
fn born_in(bp: &BlockPointer, txg: Txg) -> BlockPointer {
    if *bp == BlockPointer::EMPTY || bp.birth() == txg {
        return *bp;
    }
    if bp.is_hole() {
        return BlockPointer::hole(bp.lsize_bytes(), bp.object_type(), bp.level(), txg);
    }
    let Some(payload) = bp.embedded_payload() else {
        let mut born = *bp;
        born.set_birth(txg, bp.physical_birth());
        return born;
    };
    let about = Embedded {
        lsize_bytes: bp.lsize_bytes(),
        compression: bp.compression(),
        object_type: bp.object_type(),
        level: bp.level(),
        birth: txg,
    };
    BlockPointer::embed(&about, &payload[..bp.psize_bytes() as usize]).unwrap_or(*bp)
}

/// Was the block that this write replaces written in the same transaction group?
fn is_of_this_txg(zio: &Zio) -> bool {
    let old = &zio.bp_before;
    zio.props.replaces && !old.is_hole() && old.birth() == zio.txg
}

/// Is it time for the block to stop changing its size (spec 3.4)?
pub(crate) fn is_compressed_no_more(zio: &Zio) -> bool {
    is_of_this_txg(zio) && zio.props.sync_pass >= NO_COMPRESSION_PASS_MIN
}

/// Zeros instead of a block: its size, type and level live on in the hole, unless there never
/// was a block (spec 3.2).
pub(crate) fn hole(zio: &Zio, lsize_bytes: u64, object_type: u8, level: u8) -> BlockPointer {
    if zio.props.replaces && zio.bp_before.birth() == 0 {
        return BlockPointer::EMPTY;
    }
    BlockPointer::hole(lsize_bytes, object_type, level, zio.txg)
}

/// The block will be stored, and its pointer says as what: by which road (spec 3.3)?
pub(crate) fn choose_road(zio: &mut Zio) {
    if zio.bp.is_dedup() {
        zio.become_pipeline(Stages::DDT_WRITE_PIPELINE);
        return;
    }
    if can_be_written_over(zio) {
        for (index, dva) in zio.bp_before.dvas().enumerate() {
            zio.bp.set_dva(index, dva);
        }
        zio.add_flags(Flags::IO_REWRITE);
        zio.become_pipeline(Stages::REWRITE);
        if zio.bp_before.is_gang() {
            zio.add_stages(Stages::GANG);
        }
    }
    if can_be_kept(zio) {
        zio.add_stages(Stages::NOP_WRITE);
    }
}

/// Both births: a block that was committed in this group may have been written in an
/// earlier one, and be what somebody finds after a crash. How many copies there are of a gang
/// its headers will tell. Salt and IV of an encrypted block stand where a gang's third address is.
fn can_be_written_over(zio: &Zio) -> bool {
    let (old, new) = (&zio.bp_before, &zio.bp);
    is_of_this_txg(zio)
        && old.physical_birth() == zio.txg
        && zio.props.sync_pass >= REWRITE_PASS_MIN
        && old.psize_bytes() == new.psize_bytes()
        && (old.is_gang() || old.copies() == usize::from(zio.props.copies))
        && !(new.is_crypt() && old.copies() > 2)
        && !old.is_dedup()
}

/// It cannot be written over after all: a new block. Not later than before DVA_THROTTLE.
pub(crate) fn write_elsewhere(zio: &mut Zio) {
    for index in 0..zio.bp.copies() {
        zio.bp.set_dva(index, Dva::EMPTY);
    }
    zio.remove_flags(Flags::IO_REWRITE);
    zio.become_pipeline(Stages::WRITE);
}

/// What is known before the checksum (spec 3.0, 3.5).
fn can_be_kept(zio: &Zio) -> bool {
    let (old, new) = (&zio.bp_before, &zio.bp);
    let tells = |id| {
        let algorithm = Algorithm::from_id(id);
        algorithm.is_ok_and(|it| it.flags().contains(ChecksumFlags::NOPWRITE))
    };
    zio.props.replaces
        && zio.props.nop_write
        && zio.props.compression != COMPRESSION_OFF
        && tells(new.checksum_id())
        && new.level() == 0
        && !new.is_crypt()
        && !old.is_hole()
        && !old.is_embedded()
        && old.properties() == new.properties()
        && old.copies() == usize::from(zio.props.copies)
}
