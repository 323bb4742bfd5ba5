//! The pipeline from outside: one binary, a file for each behaviour.

mod bad_input;
mod common;
mod conformance;
mod dedup;
mod faults;
mod handover;
mod roundtrip;
mod space;
mod stages;
mod waiting;
