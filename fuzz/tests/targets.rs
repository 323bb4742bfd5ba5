//! The targets and their seeds belong together, and the plain mutator keeps its word.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use fuzz::input::Input;
use fuzz::mutate::{Random, child};
use fuzz::{INPUT_BYTES_MAX, TARGETS};

fn seeds_dir() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/seeds"))
}

fn seeds_of(target: &str) -> Vec<Vec<u8>> {
    let folder = fs::read_dir(seeds_dir().join(target)).unwrap();
    let mut paths: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn each_target_has_seeds_and_each_folder_of_seeds_a_target() {
    let folders: BTreeSet<String> = fs::read_dir(seeds_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(folders, names);
    assert_eq!(names.len(), TARGETS.len(), "two targets of one name");
}

#[test]
fn each_target_survives_its_seeds_and_some_of_their_children() {
    for target in TARGETS {
        let seeds = seeds_of(target.name);
        assert!(!seeds.is_empty(), "{}", target.name);
        for seed in &seeds {
            assert!(seed.len() <= INPUT_BYTES_MAX, "{}: a seed is too long", target.name);
            (target.run)(seed);
        }
        let mut random = Random::new(7);
        for _ in 0..500 {
            (target.run)(&child(&seeds, INPUT_BYTES_MAX, &mut random));
        }
        (target.run)(&[]);
    }
}

#[test]
fn the_same_number_makes_the_same_inputs_none_too_long() {
    let parents = seeds_of("lz4");
    let line = |seed| {
        let mut random = Random::new(seed);
        (0..300).map(|_| child(&parents, 100, &mut random)).collect::<Vec<_>>()
    };
    assert_eq!(line(1), line(1));
    assert_ne!(line(1), line(2));
    assert!(line(1).iter().all(|input| input.len() <= 100));
    let different: BTreeSet<_> = line(1).into_iter().collect();
    assert!(different.len() > 200, "{} of 300 inputs differ", different.len());
}

#[test]
fn a_child_of_nobody_is_made_from_nothing() {
    let mut random = Random::new(3);
    assert!((0..100).any(|_| !child(&[], 100, &mut random).is_empty()));
}

#[test]
fn beyond_an_input_stand_zeros() {
    let mut input = Input::new(&[1, 2, 3]);
    assert_eq!(input.u16(), 0x0201);
    assert_eq!(input.u64(), 3);
    assert_eq!(input.byte(), 0);
    assert!(input.rest().is_empty());
}

#[test]
fn lengths_reach_from_nothing_to_a_whole_block() {
    let length = |word: u16| Input::new(&word.to_le_bytes()).length_bytes();
    let lengths: BTreeSet<usize> = (0..=u16::MAX).map(length).collect();
    assert!((0..4096).all(|bytes| lengths.contains(&bytes)));
    assert!((8..=256).all(|sectors| lengths.contains(&(sectors * 512))));
    assert_eq!(lengths.last(), Some(&(128 << 10)));
}
