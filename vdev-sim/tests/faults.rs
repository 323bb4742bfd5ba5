//! Every way to lie, one by one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use vdev_sim::{
    Client, DiskConfig, Effect, Fault, FaultProfile, Machine, OpKind, Rng, SimDisk, Trimmed,
};
use zio_core::{Reactor, Vdev, VdevErrorKind, VdevOp};

const SIZE: u64 = 1 << 20;

struct Bench {
    machine: Machine,
    disk: Arc<SimDisk>,
    client: Client,
}

fn bench_of(seed: u64, config: DiskConfig) -> Bench {
    let machine = Machine::new(seed);
    let disk = machine.disk(config);
    let client = Client::new(Arc::clone(&disk) as Arc<dyn Vdev>);
    Bench { machine, disk, client }
}

fn bench(seed: u64) -> Bench {
    bench_of(seed, DiskConfig::fixed(SIZE, 1000))
}

fn differing_bits(a: &[u8], b: &[u8]) -> u32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum()
}

/// Bytes that tell where they belong.
fn pattern(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Rng::new(len as u64).fill(&mut bytes);
    bytes
}

#[test]
fn the_nth_touch_of_a_range_fails_so_many_times() {
    let Bench { disk, client, .. } = bench(1);
    let fault = Fault::new(Effect::Fail(VdevErrorKind::Io))
        .on(OpKind::Read)
        .range(4096, 4096)
        .skip(2)
        .times(2);
    let id = disk.inject(fault);
    let touch = || client.read(7680, 1024).map(drop).map_err(|e| e.kind());
    client.write(4096, &[1; 4096]).unwrap();
    client.read(0, 4096).unwrap();
    client.read(8192, 4096).unwrap();
    let outcomes: Vec<_> = (0..6).map(|_| touch()).collect();
    let failed = Err(VdevErrorKind::Io);
    assert_eq!(outcomes, [Ok(()), Ok(()), failed, failed, Ok(()), Ok(())]);
    assert_eq!(disk.fired(id), 2);
    let log = disk.log();
    assert_eq!(log.iter().filter(|e| e.effect.is_some()).count(), 2);
    assert_eq!((disk.counters().faults, disk.counters().errors), (2, 2));
}

#[test]
fn every_kind_of_error_on_every_kind_of_operation() {
    use VdevErrorKind::{Gone, Io, NoSpace, Unsupported};
    for op in OpKind::ALL {
        for kind in [Gone, Io, NoSpace, Unsupported] {
            let Bench { disk, client, .. } = bench(1);
            client.write(0, &[7; 512]).unwrap();
            let id = disk.inject(Fault::new(Effect::Fail(kind)).on(op).always());
            let outcome = || match op {
                OpKind::Read => client.read(0, 512).map(drop),
                OpKind::Write => client.write(0, &[8; 512]),
                OpKind::Flush => client.flush(),
                OpKind::Trim => client.trim(0, 512),
            };
            assert_eq!(outcome().unwrap_err().kind(), kind);
            assert_eq!(outcome().unwrap_err().kind(), kind);
            disk.heal(id);
            assert_eq!(disk.peek(0, 512), [7; 512], "a failed {op:?} changed something");
            assert_eq!(outcome(), Ok(()));
        }
    }
}

#[test]
fn a_failed_read_leaves_nothing_of_use() {
    let Bench { disk, client, .. } = bench(1);
    client.write(0, &[7; 512]).unwrap();
    disk.inject(Fault::new(Effect::Fail(VdevErrorKind::Io)));
    let done = client.wait(client.start_read(0, &[512])).unwrap();
    let Some(VdevOp::Read(buffers)) = done.op else { panic!("no buffers") };
    assert!(buffers[0].iter().all(|&byte| byte != 7 && byte != 0));
}

#[test]
fn short_transfers_are_errors_and_move_a_front_part() {
    for seed in 0..20 {
        let Bench { disk, client, .. } = bench(seed);
        let bytes = pattern(8192);
        disk.inject(Fault::new(Effect::Short).on(OpKind::Write));
        let error = client.write(0, &bytes).unwrap_err();
        assert_eq!(error.kind(), VdevErrorKind::Io);
        let found = disk.peek(0, 8192);
        let landed = found.chunks(512).take_while(|s| s.iter().any(|&b| b != 0)).count() * 512;
        assert!(landed < 8192, "all of it landed");
        assert_eq!(found[..landed], bytes[..landed]);
        assert!(error.to_string().contains(&format!("{landed} of 8192")), "{error}");
        client.write(0, &bytes).unwrap();
        disk.inject(Fault::new(Effect::Short).on(OpKind::Read));
        assert_eq!(client.read(0, 8192).unwrap_err().kind(), VdevErrorKind::Io);
        assert_eq!(client.read(0, 8192).unwrap(), bytes);
    }
}

#[test]
fn a_torn_write_lands_in_part_and_may_be_acknowledged() {
    for seed in 0..30 {
        for acknowledged in [true, false] {
            let Bench { disk, client, .. } = bench(seed);
            let (old, new) = (vec![1; 4096], vec![2; 4096]);
            client.write(0, &old).unwrap();
            disk.inject(Fault::new(Effect::Torn { acknowledged }));
            assert_eq!(client.write(0, &new).is_ok(), acknowledged);
            let found = disk.peek(0, 4096);
            let landed = found.chunks(512).filter(|sector| sector == &[2; 512]).count();
            let kept = found.chunks(512).filter(|sector| sector == &[1; 512]).count();
            assert_eq!(landed + kept, 8, "sectors are whole");
            assert!(kept > 0, "a torn write landed whole");
        }
    }
}

#[test]
fn a_lost_write_is_acknowledged_and_never_stored() {
    let Bench { disk, client, .. } = bench(1);
    client.write(0, &[1; 512]).unwrap();
    disk.inject(Fault::new(Effect::Lost));
    client.write(0, &[2; 512]).unwrap();
    client.flush().unwrap();
    assert_eq!(client.read(0, 512).unwrap(), [1; 512]);
    assert_eq!(disk.log()[1].effect, Some(Effect::Lost));
}

#[test]
fn a_misdirected_write_lands_elsewhere() {
    for seed in 0..30 {
        let Bench { disk, client, .. } = bench(seed);
        let bytes = pattern(4096);
        disk.inject(Fault::new(Effect::Misdirect { other_bytes: None }).on(OpKind::Write));
        client.write(8192, &bytes).unwrap();
        let Some(Effect::Misdirect { other_bytes: Some(there) }) = disk.log()[0].effect else {
            panic!("{:?}", disk.log())
        };
        assert!(there != 8192 && there % 512 == 0 && there + 4096 <= SIZE, "{there}");
        assert_eq!(disk.peek(there, 4096), bytes);
    }
    let Bench { disk, client, .. } = bench(1);
    let there = Some(65_536);
    disk.inject(Fault::new(Effect::Misdirect { other_bytes: there }).on(OpKind::Write));
    client.write(0, &[3; 512]).unwrap();
    assert_eq!((disk.peek(0, 512), disk.peek(65_536, 512)), (vec![0; 512], vec![3; 512]));
}

#[test]
fn a_misdirected_read_brings_another_place() {
    let Bench { disk, client, .. } = bench(1);
    client.write(0, &[1; 512]).unwrap();
    client.write(4096, &[2; 512]).unwrap();
    let there = Some(4096);
    disk.inject(Fault::new(Effect::Misdirect { other_bytes: there }).on(OpKind::Read));
    assert_eq!(client.read(0, 512).unwrap(), [2; 512]);
    assert_eq!(client.read(0, 512).unwrap(), [1; 512]);
}

#[test]
fn rot_on_read_passes_and_rot_on_write_stays() {
    let Bench { disk, client, .. } = bench(1);
    let bytes = pattern(4096);
    client.write(0, &bytes).unwrap();
    disk.inject(Fault::new(Effect::Rot { bits: 3 }).on(OpKind::Read));
    let done = client.wait(client.start_read(0, &[1024, 2048, 1024])).unwrap();
    let Some(VdevOp::Read(buffers)) = done.op else { panic!("no buffers") };
    let found: Vec<u8> = buffers.iter().flat_map(|b| b.to_vec()).collect();
    assert_eq!(differing_bits(&found, &bytes), 3);
    assert_eq!(client.read(0, 4096).unwrap(), bytes);
    disk.inject(Fault::new(Effect::Rot { bits: 5 }).on(OpKind::Write));
    client.write(0, &bytes).unwrap();
    let found = client.read(0, 4096).unwrap();
    assert_eq!(differing_bits(&found, &bytes), 5);
    assert_eq!(client.read(0, 4096).unwrap(), found);
}

#[test]
fn corruption_says_which_bits_and_survives_everything() {
    for seed in 0..30 {
        let Bench { disk, client, machine } = bench(seed);
        let bytes = pattern(4096);
        client.write(0, &bytes).unwrap();
        let flips = disk.corrupt(1024, 1024);
        assert!((1..=8).contains(&flips.len()));
        let mut expected = bytes.clone();
        for flip in &flips {
            assert!((1024..2048).contains(&flip.offset_bytes));
            expected[flip.offset_bytes as usize] ^= 1 << flip.bit;
        }
        assert_eq!(differing_bits(&expected, &bytes), flips.len() as u32);
        assert_eq!(client.read(0, 4096).unwrap(), expected);
        // The write was still in the cache, the rot is on the media: a flush
        // must not bring the sound bytes back.
        client.flush().unwrap();
        assert_eq!(disk.peek_durable(0, 4096), expected);
        machine.power_cut();
        disk.online();
        assert_eq!(client.read(0, 4096).unwrap(), expected);
    }
}

#[test]
fn rot_outlives_a_power_cut_without_a_flush() {
    for seed in 0..30 {
        let Bench { disk, client, machine } = bench(seed);
        client.write(0, &pattern(4096)).unwrap();
        disk.corrupt(1024, 1024);
        let rotten = disk.peek(1024, 1024);
        machine.power_cut();
        assert_eq!(disk.peek(1024, 1024), rotten);
    }
}

#[test]
fn poke_works_on_unaligned_ranges_and_is_not_logged() {
    let Bench { disk, .. } = bench(1);
    disk.poke(4093, &[1, 2, 3, 4, 5, 6]);
    assert_eq!(disk.peek(4092, 8), [0, 1, 2, 3, 4, 5, 6, 0]);
    assert!(disk.log().is_empty());
}

#[test]
fn slow_io_takes_so_many_times_as_long() {
    let Bench { disk, client, machine } = bench(1);
    disk.inject(Fault::new(Effect::Slow { factor: 30 }).on(OpKind::Read).times(1));
    let time = |f: &dyn Fn()| {
        let begin = machine.now_ns();
        f();
        machine.now_ns() - begin
    };
    let read = || drop(client.read(0, 512).unwrap());
    assert_eq!(time(&read), 30_000);
    assert_eq!(time(&read), 1000);
    // Slowness comes on top of another fault.
    disk.inject(Fault::new(Effect::Slow { factor: 2 }).always());
    disk.inject(Fault::new(Effect::Slow { factor: 3 }).always());
    disk.inject(Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Read).always());
    let failed = || assert!(client.read(0, 512).is_err());
    assert_eq!(time(&failed), 6000);
}

#[test]
fn a_held_disk_answers_after_the_release() {
    let Bench { disk, client, machine } = bench(1);
    disk.hold();
    let tickets: Vec<_> = (0..10_000).map(|i| client.start_read(i % 64 * 512, &[512])).collect();
    assert_eq!(machine.run_until_idle(), 0);
    assert_eq!((client.answers(), disk.in_flight(), machine.in_flight()), (0, 10_000, 10_000));
    disk.release();
    client.wait_all(&tickets).unwrap();
    assert_eq!((disk.in_flight(), disk.counters().in_flight_max), (0, 10_000));
}

#[test]
fn a_stalled_io_is_overtaken_by_all_others() {
    let Bench { disk, client, machine } = bench(1);
    disk.inject(Fault::new(Effect::Stall).range(0, 512));
    let stalled = client.start_read(0, &[512]);
    let others: Vec<_> = (1..20).map(|i| client.start_read(i * 512, &[512])).collect();
    client.wait_all(&others).unwrap();
    machine.run_until_idle();
    assert!(client.poll(stalled).is_none());
    assert_eq!(disk.log()[0].answer, None);
    machine.run_for(1_000_000_000);
    disk.release();
    assert_eq!(client.wait(stalled).unwrap().result, Ok(()));
    let entry = &disk.log()[0];
    assert_eq!(entry.effect, Some(Effect::Stall));
    assert!(entry.answer.unwrap().end_ns >= 1_000_000_000);
}

#[test]
fn a_disk_turned_read_only_refuses_writes_and_reads_on() {
    let Bench { disk, client, .. } = bench(1);
    client.write(0, &[1; 512]).unwrap();
    disk.set_read_only(true);
    assert_eq!(client.write(0, &[2; 512]).unwrap_err().kind(), VdevErrorKind::ReadOnly);
    assert_eq!(client.trim(0, 512).unwrap_err().kind(), VdevErrorKind::ReadOnly);
    assert_eq!(client.read(0, 512).unwrap(), [1; 512]);
    client.flush().unwrap();
}

#[test]
fn trimmed_ranges_are_what_the_model_says() {
    let after = |trimmed| {
        let Bench { disk, client, .. } =
            bench_of(1, DiskConfig { trimmed, ..DiskConfig::fixed(SIZE, 10) });
        client.write(0, &[1; 16_384]).unwrap();
        client.flush().unwrap();
        client.write(8192, &[2; 8192]).unwrap();
        let outcome = client.trim(2048, 10_240).map_err(|e| e.kind());
        let (found, durable) = (disk.peek(0, 16_384), disk.peek_durable(2048, 2048));
        assert_eq!(found[..2048], [1; 2048]);
        assert_eq!(found[12_288..], [2; 4096]);
        assert_eq!(durable, [1; 2048], "not before a flush");
        client.flush().unwrap();
        assert_eq!(disk.peek_durable(0, 16_384), found, "the flush brought what was seen");
        (outcome, found[2048..12_288].to_vec())
    };
    let untouched = [vec![1; 6144], vec![2; 4096]].concat();
    assert_eq!(after(Trimmed::Zeros), (Ok(()), vec![0; 10_240]));
    assert_eq!(after(Trimmed::Kept), (Ok(()), untouched.clone()));
    assert_eq!(after(Trimmed::Unsupported), (Err(VdevErrorKind::Unsupported), untouched.clone()));
    let (outcome, garbage) = after(Trimmed::Garbage);
    assert_eq!(outcome, Ok(()));
    let distinct: std::collections::BTreeSet<_> = garbage.iter().collect();
    assert!(distinct.len() > 200 && garbage != untouched);
}

#[test]
fn a_huge_trim_of_an_empty_disk_costs_nothing() {
    let Bench { disk, client, .. } = bench_of(1, DiskConfig::nvme(1 << 50));
    client.write((1 << 49) + 512, &[1; 512]).unwrap();
    client.trim(0, 1 << 50).unwrap();
    assert_ne!(disk.peek((1 << 49) + 512, 512), [1; 512]);
    assert_eq!(disk.peek(1 << 48, 512), [0; 512]);
}

#[test]
fn hostile_ranges_are_counted_and_not_executed() {
    let Bench { disk, client, .. } = bench(1);
    for (offset, len) in [(SIZE, 512), (SIZE - 512, 1024), (256, 512), (0, 511), (u64::MAX, 512)] {
        assert_eq!(client.read(offset, len).unwrap_err().kind(), VdevErrorKind::Invalid);
        let bytes = vec![1; len];
        assert_eq!(client.write(offset, &bytes).unwrap_err().kind(), VdevErrorKind::Invalid);
    }
    assert_eq!(client.trim(SIZE, 512).unwrap_err().kind(), VdevErrorKind::Invalid);
    let counters = disk.counters();
    assert_eq!((counters.refused, counters.reads, counters.writes), (11, 0, 0));
    assert_eq!(disk.unflushed(), 0);
    assert_eq!(disk.log().len(), 11);
}

#[test]
fn a_strict_disk_panics_instead() {
    let Bench { client, .. } =
        bench_of(1, DiskConfig { strict: true, ..DiskConfig::fixed(SIZE, 10) });
    client.write(0, &[1; 512]).unwrap();
    let hostile = catch_unwind(AssertUnwindSafe(|| client.start_read(256, &[512])));
    assert!(hostile.is_err());
    client.read(0, 512).unwrap();
}

#[test]
fn unaligned_memory_is_counted() {
    let Bench { disk, client, .. } = bench(1);
    let segment = client.pool().take(4096).freeze();
    let done = |data: zio_core::Segment| {
        let ticket = client.start(VdevOp::Write(data.into()), 0);
        client.wait(ticket).unwrap().result.unwrap();
    };
    done(segment.slice(512..1024));
    assert_eq!(disk.counters().unaligned_memory, 0);
    done(segment.slice(100..612));
    assert_eq!(disk.counters().unaligned_memory, 1);
}

#[test]
fn the_log_tells_the_whole_life_of_an_io() {
    let Bench { disk, client, machine } = bench(1);
    let write = client.start_write(4096, &[1; 1024]);
    let read = client.start_read(0, &[512, 1024]);
    let log = disk.log();
    assert_eq!(log.len(), 2);
    assert!(log.iter().all(|e| e.answer.is_none() && e.start_ns == 0));
    client.wait_all(&[write, read]).unwrap();
    client.flush().unwrap();
    let log = disk.take_log();
    let brief: Vec<_> =
        log.iter().map(|e| (e.op, e.offset_bytes, e.len_bytes, e.pieces, e.start_ns)).collect();
    assert_eq!(
        brief,
        [
            (OpKind::Write, 4096, 1024, 1, 0),
            (OpKind::Read, 0, 1536, 2, 0),
            (OpKind::Flush, 0, 0, 0, 1000)
        ]
    );
    let ends: Vec<_> = log.iter().map(|e| e.answer.unwrap().end_ns).collect();
    assert_eq!(ends, [1000, 1000, 2000]);
    assert!(disk.log().is_empty());
    // An I/O whose entry was taken away is answered all the same.
    let ticket = client.start_read(0, &[512]);
    assert_eq!(disk.take_log().len(), 1);
    client.write(0, &[1; 512]).unwrap();
    client.wait(ticket).unwrap();
    assert_eq!(disk.log().len(), 1);
    assert_eq!(machine.now_ns(), 3000);
    disk.set_logging(false);
    client.read(0, 512).unwrap();
    assert_eq!(disk.log().len(), 1);
    let counters = disk.counters();
    assert_eq!((counters.reads, counters.writes, counters.flushes), (3, 2, 1));
    assert_eq!((counters.read_bytes, counters.write_bytes), (2560, 1536));
}

#[test]
fn random_faults_come_at_their_rate_and_are_recorded() {
    let profile = FaultProfile::none()
        .with(OpKind::Read, Effect::Fail(VdevErrorKind::Io), 100)
        .with(OpKind::Write, Effect::Lost, 250);
    let Bench { disk, client, .. } =
        bench_of(1, DiskConfig { faults: profile, ..DiskConfig::fixed(SIZE, 10) });
    let failed = (0..2000).filter(|_| client.read(0, 512).is_err()).count();
    assert!((140..260).contains(&failed), "{failed} of 2000 reads");
    (0..2000).for_each(|_| client.write(0, &[1; 512]).unwrap());
    let lost = disk.log().iter().filter(|e| e.effect == Some(Effect::Lost)).count();
    assert!((400..600).contains(&lost), "{lost} of 2000 writes");
    assert_eq!(disk.counters().faults, (failed + lost) as u64);
    disk.heal_all();
    assert!((0..500).all(|_| client.read(0, 512).is_ok()));
}

#[test]
fn profiles_hold_what_they_promise() {
    let effects = |profile| {
        let Bench { disk, client, .. } =
            bench_of(1, DiskConfig { faults: profile, ..DiskConfig::fixed(SIZE, 10) });
        let mut errors = 0;
        for i in 0..3000u64 {
            let at = i % 256 * 4096;
            errors += u32::from(client.write(at, &[1; 4096]).is_err());
            errors += u32::from(client.read(at, 4096).is_err());
            errors += u32::from(client.flush().is_err());
        }
        let log = disk.log();
        let effects: std::collections::BTreeSet<String> = log
            .iter()
            .filter_map(|e| e.effect.map(|effect| format!("{:?} {effect:?}", e.op)))
            .map(|words| words.split("other_bytes").next().unwrap().to_owned())
            .collect();
        (errors, effects)
    };
    let (errors, honest) = effects(FaultProfile::honest(10));
    assert!(errors > 50);
    assert_eq!(honest.len(), 6, "{honest:?}");
    let (errors, lying) = effects(FaultProfile::lying(10));
    assert_eq!(errors, 0, "a lying disk never says so");
    assert_eq!(lying.len(), 6, "{lying:?}");
    assert_eq!(effects(FaultProfile::none()), (0, Default::default()));
    let drawn: std::collections::BTreeSet<String> = (0..50)
        .map(|seed| format!("{:?}", FaultProfile::draw(&mut Rng::new(seed), 20, true)))
        .collect();
    assert!(drawn.len() > 45, "different seeds draw different mixtures");
}
