//! Blocks that hold the pointers of others, written together with them (spec 1.15 W2, 3.9).

use zio_core::{Buffer, Data, Error, Zio};

use crate::props::Write;
use crate::wishes::{FillIn, Wishes};

impl Write {
    /// Calls `fill_in` with the block's data once the pointers of all writes
    /// [under](crate::Pending::under) it are final, before the block is compressed: they can be
    /// put into it. Returned is the fill count of its own pointer, the sum of theirs.
    ///
    /// So a tree is written in one go. The devices may get a parent before its children: link it
    /// in when it is done, and they are, too.
    ///
    /// ```
    /// # use std::sync::{Arc, Mutex};
    /// # use zio_pipeline::{BlockPointer, Pipeline};
    /// # let dir = tempfile::tempdir()?;
    /// # let pipeline = Pipeline::builder().create(dir.path().join("disk"), 64 << 20).build()?;
    /// let children = Arc::new(Mutex::new(Vec::new()));
    /// let found = Arc::clone(&children);
    /// let parent = pipeline.write(vec![0; 512]).level(1).on_children_ready(move |data| {
    ///     let children = found.lock().unwrap();
    ///     for (slot, bp) in data.chunks_mut(128).zip(children.iter()) {
    ///         slot.copy_from_slice(&BlockPointer::to_bytes(bp));
    ///     }
    ///     children.iter().map(BlockPointer::fill).sum()
    /// });
    /// let found = Arc::clone(&children);
    /// let child = pipeline.write(vec![7; 4096]).under(&parent.as_parent()?);
    /// drop(child.on_ready(move |bp| found.lock().unwrap().push(*bp)).start()?);
    /// let root = parent.wait()?;
    /// assert_eq!((root.level(), root.fill()), (1, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Not called if one of those writes has failed by then: the parent is not written and
    /// fails as well. What other children have written is theirs to free. Every write under it
    /// must be started; it must not block.
    pub fn on_children_ready(
        self,
        fill_in: impl FnOnce(&mut [u8]) -> u64 + Send + 'static,
    ) -> Self {
        self.with(|zio| {
            Wishes::of(zio).fill_in = Some(Box::new(fill_in));
            Ok(())
        })
    }
}

/// Has the children's pointers put into the data. Returns the fill count.
///
/// # Errors
/// That of a child which has no pointer.
pub(crate) fn fill_in(zio: &mut Zio, fill_in: FillIn) -> Result<u64, Error> {
    if let Some(error) = zio.child_error() {
        return Err(error);
    }
    let mut buffer = in_one_buffer(zio);
    let fill = fill_in(&mut buffer);
    zio.data = buffer.into();
    Ok(fill)
}

/// The data, to be changed. Copied where somebody else holds it, or it is in pieces.
fn in_one_buffer(zio: &mut Zio) -> Buffer {
    let data = std::mem::take(&mut zio.data);
    let whole = match data.segments() {
        [only] => Some(only.clone()),
        _ => None,
    };
    let pool = zio.engine().buffers();
    let copy = |data: &Data| {
        let mut buffer = pool.take(data.len());
        data.copy_to(&mut buffer);
        buffer
    };
    let Some(segment) = whole else { return copy(&data) };
    drop(data);
    segment.thaw().unwrap_or_else(|shared| copy(&shared.into()))
}
