//! READ_BP_INIT, WRITE_BP_INIT and WRITE_COMPRESS: the data changes its form
//! (spec 1.15, 3.1–3.3).

use std::sync::Arc;

use transform::{BlockRules, Compression, Packed, compress_block, decompress};
use zio_core::bp::{COMPRESSION_OFF, Embedded, Properties};
use zio_core::{
    BlockPointer, BufferPool, ChildSet, ChildType, Data, Error, ErrorKind, Flags, Next, Segment,
    Stage, Stages, WaitType, Zio, ZioBox,
};

use crate::shared::{Shared, compression_of, with_scratch};
use crate::{crypt, props};

/// READ_BP_INIT: what will have to be undone after the read.
pub(crate) struct ReadBpInit {
    shared: Arc<Shared>,
}

impl ReadBpInit {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn prepare(&self, zio: &mut Zio) -> Result<(), Error> {
        let bp = zio.bp;
        if bp.is_hole() {
            zio.become_interlock();
            zio.data = zeros(zio, zio.lsize_bytes);
            return Ok(());
        }
        if bp.compression() != COMPRESSION_OFF {
            if !zio.flags().contains(Flags::RAW_COMPRESS) {
                Compression::from_id(bp.compression())
                    .map_err(|error| Error::because(ErrorKind::Unsupported, error))?;
                zio.push_transform(Some(undo_compress));
            }
            zio.size_bytes = bp.psize_bytes() as usize;
        }
        if bp.is_crypt() && !zio.flags().contains(Flags::RAW_ENCRYPT) {
            // Pushed last, undone first.
            crypt::prepare_read(&self.shared, zio)?;
        }
        if let Some(payload) = bp.embedded_payload() {
            zio.become_interlock();
            let payload = &payload[..(bp.psize_bytes() as usize).min(payload.len())];
            zio.data = zio.engine().buffers().copy_of(payload).into();
            zio.size_bytes = payload.len();
            return Ok(());
        }
        if bp.is_embedded() {
            return Err(Error::msg(ErrorKind::Unsupported, "an embedded pointer without data"));
        }
        self.shared.checksums.check_pointer(&bp)?;
        if bp.is_dedup() && zio.child_type() == ChildType::Logical {
            zio.become_pipeline(Stages::DDT_READ);
        } else if bp.is_gang() {
            zio.add_stages(Stages::GANG);
        }
        Ok(())
    }
}

impl Stage for ReadBpInit {
    fn stage(&self) -> Stages {
        Stages::READ_BP_INIT
    }

    fn run(&self, mut zio: ZioBox) -> Next {
        if let Err(error) = self.prepare(&mut zio) {
            zio.fail(error);
            zio.become_interlock();
        }
        Some(zio)
    }
}

fn zeros(zio: &Zio, len_bytes: usize) -> Data {
    let mut buffer = zio.engine().buffers().take(len_bytes);
    buffer.fill(0);
    buffer.into()
}

/// Expands what was read. A failure after a good checksum is no rot: it is a
/// software fault or a hostile block, and says so.
fn undo_compress(zio: &Zio, current: Data, lsize_bytes: usize) -> Result<Data, Error> {
    let compression = Compression::from_id(zio.bp.compression())
        .map_err(|error| Error::because(ErrorKind::Unsupported, error))?;
    let pool = zio.engine().buffers();
    let src = gather(&current, pool);
    let mut out = pool.take(lsize_bytes);
    with_scratch(|scratch| decompress(compression, &src, &mut out, scratch))
        .map_err(|error| Error::because(ErrorKind::Io, error))?;
    Ok(out.into())
}

/// The block in one piece, as the codecs want it. Copies only if it is not in one.
fn gather(data: &Data, pool: &BufferPool) -> Segment {
    if let [one] = data.segments() {
        return one.clone();
    }
    let mut whole = pool.take(data.len());
    data.copy_to(&mut whole);
    whole.freeze()
}

/// WRITE_BP_INIT: the pointer as it was is remembered for the comparison of
/// births and contents further down; properties that do not go together end
/// the write here.
pub(crate) struct WriteBpInit;

impl Stage for WriteBpInit {
    fn stage(&self) -> Stages {
        Stages::WRITE_BP_INIT
    }

    fn run(&self, mut zio: ZioBox) -> Next {
        zio.bp_before = zio.bp;
        if let Err(error) = props::check(&zio.props) {
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

    fn pack(&self, zio: &mut Zio) -> Result<(), Error> {
        let compression = compression_of(&zio.props)?;
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
                    self.become_hole(zio);
                    return Ok(());
                }
                Packed::Embedded { payload_bytes } => {
                    return self.embed(zio, compression, &out[..payload_bytes]);
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
        self.describe(zio, stored_as);
        Ok(())
    }

    /// A block of zeros takes no space (spec 3.2).
    fn become_hole(&self, zio: &mut Zio) {
        let props = &zio.props;
        let lsize_bytes = zio.lsize_bytes as u64;
        zio.bp = BlockPointer::hole(lsize_bytes, props.object_type, props.level, zio.txg);
        zio.become_interlock();
    }

    /// A payload small enough lives in the pointer (spec 3.1 step 4).
    fn embed(&self, zio: &mut Zio, compression: Compression, payload: &[u8]) -> Result<(), Error> {
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
        zio.become_interlock();
        Ok(())
    }

    /// The pointer of a block that will be stored, as far as it is known (spec 3.3).
    fn describe(&self, zio: &mut Zio, compression: u8) {
        let props = zio.props;
        zio.bp = BlockPointer::with_properties(&Properties {
            lsize_bytes: zio.lsize_bytes as u64,
            psize_bytes: zio.size_bytes as u64,
            compression,
            checksum: props.checksum,
            object_type: props.object_type,
            level: props.level,
            crypt: props.encrypt,
            dedup: props.dedup,
            order: props.order,
        });
        zio.bp.set_birth(zio.txg, zio.txg);
        zio.bp.set_fill(1);
        if props.dedup {
            zio.become_pipeline(Stages::DDT_WRITE_PIPELINE);
        }
    }
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
        if let Err(error) = self.pack(&mut zio) {
            zio.fail(error);
            zio.become_interlock();
        }
        Some(zio)
    }
}
