//! One file per target.

pub mod block_pointer;
mod codec;
pub(crate) mod dedup_key;
pub(crate) mod embedded;
pub(crate) mod gang_header;
pub(crate) mod gzip;
pub(crate) mod label;
pub(crate) mod lz4;
pub(crate) mod lzjb;
pub(crate) mod zle;
pub(crate) mod zstd;
