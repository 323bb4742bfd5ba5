//! Compiles the counter of C code's branches for the coverage-guided driver.

fn main() {
    println!("cargo::rerun-if-changed=c/branches.c");
    #[cfg(feature = "libfuzzer")]
    {
        cc::Build::new().file("c/branches.c").compile("branches");
        // libFuzzer has a function of that name too, which ends the process.
        println!("cargo::rustc-link-arg-bins=-Wl,--wrap=__sanitizer_cov_trace_pc");
    }
}
