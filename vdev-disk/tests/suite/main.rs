//! The crate from outside: one binary, a file for each concern.

mod behaviour;
mod block;
mod common;
mod opening;
mod ring;
