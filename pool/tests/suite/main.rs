//! Scrub, resilver, log, dirty data and destroys on simulated machines, and on files.

mod common;
mod destroy;
mod destroy_crash;
mod dirty;
mod dirty_rate;
mod dirty_sim;
mod log;
mod log_crash;
mod log_leaves;
mod resilver;
mod scrub;
mod scrub_control;
mod scrub_crash;
