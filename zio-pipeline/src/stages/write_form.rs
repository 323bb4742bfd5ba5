//! WRITE_BP_INIT and WRITE_COMPRESS: a block gets the form it is stored in (spec 1.15, 3.1–3.4).

use std::sync::Arc;

use transform::{BlockRules, Compression, Packed, compress_block};
use zio_core::bp::{COMPRESSION_OFF, Embedded, Properties};
use zio_core::{
    BlockPointer, ChildSet, Error, ErrorKind, Next, Stage, Stages, WaitType, WriteProps, Zio,
    ZioBox,
};

use super::transform::gather;
use crate::shared::{Shared, compression_of, with_scratch};
use crate::wishes::Wishes;
use crate::{parents, props, raw_write, replace};

/// WRITE_BP_INIT: the pointer as it was is remembered for the comparison of
/// births and contents further down. Properties that do not go together end
/// the write here, and so does a block that was written before.
pub(crate) struct WriteBpInit;

impl Stage for WriteBpInit {
    fn stage(&self) -> Stages {
        Stages::WRITE_BP_INIT
    }

    fn run(&self, mut zio: ZioBox) -> Next {
        zio.bp_before = zio.bp;
        let written = zio.attachment.is_some().then(|| Wishes::of(&mut zio).written.take());
        let begun = props::check(&zio.props).and_then(|()| match written.flatten() {
            Some(written) => replace::commit(&mut zio, &written),
            None => Ok(()),
        });
        if let Err(error) = begun {
            zio.fail(error);
            zio.become_interlock();
        }
        Some(zio)
    }
}

/// WRITE_COMPRESS: what form is stored, and is anything stored at all?
pub(crate) struct WriteCompress {
    shared: Arc<Shared>,
}

impl WriteCompress {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn form(&self, zio: &mut Zio, wishes: Wishes) -> Result<(), Error> {
        let fill = wishes.fill_in.map(|fill_in| parents::fill_in(zio, fill_in)).transpose()?;
        let properties = match &wishes.stored_as {
            Some(like) => raw_write::form(&self.shared, zio, like)?,
            None => self.pack(zio)?,
        };
        let Some(properties) = properties else {
            // Nothing but its pointer is stored.
            zio.become_interlock();
            return Ok(());
        };
        // The pointer as far as it is known.
        zio.bp = BlockPointer::with_properties(&properties);
        zio.bp.set_birth(zio.txg, zio.txg);
        zio.bp.set_fill(1);
        if let Some(like) = &wishes.stored_as {
            raw_write::install(zio, like);
        }
        if let Some(fill) = fill {
            zio.bp.set_fill(fill);
        }
        replace::choose_road(zio);
        Ok(())
    }

    /// Returns the properties to be stored with, unless all there is of the block is its pointer.
    fn pack(&self, zio: &mut Zio) -> Result<Option<Properties>, Error> {
        let compression = if replace::is_compressed_no_more(zio) {
            Compression::Off
        } else {
            compression_of(&zio.props)?
        };
        let mut stored_as = COMPRESSION_OFF;
        if compression != Compression::Off {
            let rules = BlockRules {
                unit_shift: self.shared.ashift_min(),
                may_embed: zio.props.level == 0 && !zio.props.dedup && !zio.props.encrypt,
            };
            let pool = zio.engine().buffers().clone();
            let src = gather(&zio.data, &pool);
            let mut out = pool.take(src.len());
            let packed =
                with_scratch(|scratch| compress_block(compression, &src, &mut out, rules, scratch));
            match packed {
                Packed::Hole => {
                    let WriteProps { object_type, level, .. } = zio.props;
                    zio.bp = replace::hole(zio, zio.lsize_bytes as u64, object_type, level);
                    return Ok(None);
                }
                Packed::Embedded { payload_bytes } => {
                    embed(zio, compression, &out[..payload_bytes])?;
                    return Ok(None);
                }
                Packed::Compressed { psize_bytes, .. } => {
                    out.resize(psize_bytes);
                    zio.push_transform(None);
                    zio.size_bytes = psize_bytes;
                    zio.data = out.into();
                    stored_as = compression.id();
                }
                Packed::AsIs => {}
            }
        }
        let props = zio.props;
        Ok(Some(Properties {
            lsize_bytes: zio.lsize_bytes as u64,
            psize_bytes: zio.size_bytes as u64,
            compression: stored_as,
            checksum: props.checksum,
            object_type: props.object_type,
            level: props.level,
            crypt: props.encrypt,
            dedup: props.dedup,
            order: props.order,
        }))
    }
}

/// A payload small enough lives in the pointer (spec 3.1 step 4).
fn embed(zio: &mut Zio, compression: Compression, payload: &[u8]) -> Result<(), Error> {
    let about = Embedded {
        lsize_bytes: zio.lsize_bytes as u64,
        compression: compression.id(),
        object_type: zio.props.object_type,
        level: zio.props.level,
        birth: zio.txg,
    };
    zio.bp = BlockPointer::embed(&about, payload).ok_or_else(|| {
        Error::msg(ErrorKind::Invalid, format!("{} bytes do not embed", payload.len()))
    })?;
    Ok(())
}

impl Stage for WriteCompress {
    fn stage(&self) -> Stages {
        Stages::WRITE_COMPRESS
    }

    fn run(&self, zio: ZioBox) -> Next {
        let mut zio = zio.wait_children(ChildSet::LOGICAL | ChildSet::GANG, WaitType::Ready)?;
        if !zio.is_allocating() {
            return Some(zio);
        }
        let wishes = Wishes::take(&mut zio);
        if let Err(error) = self.form(&mut zio, wishes) {
            zio.fail(error);
            zio.become_interlock();
        }
        Some(zio)
    }
}
