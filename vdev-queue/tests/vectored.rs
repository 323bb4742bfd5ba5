//! A merged I/O is one vectored call on the requests' own buffers; a bad sector fails one
//! request, not its neighbours.

#![cfg(not(loom))]

use vdev_queue::{Class, Config, DeviceIo, Flags, Issue, Kind, Member, Piece, Queue, Request};

const KIB: u64 = 1024;
const PAGE_BYTES: u64 = 4 * KIB;

/// A device that takes pieces, and says how many bytes went where.
#[derive(Default)]
struct Device {
    calls: usize,
    data_bytes: u64,
    scratch_bytes: u64,
    zero_bytes: u64,
    bad_byte: Option<u64>,
}

impl Device {
    /// One vectored call.
    fn call<T>(&mut self, io: &DeviceIo<T>) -> bool {
        self.calls += 1;
        let mut at = io.offset_bytes;
        for piece in io.pieces(PAGE_BYTES) {
            let (place, len_bytes) = match piece {
                Piece::Data(member) => {
                    assert_eq!(member.request.offset_bytes(), at);
                    (&mut self.data_bytes, member.request.len_bytes())
                }
                Piece::Zeros { len_bytes } => (&mut self.zero_bytes, len_bytes),
                Piece::Scratch { len_bytes } => (&mut self.scratch_bytes, len_bytes),
            };
            assert!(matches!(piece, Piece::Data(_)) || len_bytes <= PAGE_BYTES);
            *place += len_bytes;
            at += len_bytes;
        }
        assert_eq!(at, io.offset_bytes + io.len_bytes, "the pieces are the I/O");
        let range = io.offset_bytes..at;
        !self.bad_byte.is_some_and(|bad| range.contains(&bad))
    }
}

fn read(start_kib: u64, len_kib: u64) -> Request {
    Request::read(Class::AsyncRead, start_kib * KIB, len_kib * KIB).expect("valid")
}

/// Enqueues these requests, each with a buffer of its own.
fn enqueue(queue: &mut Queue<Vec<u8>>, requests: &[Request]) -> Vec<*const u8> {
    let buffers: Vec<Vec<u8>> =
        requests.iter().map(|request| vec![0; request.len_bytes() as usize]).collect();
    let addresses = buffers.iter().map(|buffer| buffer.as_ptr()).collect();
    for (&request, buffer) in requests.iter().zip(buffers) {
        queue.enqueue(request, buffer, 0);
    }
    addresses
}

fn next_io(queue: &mut Queue<Vec<u8>>) -> DeviceIo<Vec<u8>> {
    queue.poll_issue(0).and_then(Issue::io).expect("an I/O")
}

fn addresses(members: &[Member<Vec<u8>>]) -> Vec<*const u8> {
    members.iter().map(|member| member.payload.as_ptr()).collect()
}

#[test]
fn a_merged_read_without_gaps_copies_nothing() {
    let mut queue = Queue::new(Config::default()).expect("valid");
    let requests: Vec<_> = (0..8).map(|number| read(number * 8, 8)).collect();
    let given = enqueue(&mut queue, &requests);
    let mut device = Device::default();
    let io = next_io(&mut queue);
    assert!(device.call(&io));
    assert_eq!(addresses(&io.members), given, "the buffers that were given are those of the call");
    assert_eq!((device.calls, device.data_bytes, device.scratch_bytes), (1, 64 * KIB, 0));
    queue.complete(io.ticket, 0);
}

#[test]
fn gaps_land_in_one_page_and_padding_comes_from_one() {
    let mut queue = Queue::new(Config::default()).expect("valid");
    enqueue(&mut queue, &[read(0, 8), read(18, 8), read(58, 8)]);
    let mut device = Device::default();
    let io = next_io(&mut queue);
    let scratch: Vec<u64> = io
        .pieces(PAGE_BYTES)
        .filter_map(|piece| match piece {
            Piece::Scratch { len_bytes } => Some(len_bytes / KIB),
            Piece::Data(_) | Piece::Zeros { .. } => None,
        })
        .collect();
    assert_eq!(scratch, [4, 4, 2, 4, 4, 4, 4, 4, 4, 4, 4]);
    assert!(device.call(&io));
    assert_eq!((device.data_bytes, device.scratch_bytes), (24 * KIB, 42 * KIB));
    queue.complete(io.ticket, 0);

    let write = |start_kib: u64, len_kib: u64, flags| {
        Request::new(Kind::Write, Class::AsyncWrite, start_kib * KIB, len_kib * KIB, flags)
            .expect("valid")
    };
    for request in [
        write(0, 8, Flags::empty()),
        write(8, 6, Flags::OPTIONAL | Flags::NODATA),
        write(14, 2, Flags::empty()),
    ] {
        queue.enqueue(request, Vec::new(), 0);
    }
    let io = next_io(&mut queue);
    let mut device = Device::default();
    assert!(device.call(&io));
    assert_eq!((device.data_bytes, device.zero_bytes), (10 * KIB, 6 * KIB));
    queue.complete(io.ticket, 0);
}

/// Eight merged reads over one bad sector: on the second try, each alone, seven succeed.
#[test]
fn a_bad_sector_fails_one_request() {
    let mut queue = Queue::new(Config::default()).expect("valid");
    let requests: Vec<_> = (0..8).map(|number| read(number * 8, 8)).collect();
    enqueue(&mut queue, &requests);
    let mut device = Device { bad_byte: Some(3 * 8 * KIB + 700), ..Device::default() };
    let io = next_io(&mut queue);
    assert_eq!(io.members.len(), 8);
    assert!(!device.call(&io));
    queue.complete(io.ticket, 0);
    for member in io.members {
        queue.enqueue(member.request.alone(), member.payload, 0);
    }
    let mut failed = Vec::new();
    let mut succeeded = 0;
    while let Some(io) = queue.poll_issue(0).and_then(Issue::io) {
        assert_eq!(io.members.len(), 1);
        if device.call(&io) {
            succeeded += 1;
        } else {
            failed.push(io.offset_bytes / KIB);
        }
        queue.complete(io.ticket, 0);
    }
    assert_eq!((succeeded, failed), (7, vec![24]));
}
