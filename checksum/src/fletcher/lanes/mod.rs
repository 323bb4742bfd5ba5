//! The loops over many independent lanes: one source each for every fast kernel.
//!
//! Words go to lanes in turn, each lane keeps sums of its own, and the lanes
//! are brought together at the end. No lane waits for another, so a compiler
//! that may use wide registers does so; the modules under `arch` decide what it
//! may use, and how many lanes fit.
//!
//! Between the loop and the joining of its lanes the sums go through memory, by
//! a `black_box`. Otherwise the compiler looks at both as one, and with some
//! shapes of the joining no longer finds the wide instructions of the loop:
//! measured, a factor of three for fletcher2 and of eight for fletcher4.

pub(super) mod four;
pub(super) mod two;
