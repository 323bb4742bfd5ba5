//! One suite, every device: ring, threads and memory, direct and through the page cache.

use std::fs;

use crate::common::{Receiver, SIZE_BYTES, bytes_of, one, pattern, read_op, rigs, run, write_op};
use zio_core::{BufferPool, VdevErrorKind, VdevIo, VdevOp};

#[test]
fn fresh_devices_are_zero_and_say_what_they_are() {
    for rig in rigs() {
        let geometry = rig.vdev.geometry();
        assert_eq!(geometry.size_bytes, SIZE_BYTES, "{}", rig.name);
        assert!(geometry.sector_bytes.is_power_of_two(), "{}", rig.name);
        assert!(geometry.physical_bytes >= geometry.sector_bytes, "{}", rig.name);
        let bytes = bytes_of(one(&*rig.vdev, read_op(&[64 << 10]), SIZE_BYTES - (64 << 10)));
        assert!(bytes.iter().all(|&b| b == 0), "{}", rig.name);
    }
}

#[test]
fn what_was_written_is_read_back_however_it_is_cut() {
    const K: usize = 1024;
    let cuts: [&[usize]; 6] = [
        &[512],
        &[8 * K],
        &[512, 512],
        &[4 * K, 512, 8 * K, 512],
        &[128 * K, 128 * K, 4 * K],
        &[512; 40],
    ];
    for rig in rigs() {
        let mut generation = 0;
        for offset_bytes in [0, 512, 4096, 255 << 10, (256 << 10) - 512, 1 << 20, 3 << 20] {
            for written in cuts {
                for read in cuts {
                    let len: usize = written.iter().sum();
                    let mut read_cut = read.to_vec();
                    read_cut.truncate(cut_count(read, len));
                    let rest = len - read_cut.iter().sum::<usize>();
                    read_cut.extend((rest > 0).then_some(rest));

                    generation += 1;
                    let bytes = pattern(offset_bytes, len, generation);
                    let done = one(&*rig.vdev, write_op(&bytes, written), offset_bytes);
                    assert_eq!(done.result, Ok(()), "{}: write {written:?}", rig.name);
                    assert!(
                        matches!(&done.op, Some(VdevOp::Write(data)) if data == &bytes),
                        "{}: the payload comes back",
                        rig.name
                    );
                    let got = bytes_of(one(&*rig.vdev, read_op(&read_cut), offset_bytes));
                    assert!(got == bytes, "{}: {offset_bytes} {written:?} {read:?}", rig.name);
                }
            }
        }
    }
}

/// How many of the pieces fit into `len`.
fn cut_count(pieces: &[usize], len: usize) -> usize {
    let mut sum = 0;
    pieces
        .iter()
        .take_while(|&&piece| {
            sum += piece;
            sum <= len
        })
        .count()
}

#[test]
fn thousands_at_once_are_each_answered_once() {
    const SLOT: usize = 1024;
    for rig in rigs() {
        let offsets: Vec<u64> = (0..SIZE_BYTES).step_by(SLOT).collect();
        // Backwards and in strides, so that order on disk is not order of arrival.
        let scattered = || {
            let offsets = &offsets;
            let count = offsets.len();
            (0..count).map(move |i| offsets[(i * 1021 + 7) % count])
        };
        let writes = scattered().map(|at| (write_op(&pattern(at, SLOT, 1), &[SLOT]), at));
        for done in run(&*rig.vdev, writes) {
            assert_eq!(done.result, Ok(()), "{}", rig.name);
        }
        let reads = scattered().map(|at| (read_op(&[512, 512]), at));
        for (done, at) in run(&*rig.vdev, reads).into_iter().zip(scattered()) {
            assert!(bytes_of(done) == pattern(at, SLOT, 1), "{} at {at}", rig.name);
        }
        assert_eq!(rig.vdev.reactor().map_or(0, |r| r.in_flight()), 0, "{}", rig.name);
    }
}

#[test]
fn what_cannot_be_is_refused_before_the_device() {
    for rig in rigs() {
        let wrong = [
            (read_op(&[512]), SIZE_BYTES),
            (read_op(&[1024]), SIZE_BYTES - 512),
            (read_op(&[512]), u64::MAX - 511),
            (read_op(&[512]), 100),
            (read_op(&[100]), 0),
            (read_op(&[256, 256]), 0),
            (write_op(&[1; 512], &[512]), SIZE_BYTES),
            (write_op(&[1; 512], &[512]), 511),
            (write_op(&[1; 700], &[700]), 0),
            (VdevOp::Trim { len_bytes: 1024 }, SIZE_BYTES - 512),
            (VdevOp::Trim { len_bytes: 700 }, 0),
        ];
        for (op, offset_bytes) in wrong {
            let what = format!("{}: {op:?} at {offset_bytes}", rig.name);
            let receiver = Receiver::new(1);
            rig.vdev.start(VdevIo::new(op, offset_bytes, receiver.token(0)));
            // Answered inside `start`: nothing was handed to anybody.
            assert_eq!(receiver.answered(), 1, "{what}");
            let done = receiver.wait(&*rig.vdev).remove(0);
            assert_eq!(done.result.unwrap_err().kind(), VdevErrorKind::Invalid, "{what}");
            assert!(done.op.is_some(), "{what}: the payload comes back");
        }
        let all = bytes_of(one(&*rig.vdev, read_op(&[SIZE_BYTES as usize]), 0));
        assert!(all.iter().all(|&b| b == 0), "{}: untouched", rig.name);
    }
}

#[test]
fn an_empty_range_is_done_at_once() {
    for rig in rigs() {
        for op in [read_op(&[]), VdevOp::Write(Default::default()), VdevOp::Trim { len_bytes: 0 }] {
            assert_eq!(one(&*rig.vdev, op, 4096).result, Ok(()), "{}", rig.name);
        }
    }
}

#[test]
fn too_many_segments_are_refused_and_the_most_are_done() {
    for rig in rigs().into_iter().filter(|r| r.path.is_some()) {
        let most = vec![512; vdev_disk::SEGMENTS_MAX];
        let bytes = pattern(0, 512 * most.len(), 9);
        assert_eq!(one(&*rig.vdev, write_op(&bytes, &most), 0).result, Ok(()), "{}", rig.name);
        assert!(bytes_of(one(&*rig.vdev, read_op(&most), 0)) == bytes, "{}", rig.name);

        let one_more = vec![512; vdev_disk::SEGMENTS_MAX + 1];
        let error = one(&*rig.vdev, read_op(&one_more), 0).result.unwrap_err();
        assert_eq!(error.kind(), VdevErrorKind::Invalid, "{}: {error}", rig.name);
    }
}

#[test]
fn memory_that_the_device_cannot_reach_is_refused() {
    for rig in rigs() {
        let align = rig.vdev.geometry().memory_align_bytes as usize;
        if align < 2 {
            continue;
        }
        let crooked = BufferPool::new().take(4096).freeze().slice(align / 2..align / 2 + 512);
        let error = one(&*rig.vdev, VdevOp::Write(crooked.into()), 0).result.unwrap_err();
        assert_eq!(error.kind(), VdevErrorKind::Invalid, "{}: {error}", rig.name);
    }
}

#[test]
fn a_flush_is_answered() {
    for rig in rigs() {
        let ops = (0..20).map(|i| match i % 2 {
            0 => (write_op(&pattern(i * 512, 512, 3), &[512]), i * 512),
            _ => (VdevOp::Flush, 0),
        });
        for done in run(&*rig.vdev, ops) {
            assert_eq!(done.result, Ok(()), "{}", rig.name);
        }
    }
}

#[test]
fn a_trimmed_range_reads_zero_and_its_neighbours_stay() {
    const LEN: usize = 64 << 10;
    for rig in rigs() {
        let bytes = pattern(0, LEN, 5);
        assert_eq!(one(&*rig.vdev, write_op(&bytes, &[LEN]), 0).result, Ok(()), "{}", rig.name);
        let trim = VdevOp::Trim { len_bytes: 16 << 10 };
        assert_eq!(one(&*rig.vdev, trim, 8 << 10).result, Ok(()), "{}", rig.name);
        let got = bytes_of(one(&*rig.vdev, read_op(&[LEN]), 0));
        assert!(got[..8 << 10] == bytes[..8 << 10], "{}: before", rig.name);
        assert!(got[8 << 10..24 << 10].iter().all(|&b| b == 0), "{}: the range", rig.name);
        assert!(got[24 << 10..] == bytes[24 << 10..], "{}: after", rig.name);
    }
}

#[test]
fn a_file_that_shrank_gives_errors_and_no_hang() {
    for rig in rigs() {
        let Some(path) = &rig.path else { continue };
        fs::File::options().write(true).open(path).unwrap().set_len(1 << 20).unwrap();
        for (offset_bytes, lengths) in
            [(2 << 20, &[8192][..]), ((1 << 20) - 4096, &[8192]), ((1 << 20) - 4096, &[4096, 4096])]
        {
            let done = one(&*rig.vdev, read_op(lengths), offset_bytes);
            let error = done.result.unwrap_err();
            assert_eq!(error.kind(), VdevErrorKind::Io, "{} at {offset_bytes}: {error}", rig.name);
        }
        assert_eq!(one(&*rig.vdev, read_op(&[4096]), 0).result, Ok(()), "{}", rig.name);
    }
}

#[test]
fn random_work_agrees_with_a_plain_vector() {
    const SECTORS: u64 = SIZE_BYTES / 512;
    for (rig, seed) in rigs().into_iter().zip(1_u64..) {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut draw = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let mut model = vec![0; SIZE_BYTES as usize];
        for round in 0..400 {
            let sectors = 1 + draw(40);
            let at = draw(SECTORS - sectors) * 512;
            let len = sectors as usize * 512;
            let range = at as usize..at as usize + len;
            let first = 512 * (1 + draw(sectors)) as usize;
            let cut: Vec<usize> = [first, len - first].into_iter().filter(|&n| n > 0).collect();
            match draw(3) {
                0 => {
                    model[range.clone()].copy_from_slice(&pattern(at, len, round as u8));
                    let done = one(&*rig.vdev, write_op(&model[range], &cut), at);
                    assert_eq!(done.result, Ok(()), "{} round {round}", rig.name);
                }
                1 => {
                    model[range].fill(0);
                    let done = one(&*rig.vdev, VdevOp::Trim { len_bytes: len as u64 }, at);
                    assert_eq!(done.result, Ok(()), "{} round {round}", rig.name);
                }
                _ => {
                    let got = bytes_of(one(&*rig.vdev, read_op(&cut), at));
                    assert!(got == model[range], "{} round {round} at {at}", rig.name);
                }
            }
        }
    }
}
