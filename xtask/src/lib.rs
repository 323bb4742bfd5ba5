//! One door for all chores of the house.
//!
//! | command | what it does |
//! |---|---|
//! | `cargo xtask bench` | measures the pipeline and its parts beside plain baselines: [`mod@bench`] |
//! | `cargo xtask test` | runs the whole suite: [`suite`] |
//! | `cargo xtask ci` | everything that must hold before a change lands: [`ci`] |
//! | `cargo xtask sim` | whole pipelines on simulated machines, from seeds: [`sim`] |
//! | `cargo xtask crash` | kills a writer in the middle, and looks at what is left: [`crash`] |
//! | `cargo xtask fuzz` | throws hostile bytes at everything that reads a disk: [`fuzz`] |
//! | `cargo xtask docs` | renews what the documents show of the code: [`docs`] |
//! | `cargo xtask layers` | checks that arrows between crates point down: [`layers`] |
//!
//! Nothing depends on this crate.
#![forbid(unsafe_code)]

pub mod bench;
pub mod ci;
pub mod crash;
pub mod docs;
pub mod fuzz;
mod house;
pub mod layers;
pub mod sim;
pub mod suite;
