//! The pipeline from outside: one binary, a file for each behaviour.

mod bad_input;
#[cfg(feature = "crypt")]
mod big_endian;
mod common;
mod conformance;
#[cfg(feature = "crypt")]
mod crypt;
mod dedup;
mod faults;
mod forged;
mod gangs;
mod groups;
mod handover;
mod log_block;
mod mirrors;
mod physical;
mod random;
mod roundtrip;
mod sectors;
mod sharing;
mod space;
mod stages;
mod waiting;
