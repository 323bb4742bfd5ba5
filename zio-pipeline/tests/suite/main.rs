//! The pipeline from outside: one binary, a file for each behaviour.

mod bad_input;
#[cfg(feature = "crypt")]
mod big_endian;
mod common;
mod conformance;
mod control;
#[cfg(feature = "crypt")]
mod crypt;
mod dedup;
mod events;
mod faults;
mod forged;
mod gangs;
mod groups;
mod handover;
mod injected;
mod mirrors;
mod outages;
mod physical;
mod random;
mod roundtrip;
mod sectors;
mod sharing;
mod space;
mod stages;
mod waiting;
