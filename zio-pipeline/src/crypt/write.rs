//! ENCRYPT.

use std::sync::Arc;

use transform::crypt::{ByteOrder, PointerWords, SealParams};
use zio_core::bp::CryptWords;
use zio_core::{BlockPointer, Error, ErrorKind, Flags, Next, Stage, Stages, Zio, ZioBox};

use crate::shared::Shared;

/// ENCRYPT: what is stored is encrypted, or authenticated where its type stays in plain.
pub(crate) struct Encrypt {
    shared: Arc<Shared>,
}

impl Encrypt {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn protect(&self, zio: &mut Zio) -> Result<(), Error> {
        let keys = self.shared.keys.of(zio.bookmark.objset)?;
        let order = order_of(&zio.bp);
        if !zio.bp.is_encrypted() {
            let mac = keys.hmac_key()?.authenticate(zio.data.chunks());
            let params = SealParams { mac, salt: Default::default(), iv: Default::default() };
            zio.bp.set_mac_words(params.to_words(order).mac);
            return Ok(());
        }
        let (salt, iv) = keys.draw(&self.shared.keys.entropy)?;
        let mut cipher = zio.engine().buffers().take(zio.data.len());
        let mac = keys
            .of_salt(&salt)
            .seal(&iv, &[], zio.data.chunks(), &mut cipher)
            .map_err(|error| Error::because(ErrorKind::Invalid, error))?;
        zio.push_transform(None);
        zio.data = cipher.into();
        store(&mut zio.bp, &SealParams { salt, iv, mac }, order);
        Ok(())
    }
}

fn store(bp: &mut BlockPointer, params: &SealParams, order: ByteOrder) {
    let PointerWords { salt, iv_head, iv_tail, mac } = params.to_words(order);
    bp.set_crypt_words(CryptWords { salt, iv: iv_head, iv_tail });
    bp.set_mac_words(mac);
}

/// The byte order of a block's writer, in the words of the encryption.
pub(super) fn order_of(bp: &BlockPointer) -> ByteOrder {
    match bp.order() {
        zio_core::bp::ByteOrder::Little => ByteOrder::Little,
        zio_core::bp::ByteOrder::Big => ByteOrder::Big,
    }
}

impl Stage for Encrypt {
    fn stage(&self) -> Stages {
        Stages::ENCRYPT
    }

    fn run(&self, mut zio: ZioBox) -> Next {
        if zio.is_allocating()
            && zio.bp.is_crypt()
            && !zio.flags().contains(Flags::RAW_ENCRYPT)
            && let Err(error) = self.protect(&mut zio)
        {
            zio.fail(error);
            zio.become_interlock();
        }
        Some(zio)
    }
}
