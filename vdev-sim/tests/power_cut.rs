//! What survives when the power fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use vdev_sim::{Client, DiskConfig, Effect, Fault, Latency, Machine, OpKind, Rng, SimDisk};
use zio_core::{Vdev, VdevErrorKind, VdevOp};

const SIZE: u64 = 1 << 20;

fn bench_of(seed: u64, config: DiskConfig) -> (Machine, Arc<SimDisk>, Client) {
    let machine = Machine::new(seed);
    let disk = machine.disk(config);
    let client = Client::new(Arc::clone(&disk) as Arc<dyn Vdev>);
    (machine, disk, client)
}

fn bench(seed: u64) -> (Machine, Arc<SimDisk>, Client) {
    bench_of(seed, DiskConfig::fixed(SIZE, 1000))
}

/// How often each outcome occurs over many seeds.
fn outcomes(seeds: u64, outcome: impl Fn(u64) -> Vec<u8>) -> BTreeMap<Vec<u8>, u32> {
    let mut counts = BTreeMap::new();
    for seed in 0..seeds {
        *counts.entry(outcome(seed)).or_default() += 1;
    }
    counts
}

#[test]
fn of_two_unflushed_writes_any_subset_survives() {
    let counts = outcomes(400, |seed| {
        let (_, disk, client) = bench(0);
        client.write(0, &[1; 512]).unwrap();
        client.write(8192, &[2; 512]).unwrap();
        disk.power_cut(&mut Rng::new(seed));
        disk.online();
        vec![client.read(0, 512).unwrap()[0], client.read(8192, 512).unwrap()[0]]
    });
    let expected = [vec![0, 0], vec![0, 2], vec![1, 0], vec![1, 2]];
    assert_eq!(counts.keys().cloned().collect::<Vec<_>>(), expected);
    assert!(counts.values().all(|&n| n > 60), "{counts:?}");
}

#[test]
fn two_unflushed_writes_to_one_place_land_in_any_order() {
    let counts = outcomes(300, |seed| {
        let (_, disk, client) = bench(0);
        client.write(0, &[1; 512]).unwrap();
        client.write(0, &[2; 512]).unwrap();
        disk.power_cut(&mut Rng::new(seed));
        disk.peek(0, 1)
    });
    assert_eq!(counts.len(), 3, "nothing, the old one, the new one: {counts:?}");
    assert!(counts.values().all(|&n| n > 40), "{counts:?}");
}

#[test]
fn a_write_in_flight_is_gone_and_may_have_landed() {
    let counts = outcomes(200, |seed| {
        let (machine, disk, client) = bench(0);
        let ticket = client.start_write(0, &[1; 512]);
        machine.run_for(500);
        disk.power_cut(&mut Rng::new(seed));
        let done = client.wait(ticket).unwrap();
        assert_eq!(done.result.unwrap_err().kind(), VdevErrorKind::Gone);
        assert!(matches!(done.op, Some(VdevOp::Write(data)) if data == [1; 512]));
        assert_eq!(client.read(0, 512).unwrap_err().kind(), VdevErrorKind::Gone);
        disk.online();
        client.read(0, 1 << 9).unwrap()[..1].to_vec()
    });
    assert_eq!(counts.len(), 2, "{counts:?}");
    assert!(counts.values().all(|&n| n > 60), "{counts:?}");
}

#[test]
fn a_write_tears_between_sectors_and_never_within() {
    let mut masks = BTreeSet::new();
    for seed in 0..600 {
        let (_, disk, client) = bench(0);
        client.write(2048, &[1; 2048]).unwrap();
        disk.power_cut(&mut Rng::new(seed));
        let mask: Vec<bool> = disk
            .peek(2048, 2048)
            .chunks(512)
            .map(|sector| {
                assert!(sector.iter().all(|&b| b == sector[0]), "torn within a sector");
                sector[0] == 1
            })
            .collect();
        assert!(disk.peek(0, 2048).iter().all(|&b| b == 0));
        masks.insert(mask);
    }
    assert_eq!(masks.len(), 16, "every subset of four sectors");
}

#[test]
fn large_sectors_are_whole_too() {
    let config = DiskConfig {
        sector_bytes: 16_384,
        physical_bytes: 16_384,
        ..DiskConfig::fixed(SIZE, 1000)
    };
    let mut masks = BTreeSet::new();
    for seed in 0..100 {
        let (_, disk, client) = bench_of(0, config.clone());
        client.write(0, &[1; 32_768]).unwrap();
        disk.power_cut(&mut Rng::new(seed));
        let found = disk.peek(0, 32_768);
        let whole = |s: &[u8]| s.iter().all(|&b| b == s[0]);
        assert!(found.chunks(16_384).all(whole), "torn within a sector of 16 KiB");
        masks.insert((found[0], found[16_384]));
    }
    assert_eq!(masks.len(), 4);
}

#[test]
fn a_flush_makes_durable_what_was_answered_before_it_started() {
    for seed in 0..100 {
        let (machine, disk, client) = bench(0);
        client.write(0, &[1; 4096]).unwrap();
        client.flush().unwrap();
        assert_eq!(disk.peek_durable(0, 4096), [1; 4096]);
        assert_eq!(disk.unflushed(), 0);
        client.write(8192, &[2; 4096]).unwrap();
        assert_eq!(disk.unflushed(), 1);
        disk.power_cut(&mut Rng::new(seed));
        machine.run_until_idle();
        disk.online();
        assert_eq!(client.read(0, 4096).unwrap(), [1; 4096]);
    }
}

#[test]
fn a_flush_does_not_cover_a_write_that_was_in_flight() {
    let (machine, disk, client) = bench(0);
    let write = client.start_write(0, &[1; 512]);
    machine.run_for(999);
    let flush = client.start(VdevOp::Flush, 0);
    client.wait_all(&[write, flush]).unwrap();
    assert_eq!(client.wait(flush).unwrap().result, Ok(()));
    assert_eq!((disk.unflushed(), disk.peek_durable(0, 1)), (1, vec![0]));
    client.flush().unwrap();
    assert_eq!((disk.unflushed(), disk.peek_durable(0, 1)), (0, vec![1]));
}

#[test]
fn a_failed_and_a_lying_flush_make_nothing_durable() {
    for effect in [Effect::Fail(VdevErrorKind::Io), Effect::Lost] {
        let (_, disk, client) = bench(0);
        client.write(0, &[1; 512]).unwrap();
        disk.inject(Fault::new(effect).on(OpKind::Flush));
        assert_eq!(client.flush().is_ok(), effect == Effect::Lost);
        assert_eq!(disk.peek_durable(0, 512), [0; 512]);
        client.flush().unwrap();
        assert_eq!(disk.peek_durable(0, 512), [1; 512]);
    }
}

#[test]
fn a_disk_without_a_volatile_cache_loses_nothing() {
    for seed in 0..20 {
        let config = DiskConfig { cache_bytes_max: 0, ..DiskConfig::fixed(SIZE, 10) };
        let (_, disk, client) = bench_of(0, config);
        client.write(0, &[1; 4096]).unwrap();
        client.trim(0, 512).unwrap();
        disk.power_cut(&mut Rng::new(seed));
        assert_eq!(disk.peek(512, 3584), [1; 3584]);
        assert_ne!(disk.peek(0, 512), [1; 512]);
    }
}

#[test]
fn a_full_cache_settles_the_oldest_writes() {
    let config = DiskConfig { cache_bytes_max: 16_384, ..DiskConfig::fixed(SIZE, 10) };
    let (_, disk, client) = bench_of(0, config);
    for i in 0..10u64 {
        client.write(i * 4096, &[i as u8 + 1; 4096]).unwrap();
    }
    assert_eq!(disk.unflushed(), 4);
    for i in 0..10 {
        let durable = if i < 6 { i as u8 + 1 } else { 0 };
        assert_eq!(disk.peek_durable(i * 4096, 1), [durable]);
        assert_eq!(disk.peek(i * 4096, 1), [i as u8 + 1]);
    }
}

#[test]
fn the_machine_loses_the_power_of_all_its_disks() {
    let machine = Machine::new(5);
    let disks = [0, 1, 2].map(|_| machine.disk(DiskConfig::fixed(SIZE, 10)));
    let clients = disks.each_ref().map(|d| Client::new(Arc::clone(d) as Arc<dyn Vdev>));
    let tickets = clients.each_ref().map(|c| c.start_read(0, &[512]));
    machine.power_cut();
    for ((disk, client), ticket) in disks.iter().zip(&clients).zip(tickets) {
        assert!(!disk.is_online());
        let done = client.wait(ticket).unwrap();
        assert_eq!(done.result.unwrap_err().kind(), VdevErrorKind::Gone);
    }
}

/// A step of a random history. Sectors are numbered 0 to 31.
#[derive(Clone, Debug)]
enum Step {
    Write {
        first: u8,
        count: u8,
        value: u8,
    },
    Trim {
        first: u8,
        count: u8,
    },
    Flush,
    /// The power fails while one more write is in flight.
    PowerCut {
        seed: u64,
        first: u8,
        count: u8,
        value: u8,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let range = || (0u8..32, 1u8..12).prop_map(|(f, c)| (f, c.min(32 - f)));
    let step = prop_oneof![
        8 => (range(), 1u8..=255).prop_map(|((first, count), value)| {
            Step::Write { first, count, value }
        }),
        2 => range().prop_map(|(first, count)| Step::Trim { first, count }),
        2 => Just(Step::Flush),
        1 => (any::<u64>(), range(), 1u8..=255).prop_map(|(seed, (first, count), value)| {
            Step::PowerCut { seed, first, count, value }
        }),
    ];
    prop::collection::vec(step, 1..60)
}

/// The slow, obvious model: for each sector the values it may hold after a
/// power cut, the newest last. The first is the durable one.
type Model = Vec<Vec<u8>>;

/// What a trimmed sector reads as.
const TRIMMED: u8 = 0;

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// What is read is what was written last; what is durable is what was
    /// there at the last flush; after a power cut each sector holds its
    /// durable value or one that was written since.
    #[test]
    fn a_random_history_keeps_to_the_model(steps in steps(), seed: u64) {
        let config = DiskConfig {
            latency: Latency::shuffled(),
            trimmed: vdev_sim::Trimmed::Zeros,
            ..DiskConfig::fixed(SIZE, 0)
        };
        let (machine, disk, client) = bench_of(seed, config);
        let mut model: Model = vec![vec![0]; 32];
        for step in steps {
            let begin = machine.now_ns();
            match step {
                Step::Write { first, count, value } => {
                    let bytes = vec![value; usize::from(count) * 512];
                    client.write(u64::from(first) * 512, &bytes).unwrap();
                    for sector in &mut model[usize::from(first)..usize::from(first + count)] {
                        sector.push(value);
                    }
                }
                Step::Trim { first, count } => {
                    client.trim(u64::from(first) * 512, u64::from(count) * 512).unwrap();
                    for sector in &mut model[usize::from(first)..usize::from(first + count)] {
                        sector.push(TRIMMED);
                    }
                }
                Step::Flush => {
                    client.flush().unwrap();
                    for sector in &mut model {
                        sector.drain(..sector.len() - 1);
                    }
                }
                Step::PowerCut { seed, first, count, value } => {
                    let bytes = vec![value; usize::from(count) * 512];
                    let flying = client.start_write(u64::from(first) * 512, &bytes);
                    for sector in &mut model[usize::from(first)..usize::from(first + count)] {
                        sector.push(value);
                    }
                    disk.power_cut(&mut Rng::new(seed));
                    prop_assert!(client.wait(flying).unwrap().result.is_err());
                    disk.online();
                    let found = client.read(0, 32 * 512).unwrap();
                    for (sector, bytes) in model.iter_mut().zip(found.chunks(512)) {
                        prop_assert!(bytes.iter().all(|b| *b == bytes[0]), "torn within a sector");
                        prop_assert!(sector.contains(&bytes[0]), "{} of {sector:?}", bytes[0]);
                        *sector = vec![bytes[0]];
                    }
                    prop_assert_eq!(disk.unflushed(), 0);
                }
            }
            prop_assert!(machine.now_ns() >= begin);
            let found = client.read(0, 32 * 512).unwrap();
            for (sector, bytes) in model.iter().zip(found.chunks(512)) {
                prop_assert_eq!(bytes, &[*sector.last().unwrap(); 512]);
            }
            for (i, sector) in model.iter().enumerate() {
                prop_assert_eq!(disk.peek_durable(i as u64 * 512, 1), &sector[..1]);
            }
        }
    }
}
