//! Decrypting and authenticating what was read.

use transform::crypt::{OpenError, SealParams};
use zio_core::{BlockPointer, Data, Error, ErrorKind, Zio};

use super::PARTLY_ENCRYPTED;
use crate::shared::Shared;

/// Notes what will have to be undone, for a block that is encrypted or authenticated.
///
/// A block above level 0 holds a MAC over its children's, which is not checked here; nor are
/// those inside the root of a set of objects. Both are plain, and verified by their checksum.
///
/// # Errors
/// There is no key, or it is of a kind that is encrypted in parts.
pub(crate) fn prepare(shared: &Shared, zio: &mut Zio) -> Result<(), Error> {
    if zio.bp.is_encrypted() {
        if PARTLY_ENCRYPTED.contains(&zio.bp.object_type()) {
            let why = "an encrypted log block or dnode, of which parts are in plain";
            return Err(Error::msg(ErrorKind::Unsupported, why));
        }
        shared.keys.of(zio.bookmark.objset)?;
        zio.push_transform(Some(decrypt));
    } else if zio.bp.is_authenticated() && zio.bp.has_mac() {
        shared.keys.of(zio.bookmark.objset)?.hmac_key()?;
        zio.push_transform(Some(authenticate));
    }
    Ok(())
}

fn shared_of(zio: &Zio) -> Result<&Shared, Error> {
    zio.engine().shared::<Shared>().ok_or_else(|| Error::new(ErrorKind::Lost))
}

fn decrypt(zio: &Zio, current: Data, _: usize) -> Result<Data, Error> {
    let keys = shared_of(zio)?.keys.of(zio.bookmark.objset)?;
    let SealParams { salt, iv, mac } = params_of(&zio.bp);
    let mut plain = zio.engine().buffers().take(current.len());
    keys.of_salt(&salt).open(&iv, &mac, &[], current.chunks(), &mut plain).map_err(refused)?;
    Ok(plain.into())
}

fn authenticate(zio: &Zio, current: Data, _: usize) -> Result<Data, Error> {
    let keys = shared_of(zio)?.keys.of(zio.bookmark.objset)?;
    let mac = params_of(&zio.bp).mac;
    keys.hmac_key()?.verify(current.chunks(), &mac).map_err(refused)?;
    Ok(current)
}

/// The checksum was good, so this is no rot: another key, or another's hand.
fn refused(error: OpenError) -> Error {
    Error::because(ErrorKind::Io, error)
}

fn params_of(bp: &BlockPointer) -> SealParams {
    SealParams::from_pointer(bp.words(), super::write::order_of(bp))
}
