//! zio-pipeline
#![forbid(unsafe_code)]

mod builder;
mod clock;
mod cost;
mod dedup;
mod leaf;
mod pending;
mod pipeline;
mod props;
mod shared;
mod stages;

pub use builder::{BuildError, Builder, DATA_START_BYTES};
pub use checksum::Algorithm as Checksum;
pub use pending::{Awaited, Outcome, Pending, Started};
pub use pipeline::{IntoData, Pipeline, Root};
pub use props::Write;
pub use transform::{Compression, GzipLevel, ZstdLevel};
pub use vdev_disk::OpenOptions;
pub use zio_core::{
    BlockPointer, Bookmark, Buffer, Completions, Data, Error, ErrorKind, Finished, Priority, Txg,
    VdevId,
};
