//! `cargo xtask test`: the whole suite, by plain `cargo test`.

use std::ffi::OsString;

use anyhow::Result;

use crate::house;

/// What to hand on to `cargo test`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Args {
    /// Arguments of `cargo test`, such as a name to filter by, or `-p CRATE`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    args: Vec<OsString>,
}

/// Runs `cargo test --workspace` with the given arguments; `-p` narrows it.
///
/// # Errors
/// When a test fails, or does not compile.
pub fn run(args: &Args) -> Result<()> {
    house::run(house::cargo(arguments(&args.args)))
}

fn arguments(given: &[OsString]) -> Vec<OsString> {
    let names_package = |arg: &OsString| {
        let arg = arg.to_string_lossy();
        let long = arg == "--package" || arg.starts_with("--package=");
        long || (arg.starts_with("-p") && !arg.starts_with("--"))
    };
    let before_dashes = given.iter().take_while(|arg| *arg != "--");
    let narrowed = before_dashes.clone().any(names_package);
    let mut all = vec![OsString::from("test")];
    all.extend((!narrowed).then(|| "--workspace".into()));
    all.extend(given.iter().cloned());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(given: &[&str]) -> Vec<String> {
        let given: Vec<OsString> = given.iter().map(OsString::from).collect();
        arguments(&given).iter().map(|arg| arg.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn without_a_package_the_whole_house_is_tested() {
        assert_eq!(words(&[]), ["test", "--workspace"]);
        assert_eq!(words(&["twins", "--", "-p"]), ["test", "--workspace", "twins", "--", "-p"]);
    }

    #[test]
    fn a_package_narrows_it() {
        for narrow in [&["-p", "ddt"][..], &["-pddt"], &["--package", "ddt"], &["--package=ddt"]] {
            assert!(!words(narrow).contains(&"--workspace".to_owned()), "{narrow:?}");
        }
    }
}
