//! The pipeline from outside: one binary, a file for each behaviour.

mod bad_input;
#[cfg(feature = "crypt")]
mod big_endian;
mod commit;
mod common;
mod conformance;
mod control;
mod copies;
#[cfg(feature = "crypt")]
mod crypt;
mod dedup;
mod dedup_repair;
mod dedup_table;
mod dedup_verify;
mod delays;
mod device_faults;
mod events;
mod faults;
mod forged;
mod gangs;
mod groups;
mod handover;
mod injected;
mod log_block;
mod mirrors;
mod outages;
mod parents;
mod physical;
mod random;
mod raw_write;
mod replace;
mod replace_model;
mod rewrite;
mod roundtrip;
mod sectors;
mod sharing;
mod space;
mod stages;
mod stats;
mod throttle;
mod traces;
mod txg_ranges;
mod waiting;
