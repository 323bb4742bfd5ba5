//! Scrub and log on simulated machines, and on files.

mod common;
mod log;
mod log_crash;
mod log_leaves;
mod resilver;
mod scrub;
mod scrub_control;
mod scrub_crash;
