//! Raw ranges of a leaf: labels, and whatever else has no pointer (spec 8.4).

use std::ops::Range;
use std::sync::Arc;

use checksum::Algorithm;
use zio_core::{Data, Error, ErrorKind, Flags, Priority, Request, Stages, VdevId, ZioBox, ZioType};

use crate::leaf::Leaf;
use crate::pending::Pending;
use crate::pipeline::{IntoData, Pipeline};
use crate::read::Read;

/// A leaf, to be read and written by offset. From [`Pipeline::physical`].
///
/// Offsets are in bytes from the start of the *device*; they and lengths are multiples of 512 and of
/// the device's sector. Nothing is allocated, padded or compressed. The label areas, the
/// first 4 MiB and the last 512 KiB, and the data between them have calls of their own, so that
/// a slip in an offset cannot lead from one into the other.
///
/// A *label block* carries its checksum inside, bound to its offset: copied to another place, or
/// read from there, it does not verify.
#[derive(Debug)]
pub struct Physical<'a> {
    pipeline: &'a Pipeline,
    vdev: VdevId,
    leaf: Arc<Leaf>,
}

/// Where a range must lie.
#[derive(Clone, Copy)]
enum Area {
    Data,
    Labels,
}

impl<'a> Physical<'a> {
    pub(crate) fn new(pipeline: &'a Pipeline, vdev: VdevId, leaf: Arc<Leaf>) -> Self {
        Self { pipeline, vdev, leaf }
    }

    /// Reads a range of the data area. Nothing is verified.
    pub fn read(&self, offset_bytes: u64, len_bytes: usize) -> Read {
        self.read_range(Area::Data, Algorithm::Off, offset_bytes, len_bytes)
    }

    /// Reads a range of the label areas. Nothing is verified.
    pub fn read_labels(&self, offset_bytes: u64, len_bytes: usize) -> Read {
        self.read_range(Area::Labels, Algorithm::Off, offset_bytes, len_bytes)
    }

    /// Reads a label block, and verifies the checksum inside it.
    pub fn read_label_block(&self, offset_bytes: u64, len_bytes: usize) -> Read {
        self.read_range(Area::Labels, Algorithm::Label, offset_bytes, len_bytes)
    }

    /// Writes a range of the data area, whoever may have blocks there.
    pub fn write(&self, offset_bytes: u64, data: impl IntoData) -> Pending<()> {
        self.write_range(Area::Data, Algorithm::Off, offset_bytes, data)
    }

    /// Writes a range of the label areas as it is.
    ///
    /// The first 8 KiB of a label are blank in the format, and a [probe](crate::Pipeline::is_dead) of a leaf
    /// of a mirror writes back there what it has just read: nothing is to be kept in them.
    pub fn write_labels(&self, offset_bytes: u64, data: impl IntoData) -> Pending<()> {
        self.write_range(Area::Labels, Algorithm::Off, offset_bytes, data)
    }

    /// Writes a label block: its last 40 bytes are replaced, in a copy, by the
    /// checksum of the block in this place.
    pub fn write_label_block(&self, offset_bytes: u64, data: impl IntoData) -> Pending<()> {
        self.write_range(Area::Labels, Algorithm::Label, offset_bytes, data)
    }

    fn read_range(&self, area: Area, checksum: Algorithm, offset: u64, len: usize) -> Read {
        Pending::new(self.admit(area, offset, len).map(|()| {
            let mut zio = self.make(ZioType::Read, Stages::READ_PHYS, checksum, offset, len);
            zio.priority = Priority::SyncRead;
            Request::new(zio)
        }))
    }

    fn write_range(
        &self,
        area: Area,
        checksum: Algorithm,
        offset: u64,
        data: impl IntoData,
    ) -> Pending<()> {
        let data: Data = data.into_data(self.pipeline);
        let len = data.len();
        Pending::new(self.admit(area, offset, len).map(|()| {
            let mut zio = self.make(ZioType::Write, Stages::WRITE_PHYS, checksum, offset, len);
            zio.priority = Priority::SyncWrite;
            zio.data = data;
            Request::new(zio)
        }))
    }

    fn make(
        &self,
        ty: ZioType,
        pipeline: Stages,
        checksum: Algorithm,
        offset: u64,
        len: usize,
    ) -> ZioBox {
        let flags = Flags::CANFAIL | Flags::PHYSICAL;
        let engine = self.pipeline.engine();
        let mut zio = engine.make_on_vdev(ty, self.vdev, offset, flags, pipeline);
        zio.leaf = self.leaf.place().leaf;
        zio.size_bytes = len;
        zio.lsize_bytes = len;
        zio.props.checksum = checksum.id();
        zio
    }

    fn admit(&self, area: Area, offset: u64, len: usize) -> Result<(), Error> {
        let sector_bytes = self.leaf.sector_bytes();
        let aligned =
            offset.is_multiple_of(sector_bytes) && (len as u64).is_multiple_of(sector_bytes);
        let range = offset..offset.saturating_add(len as u64);
        let inside = |of: &Range<u64>| of.start <= range.start && range.end <= of.end;
        let (name, areas) = match area {
            Area::Data => ("data area", vec![self.leaf.data_area()]),
            Area::Labels => ("label areas", self.leaf.label_areas().to_vec()),
        };
        if len > 0 && aligned && areas.iter().any(inside) {
            return Ok(());
        }
        Err(Error::msg(
            ErrorKind::Invalid,
            format!(
                "{len} bytes at {offset:#x} of the device, not within its {name} {areas:x?} \
                 in sectors of {sector_bytes}"
            ),
        ))
    }
}
