//! What is wanted of a file, whatever engine serves it.

/// Whether the page cache is bypassed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direct {
    /// Direct where the file system allows it, else through the page cache
    /// ([`Disk::is_direct`](crate::Disk::is_direct) tells). A block device is
    /// always direct, or not opened.
    #[default]
    Prefer,
    /// Direct, or not opened.
    Require,
    /// Through the page cache.
    Never,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct FileOptions {
    pub(crate) read_only: bool,
    pub(crate) create_bytes: Option<u64>,
    pub(crate) expect_bytes: Option<u64>,
    pub(crate) direct: Direct,
    pub(crate) sector_bytes: Option<u32>,
    pub(crate) rotational: Option<bool>,
}
