//! The pipeline from outside: one binary, a file for each behaviour.

mod bad_input;
#[cfg(feature = "crypt")]
mod big_endian;
mod common;
mod conformance;
#[cfg(feature = "crypt")]
mod crypt;
mod dedup;
mod dedup_repair;
mod dedup_table;
mod dedup_verify;
mod faults;
mod forged;
mod gangs;
mod groups;
mod handover;
mod mirrors;
mod physical;
mod random;
mod roundtrip;
mod sectors;
mod sharing;
mod space;
mod stages;
mod waiting;
