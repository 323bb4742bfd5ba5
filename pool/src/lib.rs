//! Clients of the pipeline.
pub mod log;
pub mod scrub;
mod txg_ranges;
pub use txg_ranges::TxgRanges;
