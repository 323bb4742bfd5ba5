//! Space maps (D2): words as ZFS writes them, replay against a row of marks, condensing, damage.

use metaslab::spacemap::{Change, Corrupt, Entries, Entry, PADDING, SpaceMap, bytes_of, words_of};
use metaslab::{Changes, Extent};
use proptest::prelude::*;
use zio_core::VdevId;
use zio_core::bp::ByteOrder;

fn range(change: Change, offset: u64, size: u64, vdev: Option<u32>) -> Entry {
    Entry::Range { change, extent: Extent::new(offset, size), vdev: vdev.map(VdevId) }
}

/// The worked examples of the specification.
#[test]
fn golden_words() {
    let stamp = Entry::Stamp { change: Change::Allocate, pass: 1, txg: 12345 };
    for (entry, words) in [
        (range(Change::Allocate, 0x100, 8, None), &[0x0100_0007][..]),
        (range(Change::Free, 0x100, 8, None), &[0x0100_8007]),
        (
            range(Change::Free, 0x1_2345_6789, 1 << 20, Some(3)),
            &[0xc000_0fff_ff00_0003, 0x8000_0001_2345_6789],
        ),
        (stamp, &[0x8004_0000_0000_3039]),
        (Entry::Stamp { change: Change::Free, pass: 0, txg: 0 }, &[0x9000_0000_0000_0000]),
        (Entry::Stamp { change: Change::Allocate, pass: 0, txg: 0 }, &[PADDING]),
    ] {
        assert_eq!(entry.encode().unwrap()[..], *words, "{entry:?}");
        let read: Vec<_> = Entries::new(words, 512).collect();
        assert_eq!(read, [Ok((0, entry))]);
    }
}

#[test]
fn two_words_where_one_has_no_room() {
    for (offset, size, vdev, words) in [
        (0, 1 << 15, None, 1),
        (0, (1 << 15) + 1, None, 2),
        ((1 << 47) - 1, 1, None, 1),
        (1 << 47, 1, None, 2),
        (0, 1, Some(0), 2),
        ((1 << 63) - 1, 1 << 36, Some((1 << 24) - 1), 2),
    ] {
        let encoded = range(Change::Allocate, offset, size, vdev).encode().unwrap();
        assert_eq!(encoded.len(), words, "{size} at {offset}");
    }
    for (offset, size, vdev) in
        [(0, 0, None), (0, (1 << 36) + 1, None), (1 << 63, 1, None), (0, 1, Some(1 << 24))]
    {
        assert_eq!(range(Change::Free, offset, size, vdev).encode(), None);
    }
    for (pass, txg) in [(1 << 10, 1), (1, 1 << 50)] {
        assert_eq!(Entry::Stamp { change: Change::Free, pass, txg }.encode(), None);
    }
}

fn entry() -> impl Strategy<Value = Entry> {
    let change = || prop_oneof![Just(Change::Allocate), Just(Change::Free)];
    let extent = (0..63_u32, any::<u64>(), 0..37_u32, any::<u64>())
        .prop_map(|(a, b, c, d)| Extent::new(b >> (63 - a).max(1), (d & ((1 << c) - 1)) + 1));
    let vdev = proptest::option::of(0..1_u32 << 24);
    prop_oneof![
        3 => (change(), extent, vdev)
            .prop_map(|(change, extent, vdev)| Entry::Range { change, extent, vdev: vdev.map(VdevId) }),
        1 => (change(), 0..1_u16 << 10, 0..1_u64 << 50)
            .prop_map(|(change, pass, txg)| Entry::Stamp { change, pass, txg }),
    ]
}

/// All words that can be, and more often those that are something.
fn word() -> impl Strategy<Value = u64> {
    let entries = entry().prop_map(|entry| entry.encode().unwrap()[0]);
    let small = (any::<bool>(), 0..64_u64, 0..8_u64)
        .prop_map(|(free, at, run)| at << 16 | u64::from(free) << 15 | run);
    prop_oneof![2 => any::<u64>(), 2 => entries, 4 => small]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn entries_come_back(entry in entry()) {
        let words = entry.encode().unwrap();
        let read: Vec<_> = Entries::new(&words, 512).collect();
        // Two words always name a vdev.
        let expected = match entry {
            Entry::Range { change, extent, vdev: None } if words.len() == 2 => {
                Entry::Range { change, extent, vdev: Some(VdevId(0)) }
            }
            other => other,
        };
        prop_assert_eq!(read, [Ok((0, expected))]);
    }

    /// Whatever is read is written the same again, and what is not read ends the log.
    #[test]
    fn any_words_are_read_or_refused(
        words in proptest::collection::vec(word(), 0..40),
        block_words in 0..10_usize,
        device_units in prop_oneof![Just(64_u64), Just(1 << 63), 0..100_000_u64],
    ) {
        let mut at = 0;
        let mut refused = None;
        for entry in Entries::new(&words, block_words) {
            prop_assert_eq!(refused, None);
            match entry {
                Ok((at_word, entry)) => {
                    prop_assert_eq!(at_word, at);
                    let encoded = entry.encode().unwrap();
                    prop_assert_eq!(&encoded[..], &words[at..at + encoded.len()]);
                    at += encoded.len();
                }
                Err(corrupt) => refused = Some(corrupt),
            }
        }
        prop_assert!(refused.is_some() || at == words.len());
        match SpaceMap::load(device_units, block_words.max(2), words.clone()) {
            Ok(map) => {
                prop_assert_eq!(map.words(), &words[..]);
                let sum: u64 = map.allocated().map(|extent| extent.size_units).sum();
                prop_assert_eq!(sum, map.allocated_units());
                prop_assert!(sum <= device_units);
            }
            Err(corrupt) => _ = corrupt.to_string(),
        }
    }

    #[test]
    fn bytes_in_both_orders(words in proptest::collection::vec(any::<u64>(), 0..20)) {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let bytes = bytes_of(&words, order);
            prop_assert_eq!(bytes.len(), 8 * words.len());
            prop_assert_eq!(words_of(&bytes, order), Ok(words.clone()));
        }
    }
}

#[test]
fn bytes_are_whole_words() {
    assert_eq!(bytes_of(&[0x0100_8007], ByteOrder::Big), [0, 0, 0, 0, 1, 0, 0x80, 7]);
    assert_eq!(bytes_of(&[0x0100_8007], ByteOrder::Little), [7, 0x80, 0, 1, 0, 0, 0, 0]);
    assert_eq!(words_of(&[0; 9], ByteOrder::Big), Err(Corrupt::Bytes { len_bytes: 9 }));
}

// -- Replay against a row of marks. --

/// Units behind one mark: runs of more than eight take two words.
const MARK: u64 = 1 << 12;
const MARKS: usize = 64;

struct Model([bool; MARKS]);

impl Model {
    fn allocated(&self) -> Vec<Extent> {
        let mut extents: Vec<Extent> = Vec::new();
        for at in (0..MARKS as u64).filter(|&at| self.0[at as usize]) {
            match extents.last_mut() {
                Some(last) if last.offset_units + last.size_units == at * MARK => {
                    last.size_units += MARK;
                }
                _ => extents.push(Extent::new(at * MARK, MARK)),
            }
        }
        extents
    }

    fn minimal_words(&self) -> u64 {
        let words = |extent: &Extent| if extent.size_units > 1 << 15 { 2 } else { 1 };
        self.allocated().iter().map(words).sum()
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// Of each extent at these marks what can be is changed, cut as it comes.
    Change {
        free: bool,
        extents: Vec<(usize, usize)>,
    },
    /// The same, with something in it that does not fit.
    Wrong {
        free: bool,
        extents: Vec<(usize, usize)>,
    },
    Condense,
    Reload,
}

fn op() -> impl Strategy<Value = Op> {
    let extents = || proptest::collection::vec((0..MARKS, 1..24_usize), 1..6);
    prop_oneof![
        8 => (any::<bool>(), extents()).prop_map(|(free, extents)| Op::Change { free, extents }),
        2 => (any::<bool>(), extents()).prop_map(|(free, extents)| Op::Wrong { free, extents }),
        1 => Just(Op::Condense),
        2 => Just(Op::Reload),
    ]
}

/// The pieces of these extents that are not in the wanted state already; marks them.
fn pieces(marks: &mut [bool; MARKS], free: bool, extents: &[(usize, usize)]) -> Vec<Extent> {
    let mut pieces = Vec::new();
    for &(at, len) in extents {
        let mut grows = false;
        for (number, mark) in marks.iter_mut().enumerate().skip(at).take(len) {
            match pieces.last_mut() {
                _ if *mark != free => {
                    grows = false;
                    continue;
                }
                Some(Extent { size_units, .. }) if grows => *size_units += MARK,
                _ => pieces.push(Extent::new(number as u64 * MARK, MARK)),
            }
            (*mark, grows) = (!free, true);
        }
    }
    pieces
}

fn changes(txg: u64, free: bool, extents: Vec<Extent>) -> Changes {
    let (allocated, freed) = if free { (Vec::new(), extents) } else { (extents, Vec::new()) };
    Changes { txg, allocated, freed }
}

fn check(map: &SpaceMap, model: &Model, block_words: usize) {
    let extents: Vec<_> = map.allocated().collect();
    assert_eq!(extents, model.allocated());
    assert_eq!(map.minimal_words(), model.minimal_words());
    // Every block can be read by itself.
    for block in map.words().chunks(block_words) {
        assert!(Entries::new(block, block_words).all(|entry| entry.is_ok()));
    }
    let words = map.words().len() as u64;
    let wasteful = words > block_words as u64 && words > 2 * model.minimal_words();
    assert_eq!(map.is_wasteful(), wasteful);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn replay_is_memory(
        block_words in prop_oneof![2..9_usize, Just(512)],
        ops in proptest::collection::vec(op(), 1..60),
    ) {
        let device_units = MARK * MARKS as u64;
        let mut map = SpaceMap::new(device_units, block_words);
        let mut model = Model([false; MARKS]);
        for (number, op) in ops.into_iter().enumerate() {
            let txg = number as u64 + 1;
            match op {
                Op::Change { free, extents } => {
                    let extents = pieces(&mut model.0, free, &extents);
                    let before = map.words().len();
                    let is_empty = extents.is_empty();
                    let first = map.append(&changes(txg, free, extents), 1).unwrap();
                    prop_assert_eq!(first, before);
                    prop_assert_eq!(map.words().len() == before, is_empty);
                    prop_assert_eq!(map.txg() == txg, !is_empty);
                }
                Op::Wrong { free, extents } => {
                    let mut after = model.0;
                    let mut wrong = pieces(&mut after, free, &extents);
                    // Again what was just done, or was so before.
                    let again = wrong.first().copied().unwrap_or_else(|| {
                        Extent::new(extents[0].0 as u64 * MARK, MARK)
                    });
                    wrong.push(again);
                    let before = map.words().to_vec();
                    let corrupt = map.append(&changes(txg, free, wrong), 1).unwrap_err();
                    let is_told = match corrupt {
                        Corrupt::NotFree { extent, .. } => !free && extent == again,
                        Corrupt::NotAllocated { extent, .. } => free && extent == again,
                        _ => false,
                    };
                    prop_assert!(is_told, "{}", corrupt);
                    prop_assert_eq!(map.words(), &before[..]);
                }
                Op::Condense => {
                    map.condense(txg, 1).unwrap();
                    prop_assert!(map.words().len() as u64 <= 2 * model.minimal_words());
                    prop_assert!(!map.is_wasteful());
                }
                Op::Reload => {
                    let bytes = bytes_of(map.words(), ByteOrder::Big);
                    let words = words_of(&bytes, ByteOrder::Big).unwrap();
                    let txg = map.txg();
                    map = SpaceMap::load(device_units, block_words, words).unwrap();
                    prop_assert!(map.txg() == txg || map.words().is_empty());
                }
            }
            check(&map, &model, block_words);
        }
        // Whoever condenses when it says so never has more than this.
        if map.is_wasteful() {
            map.condense(1000, 1).unwrap();
        }
        let words = map.words().len() as u64;
        prop_assert!(words <= (2 * model.minimal_words()).max(block_words as u64));
        check(&map, &model, block_words);
    }
}

// -- Layout. --

#[test]
fn a_log_is_stamps_and_ranges() {
    let mut map = SpaceMap::new(1 << 40, 4);
    let changes = Changes {
        txg: 12345,
        allocated: vec![Extent::new(0x100, 8), Extent::new(0x1000, 1 << 20)],
        freed: vec![],
    };
    map.append(&changes, 1).unwrap();
    let freed = vec![Extent::new(0x1000, 1 << 20)];
    map.append(&Changes { txg: 12346, allocated: vec![], freed }, 2).unwrap();
    let words = [
        0x8004_0000_0000_3039,
        0x0100_0007,
        0xc000_0fff_ff00_0000,
        0x1000,
        // The next block.
        0x9008_0000_0000_303a,
        0xc000_0fff_ff00_0000,
        0x8000_0000_0000_1000,
    ];
    assert_eq!(map.words(), words);
    // With one word less in a block each pair moves to the next one.
    let mut map = SpaceMap::new(1 << 40, 3);
    map.append(&changes, 1).unwrap();
    assert_eq!(map.words(), [words[0], words[1], PADDING, words[2], words[3]]);
    // Condensed, the order is that of the addresses.
    map.append(&Changes { txg: 12347, allocated: vec![Extent::new(0, 1)], freed: vec![] }, 1)
        .unwrap();
    map.condense(12348, 3).unwrap();
    assert_eq!(map.words()[..3], [0x800c_0000_0000_303c, 0, 0x0100_0007]);
    assert_eq!(map.words()[3..], words[2..4]);
}

#[test]
fn an_extent_longer_than_an_entry_takes_several() {
    let units = (1 << 37) + 5;
    let mut map = SpaceMap::new(units, 512);
    let all = Changes { txg: 1, allocated: vec![Extent::new(0, units)], freed: vec![] };
    map.append(&all, 1).unwrap();
    assert_eq!((map.words().len(), map.minimal_words()), (6, 6));
    let map = SpaceMap::load(units, 512, map.words().to_vec()).unwrap();
    assert_eq!(map.allocated().collect::<Vec<_>>(), [Extent::new(0, units)]);
}

#[test]
fn damage_is_told_with_its_place() {
    let alloc = |at: u64, len: u64| at << 16 | (len - 1);
    let free = |at: u64, len: u64| alloc(at, len) | 1 << 15;
    let extent = Extent::new;
    let load = |words: &[u64]| SpaceMap::load(100, 4, words.to_vec()).map(|_| ());
    for (words, corrupt) in [
        (vec![alloc(0, 10), alloc(9, 1)], Corrupt::NotFree { at_word: 1, extent: extent(9, 1) }),
        (vec![alloc(5, 5), alloc(0, 20)], Corrupt::NotFree { at_word: 1, extent: extent(0, 20) }),
        (vec![free(3, 2)], Corrupt::NotAllocated { at_word: 0, extent: extent(3, 2) }),
        (
            vec![alloc(0, 10), PADDING, free(5, 6)],
            Corrupt::NotAllocated { at_word: 2, extent: extent(5, 6) },
        ),
        (
            vec![alloc(90, 11)],
            Corrupt::Outside { at_word: 0, extent: extent(90, 11), device_units: 100 },
        ),
        (
            vec![0xc000_0000_0000_0000, u64::MAX >> 1],
            Corrupt::Outside { at_word: 0, extent: extent(u64::MAX >> 1, 1), device_units: 100 },
        ),
        (vec![alloc(0, 1), 0xc000_0000_0000_0000], Corrupt::Cut { at_word: 1 }),
        // In the middle of the log, at the end of a block.
        (vec![PADDING, PADDING, PADDING, 0xc000_0000_0000_0000, 0], Corrupt::Cut { at_word: 3 }),
        (
            vec![0xa000_0000_0000_0000],
            Corrupt::Reserved { at_word: 0, word: 0xa000_0000_0000_0000 },
        ),
        (
            vec![PADDING, 0xd000_0000_0000_0000, 0],
            Corrupt::Reserved { at_word: 1, word: 0xd000_0000_0000_0000 },
        ),
    ] {
        assert_eq!(load(&words), Err(corrupt), "{words:x?}");
    }
    assert_eq!(load(&[alloc(0, 100), free(0, 100), alloc(99, 1)]), Ok(()));
}

#[test]
fn what_a_stamp_cannot_say_is_refused() {
    let mut map = SpaceMap::new(100, 512);
    let one = |txg| Changes { txg, allocated: vec![Extent::new(0, 1)], freed: vec![] };
    let (pass, txg) = (1, 1 << 50);
    let refused = Err(Corrupt::Stamp { at_word: 0, pass, txg });
    assert_eq!(map.append(&one(txg), pass), refused);
    assert_eq!((map.words().len(), map.allocated_units()), (0, 0));
    assert_eq!(map.append(&one(7), 1), Ok(0));
    assert_eq!(map.condense(txg, pass), refused.map(|_| ()));
    assert_eq!((map.words().len(), map.txg()), (2, 7));
}
