//! READ_BP_INIT: what is read changes its form (spec 1.15).

use std::sync::Arc;

use transform::{Compression, decompress};
use zio_core::bp::COMPRESSION_OFF;
use zio_core::{
    BufferPool, ChildType, Data, Error, ErrorKind, Flags, Next, Segment, Stage, Stages, Zio, ZioBox,
};

use crate::crypt;
use crate::shared::{Shared, with_scratch};

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
pub(super) fn gather(data: &Data, pool: &BufferPool) -> Segment {
    if let [one] = data.segments() {
        return one.clone();
    }
    let mut whole = pool.take(data.len());
    data.copy_to(&mut whole);
    whole.freeze()
}
