//! The coverage-guided driver: libFuzzer around the chosen target.
#![no_main]

use std::sync::OnceLock;

use fuzz::{Target, chosen_target};
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<Target> = OnceLock::new();

fuzz_target!(
    init: {
        TARGET.get_or_init(chosen_target);
    },
    |data: &[u8]| (TARGET.get_or_init(chosen_target).run)(data)
);
