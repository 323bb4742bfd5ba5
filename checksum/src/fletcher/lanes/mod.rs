//! The loops over many independent lanes: one source each for every fast kernel.
//!
//! Words go to lanes in turn, each lane keeps sums of its own, and the lanes
//! are brought together at the end. No lane waits for another, so a compiler
//! that may use wide registers does so; the modules under `arch` decide what it
//! may use, and how many lanes fit.

pub(super) mod four;
pub(super) mod two;
