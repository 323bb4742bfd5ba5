//! Inheritance of flags: A10 (spec 1.7).

use std::fmt::Write as _;

use zio_core::Flags;

/// The flags in the order of spec 1.7: the position is the bit number there.
const BY_BIT: [Flags; 31] = [
    Flags::DONT_AGGREGATE,
    Flags::IO_REPAIR,
    Flags::SELF_HEAL,
    Flags::RESILVER,
    Flags::SCRUB,
    Flags::SCAN_THREAD,
    Flags::PHYSICAL,
    Flags::CANFAIL,
    Flags::SPECULATIVE,
    Flags::CONFIG_WRITER,
    Flags::DONT_RETRY,
    Flags::DONT_CACHE,
    Flags::NODATA,
    Flags::INDUCE_DAMAGE,
    Flags::IO_ALLOCATING,
    Flags::IO_RETRY,
    Flags::PROBE,
    Flags::TRYHARD,
    Flags::OPTIONAL,
    Flags::DONT_QUEUE,
    Flags::DONT_PROPAGATE,
    Flags::IO_BYPASS,
    Flags::IO_REWRITE,
    Flags::RAW_COMPRESS,
    Flags::RAW_ENCRYPT,
    Flags::GANG_CHILD,
    Flags::DDT_CHILD,
    Flags::GODFATHER,
    Flags::NOPWRITE,
    Flags::REEXECUTED,
    Flags::DELEGATED,
];

/// Flags that the original does not have.
const OWN: [Flags; 1] = [Flags::DONT_REPAIR];

fn up_to(bit: usize) -> Flags {
    BY_BIT[..=bit].iter().copied().collect()
}

#[test]
fn every_flag_is_listed_once() {
    let all = BY_BIT.into_iter().chain(OWN).fold(Flags::empty(), |all, flag| {
        assert!(!all.contains(flag), "{flag:?} twice");
        all | flag
    });
    assert_eq!(all, Flags::all());
}

#[test]
fn sets_are_those_of_the_spec() {
    assert_eq!(Flags::AGGREGATE_INHERIT, up_to(6));
    assert_eq!(Flags::LOGICAL_INHERIT, up_to(14) | Flags::DONT_REPAIR);
    assert_eq!(Flags::VDEV_INHERIT, up_to(18) | Flags::DONT_REPAIR);
    assert_eq!(Flags::RAW, Flags::RAW_COMPRESS | Flags::RAW_ENCRYPT);
}

/// What a child has, beside the flags every child of its kind has.
fn row(parent: Flags) -> [String; 4] {
    let gang = parent.for_gang_child() - (Flags::GANG_CHILD | Flags::CANFAIL);
    let ddt = parent.for_ddt_child() - (Flags::DDT_CHILD | Flags::CANFAIL);
    let always = Flags::DONT_PROPAGATE | Flags::CANFAIL;
    let top = parent.for_vdev_child(true) - always;
    let leaf = parent.for_vdev_child(false) - always;
    [gang, ddt, top, leaf]
        .map(|flags| flags.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(" "))
}

/// One row per flag, then the combinations with rules of their own.
#[test]
fn inheritance_is_golden() {
    let combined = [
        Flags::IO_REPAIR | Flags::SPECULATIVE,
        Flags::IO_ALLOCATING | Flags::IO_RETRY,
        Flags::all(),
    ];
    let mut printed = String::from(
        "| parent has | gang child gets | DDT child gets | top-level vdev child gets | \
         leaf child gets |\n|---|---|---|---|---|\n",
    );
    for parent in BY_BIT.into_iter().chain(OWN).chain(combined) {
        let names: Vec<_> = parent.iter_names().map(|(name, _)| name).collect();
        let names = if parent == Flags::all() { "all".to_owned() } else { names.join(" ") };
        let [gang, ddt, top, leaf] = row(parent);
        let _ = writeln!(printed, "| {names} | {gang} | {ddt} | {top} | {leaf} |");
    }
    assert_eq!(printed, include_str!("golden/flags.md"), "printed now:\n{printed}");
}

#[test]
fn every_child_has_the_flags_of_its_kind() {
    for parent in BY_BIT.into_iter().chain([Flags::empty(), Flags::all()]) {
        assert!(parent.for_gang_child().contains(Flags::GANG_CHILD | Flags::CANFAIL));
        assert!(parent.for_ddt_child().contains(Flags::DDT_CHILD | Flags::CANFAIL));
        for top_level in [true, false] {
            let child = parent.for_vdev_child(top_level);
            assert!(child.contains(Flags::DONT_PROPAGATE | Flags::CANFAIL));
        }
        let gang_and_ddt = Flags::GANG_CHILD | Flags::DDT_CHILD;
        assert!(!parent.for_vdev_child(true).intersects(gang_and_ddt), "kinds are not inherited");
        assert!(!parent.for_gang_child().contains(Flags::DDT_CHILD));
        assert!(!parent.for_ddt_child().contains(Flags::GANG_CHILD));
    }
}
