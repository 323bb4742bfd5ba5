//! What a write may ask for that few writes do, and that no number says.

use zio_core::{BlockPointer, Zio};

/// Fills a parent in when its children's pointers are final; returns its fill count.
pub(crate) type FillIn = Box<dyn FnOnce(&mut [u8]) -> u64 + Send>;

/// Attached to the zio of a write until WRITE_COMPRESS.
#[derive(Default)]
pub(crate) struct Wishes {
    /// The block is on the devices already, here.
    pub(crate) written: Option<BlockPointer>,
    /// The data is what is stored, and this pointer says how.
    pub(crate) stored_as: Option<BlockPointer>,
    /// The children's pointers have to go into the data.
    pub(crate) fill_in: Option<FillIn>,
}

impl Wishes {
    /// Those of this write, to add to them or to grant one.
    pub(crate) fn of(zio: &mut Zio) -> &mut Self {
        if !is_attached(zio) {
            zio.attachment = Some(Box::<Self>::default());
        }
        let attached = zio.attachment.as_mut().and_then(|any| any.downcast_mut());
        attached.expect("attached just now")
    }

    /// Those of this write, which has no more use for them.
    pub(crate) fn take(zio: &mut Zio) -> Self {
        if !is_attached(zio) {
            return Self::default();
        }
        let attached = zio.attachment.take().and_then(|any| any.downcast().ok());
        attached.map(|wishes| *wishes).unwrap_or_default()
    }
}

fn is_attached(zio: &Zio) -> bool {
    zio.attachment.as_ref().is_some_and(|any| any.is::<Wishes>())
}
