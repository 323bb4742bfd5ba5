//! CHECKSUM_GENERATE and CHECKSUM_VERIFY (spec 7).

use std::sync::Arc;

use checksum::Checksum;
use zio_core::{Data, Error, ErrorKind, Next, Stage, Stages, Zio, ZioBox};

use crate::shared::{Shared, order_of};

/// CHECKSUM_GENERATE: the checksum of the stored form goes into the pointer.
pub(crate) struct Generate {
    shared: Arc<Shared>,
}

impl Generate {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Stage for Generate {
    fn stage(&self) -> Stages {
        Stages::CHECKSUM_GENERATE
    }

    fn run(&self, mut zio: ZioBox) -> Next {
        match self.shared.checksums.get(zio.bp.checksum_id()) {
            Ok(context) => {
                let sum = context.compute(order_of(&zio.bp), zio.data.chunks());
                zio.bp.set_checksum(sum.0);
            }
            Err(error) => {
                zio.fail(error);
                zio.become_interlock();
            }
        }
        Some(zio)
    }
}

/// CHECKSUM_VERIFY: what was read is what was written, or it is not given out.
pub(crate) struct Verify {
    shared: Arc<Shared>,
}

impl Verify {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn verify(&self, zio: &Zio) -> Result<(), Error> {
        let context = self.shared.checksums.get(zio.bp.checksum_id())?;
        context
            .verify(order_of(&zio.bp), zio.data.chunks(), &Checksum(zio.bp.checksum()))
            .map_err(|mismatch| Error::because(ErrorKind::Checksum, mismatch))
    }
}

impl Stage for Verify {
    fn stage(&self) -> Stages {
        Stages::CHECKSUM_VERIFY
    }

    fn run(&self, mut zio: ZioBox) -> Next {
        if zio.error.is_none()
            && let Err(error) = self.verify(&zio)
        {
            zio.data = Data::new();
            zio.fail(error);
        }
        Some(zio)
    }
}
