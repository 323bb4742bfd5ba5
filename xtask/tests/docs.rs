//! What the documents show of the code is what the code says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use xtask::docs::{DIAGRAMS, stale};

const DOCUMENTS: [&str; 2] = ["docs/stages.md", "README.md"];
const EXAMPLE: &str = "zio-pipeline/examples/quickstart.rs";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The documents and their sources alone, to be played with.
fn copy() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let names = fs::read_dir(root().join(DIAGRAMS)).unwrap().map(|file| file.unwrap().file_name());
    let diagrams = names.map(|name| Path::new(DIAGRAMS).join(name));
    for file in DOCUMENTS.into_iter().chain([EXAMPLE]).map(PathBuf::from).chain(diagrams) {
        let to = copy.path().join(&file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(root().join(&file), to).unwrap();
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
fn a_changed_diagram_is_found_and_mended() {
    let copy = copy();
    let path = copy.path().join(DIAGRAMS).join("READ.md");
    let good = fs::read_to_string(&path).unwrap();
    assert!(good.contains("READ_BP_INIT → READY → VDEV_IO_START"), "{good}");
    fs::write(&path, good.replace("READY → ", "")).unwrap();
    assert_eq!(stale(copy.path()).unwrap(), [(path, good)]);
}

/// Each diagram stands in the documentation of a pipeline, and no other file lies about.
#[test]
fn every_diagram_is_shown_and_none_is_left_over() {
    let stages = fs::read_to_string(root().join("zio-core/src/stages.rs")).unwrap();
    let names: BTreeSet<_> = zio_core::stages::diagrams().iter().map(|(name, _)| *name).collect();
    for name in &names {
        let shown = format!("#[doc = include_str!(\"../docs/pipelines/{name}.md\")]");
        assert_eq!(stages.matches(&shown).count(), 1, "{name}");
    }
    let files = fs::read_dir(root().join(DIAGRAMS)).unwrap();
    let files: BTreeSet<_> = files.map(|file| file.unwrap().path()).collect();
    let expected = names.iter().map(|name| root().join(DIAGRAMS).join(name).with_extension("md"));
    assert_eq!(files, expected.collect());
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
