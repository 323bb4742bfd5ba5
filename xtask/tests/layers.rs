//! The arrows of this workspace point down, and the checker sees those that do not.

use xtask::layers::{Arrow, Breach, breaches, graph};

fn arrow(from: &str, to: &str) -> Arrow {
    Arrow { from: from.into(), to: to.into(), dev: false }
}

fn dev(from: &str, to: &str) -> Arrow {
    Arrow { dev: true, ..arrow(from, to) }
}

#[test]
fn this_house_stands() {
    let (crates, arrows) = graph().unwrap();
    // Not an empty answer: these are there as long as there is a pipeline.
    assert!(crates.contains(&"xtask".to_owned()));
    assert!(arrows.contains(&arrow("zio-pipeline", "zio-core")));
    assert_eq!(breaches(&crates, &arrows), []);
}

#[test]
fn arrows_up_or_sideways_are_breaches() {
    let bad = [
        // A pure crate knows nothing of ours, not even its neighbour.
        arrow("vdev-queue", "zio-core"),
        arrow("ddt", "checksum"),
        arrow("zio-core", "taskq"),
        // Implementors of traits do not know each other …
        arrow("taskq", "metaslab"),
        arrow("metaslab", "vdev-disk"),
        arrow("vdev-disk", "metaslab"),
        arrow("vdev-disk", "vdev-sim"),
        arrow("vdev-sim", "zio-pipeline"),
        // … the pipeline does not know its clients …
        arrow("zio-pipeline", "pool"),
        // … and nobody knows the chores.
        arrow("zio-pipeline", "xtask"),
        arrow("zio-core", "zio-core"),
        dev("zio-core", "zio-pipeline"),
        dev("taskq", "metaslab"),
        dev("checksum", "transform"),
    ];
    let expected: Vec<Breach> = bad.iter().cloned().map(Breach::Up).collect();
    assert_eq!(breaches(&[], &bad), expected);
}

#[test]
fn arrows_down_are_fine_and_so_is_the_test_machine() {
    let good = [
        arrow("zio-core", "checksum"),
        arrow("taskq", "zio-core"),
        arrow("vdev-disk", "taskq"),
        arrow("zio-pipeline", "vdev-sim"),
        arrow("pool", "zio-pipeline"),
        arrow("xtask", "pool"),
        dev("vdev-disk", "metaslab"),
        dev("vdev-queue", "vdev-sim"),
        dev("zio-core", "vdev-sim"),
    ];
    assert_eq!(breaches(&[], &good), []);
}

#[test]
fn a_crate_without_a_room_is_a_breach() {
    let crates = ["ddt".to_owned(), "shed".to_owned()];
    let found = breaches(&crates, &[arrow("ddt", "shed")]);
    assert_eq!(found, [Breach::Unknown("shed".into())]);
    assert!(found[0].to_string().contains("shed has no room"));
}
