//! What the documents show of the code is what the code says.

use std::fs;
use std::path::Path;

use xtask::docs::stale;

const DOCUMENTS: [&str; 2] = ["docs/stages.md", "README.md"];
const EXAMPLE: &str = "zio-pipeline/examples/quickstart.rs";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The documents and their sources alone, to be played with.
fn copy() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in DOCUMENTS.into_iter().chain([EXAMPLE]) {
        let to = copy.path().join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(root().join(file), to).unwrap();
    }
    copy
}

#[test]
fn the_documents_are_up_to_date() {
    let stale = stale(root()).unwrap();
    let names: Vec<_> = stale.iter().map(|(path, _)| path).collect();
    assert!(names.is_empty(), "{names:?} are out of date: run `cargo xtask docs`");
}

#[test]
fn a_changed_table_is_found_and_mended() {
    let copy = copy();
    let path = copy.path().join("docs/stages.md");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, good.replace("| DVA_ALLOCATE |", "| DVA_ALOCATE |")).unwrap();
    let found = stale(copy.path()).unwrap();
    assert_eq!(found, [(path, good)]);
}

#[test]
fn a_changed_example_makes_the_readme_stale() {
    let copy = copy();
    let path = copy.path().join(EXAMPLE);
    let code = fs::read_to_string(&path).unwrap();
    fs::write(&path, code.replace("fn main()", "fn main() /* changed */")).unwrap();
    let found = stale(copy.path()).unwrap();
    assert_eq!(found.len(), 1);
    assert!(found[0].0.ends_with("README.md") && found[0].1.contains("/* changed */"));
}

#[test]
fn a_document_without_marks_is_an_error() {
    let copy = copy();
    fs::write(copy.path().join("README.md"), "# zio\n").unwrap();
    let error = format!("{:#}", stale(copy.path()).unwrap_err());
    assert!(error.contains("README.md") && error.contains("begin quickstart"), "{error}");
}
