//! The block pointer: 128 bytes that say where a block is and prove what it holds (spec 2).

mod dva;

pub use dva::{Dva, SECTOR_BYTES, SECTOR_SHIFT};
