//! Extra copies of what very many pointers share (spec 6.4 step 3).
//!
//! The writer whose reference was one too many for the copies there are writes them. If it
//! cannot, it has its block all the same, and the next one tries.

use ddt::DittoToken;
use zio_core::{Dva, Error, Finished, Stages, Zio, ZioBox, ZioType};

use super::{ddt_child, free};
use crate::shared::Shared;

/// A child that writes extra copies, if the block of this write lacks some.
pub(super) fn begin(shared: &Shared, zio: &Zio) -> Option<(DittoToken, ZioBox)> {
    let token = shared.dedup.lead_ditto(&zio.bp)?;
    let mut child = ddt_child(zio, ZioType::Write, Stages::DDT_CHILD_WRITE);
    for index in 0..zio.bp.copies() {
        child.bp.set_dva(index, Dva::EMPTY);
    }
    child.bp.set_birth(zio.txg, zio.txg);
    child.props.copies = token.copies().get();
    child.data = zio.data.clone();
    Some((token, child))
}

/// The child has come home.
pub(super) fn conclude(
    shared: &Shared,
    zio: &Zio,
    token: DittoToken,
    mut child: Finished,
) -> Result<(), Error> {
    if child.take_error().is_some() {
        return shared.dedup.fail_ditto(token, &zio.bp);
    }
    match shared.dedup.complete_ditto(token, &child.get().bp)? {
        Some(spare) => free::free_unshared(shared, zio, &spare),
        None => Ok(()),
    }
}
