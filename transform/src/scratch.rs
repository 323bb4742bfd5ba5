//! Working memory of the codecs.

use std::fmt;

use ::zstd::zstd_safe::{CCtx, DCtx};

use crate::{gzip, lzjb};

/// Working memory of the encoders and decoders, kept from call to call.
///
/// Nothing is allocated until a codec is first used, and nothing more once it has seen its largest
/// block; from then on calls do not touch the heap. What it holds never influences a result:
/// output is a function of the input, the parameters and the libraries' versions. Give each thread
/// its own. (lz4's table is not here: its library keeps one of 16 KiB for each thread.)
#[derive(Default)]
pub struct Scratch {
    pub(crate) lzjb: Option<Box<lzjb::Table>>,
    pub(crate) zstd_encoder: Option<CCtx<'static>>,
    pub(crate) zstd_decoder: Option<DCtx<'static>>,
    pub(crate) gzip_encoders: gzip::Encoders,
    pub(crate) gzip_decoder: Option<libdeflater::Decompressor>,
}

impl Scratch {
    /// Empty working memory.
    pub fn new() -> Self {
        Self::default()
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch")
            .field("lzjb", &self.lzjb.is_some())
            .field("zstd_encoder", &self.zstd_encoder.is_some())
            .field("zstd_decoder", &self.zstd_decoder.is_some())
            .field("gzip_encoders", &self.gzip_encoders.iter().flatten().count())
            .field("gzip_decoder", &self.gzip_decoder.is_some())
            .finish()
    }
}
