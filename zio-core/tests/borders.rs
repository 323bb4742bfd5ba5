//! The borders: what a device checks, tokens, reservations, classes (spec 3.7, 4.2, 4.9).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use zio_core::{
    BufferPool, Buffers, Complete, Data, Geometry, Priority, Released, Slots, Token, VdevDone,
    VdevErrorKind, VdevIo, VdevOp, ZioType,
};

/// Collects answers.
#[derive(Default)]
struct Answers(Mutex<Vec<(u64, VdevDone)>>);

impl Complete for Answers {
    fn complete(self: Arc<Self>, ticket: u64, done: VdevDone) {
        self.0.lock().unwrap().push((ticket, done));
    }
}

const DISK: Geometry = Geometry {
    size_bytes: 1 << 20,
    sector_bytes: 512,
    physical_bytes: 4096,
    memory_align_bytes: 512,
    rotational: false,
    read_only: false,
};

#[test]
fn a_device_admits_whole_sectors_inside_it() {
    assert!(DISK.admits(0, 1 << 20));
    assert!(DISK.admits(1 << 20, 0));
    for (offset_bytes, len_bytes) in [
        (0, (1 << 20) + 512),
        (1 << 20, 512),
        (1, 512),
        (512, 1),
        (u64::MAX - 511, 512),
        (u64::MAX - 511, u64::MAX - 511),
    ] {
        assert!(!DISK.admits(offset_bytes, len_bytes), "{offset_bytes} {len_bytes}");
    }
    assert!(!Geometry { sector_bytes: 0, ..DISK }.admits(512, 512), "no division by zero");
}

#[test]
fn an_io_is_checked_piece_by_piece() {
    let pool = BufferPool::new();
    let answers = Arc::new(Answers::default());
    let check = |op, offset_bytes, geometry: &Geometry| {
        let io = VdevIo::new(op, offset_bytes, Token::new(Arc::clone(&answers) as Arc<_>, 0));
        let (result, len_bytes) = (io.check(geometry), io.len_bytes());
        io.finish(Ok(()));
        result.map(|()| len_bytes).map_err(|error| error.kind())
    };
    let buffers =
        |sizes: &[usize]| -> Buffers { sizes.iter().map(|len| pool.take(*len)).collect() };
    let write = |sizes: &[usize]| VdevOp::Write(Data::from_buffers(buffers(sizes)));
    let read_only = Geometry { read_only: true, ..DISK };
    let (invalid, refused) = (Err(VdevErrorKind::Invalid), Err(VdevErrorKind::ReadOnly));

    assert_eq!(check(VdevOp::Read(buffers(&[512, 1024])), 512, &DISK), Ok(1536));
    assert_eq!(check(VdevOp::Read(buffers(&[100, 412])), 0, &DISK), invalid, "each is a whole one");
    assert_eq!(check(VdevOp::Read(buffers(&[512])), 1 << 20, &DISK), invalid);
    assert_eq!(check(VdevOp::Read(buffers(&[512])), 0, &read_only), Ok(512));
    assert_eq!(check(write(&[4096, 4096]), (1 << 20) - 8192, &DISK), Ok(8192));
    assert_eq!(check(write(&[4096, 4608]), (1 << 20) - 8192, &DISK), invalid);
    assert_eq!(check(write(&[512]), 0, &read_only), refused);
    assert_eq!(check(VdevOp::Trim { len_bytes: 1 << 20 }, 0, &DISK), Ok(1 << 20));
    assert_eq!(check(VdevOp::Trim { len_bytes: u64::MAX }, 512, &DISK), invalid);
    assert_eq!(check(VdevOp::Trim { len_bytes: 512 }, 0, &read_only), refused);
    assert_eq!(check(VdevOp::Flush, 7, &read_only), Ok(0), "a flush has no place");
    assert_eq!(answers.0.lock().unwrap().len(), 11, "one answer each");
}

#[test]
fn every_token_answers_once() {
    let pool = BufferPool::new();
    let answers = Arc::new(Answers::default());
    let token = |ticket| Token::new(Arc::clone(&answers) as Arc<_>, ticket);
    let read = || VdevOp::Read(Buffers::from_iter([pool.take(512)]));
    VdevIo::new(read(), 0, token(1)).finish(Ok(()));
    drop(VdevIo::new(read(), 0, token(2)));
    let (op, offset_bytes, apart) = VdevIo::new(read(), 4096, token(3)).into_parts();
    assert_eq!((op.len_bytes(), offset_bytes), (512, 4096));
    drop(apart);
    let answers = std::mem::take(&mut *answers.0.lock().unwrap());
    let kinds: Vec<_> = answers
        .iter()
        .map(|(ticket, done)| {
            let kind = done.result.as_ref().err().map(|error| error.kind());
            (*ticket, done.op.is_some(), kind)
        })
        .collect();
    let lost = Some(VdevErrorKind::Lost);
    assert_eq!(kinds, [(1, true, None), (2, false, lost), (3, false, lost)]);
}

#[test]
fn a_reservation_ends_when_it_is_dropped() {
    struct Count(AtomicUsize, Arc<AtomicU64>);
    impl Released for Count {
        fn released(&self, _: u64) {
            self.0.fetch_add(1, Ordering::Relaxed);
            assert_eq!(self.1.load(Ordering::Relaxed), 0, "its bytes are given back already");
        }
    }
    let used = Arc::new(AtomicU64::new(0));
    let mut first = Slots::take(&used, 100, 99).unwrap();
    let second = Slots::take(&used, 100, 1000).expect("the last one in may overshoot");
    assert!(Slots::take(&used, 100, 1).is_none());
    assert_eq!((first.bytes(), second.bytes(), used.load(Ordering::Relaxed)), (99, 1000, 1099));
    drop(second);
    let released = Arc::new(Count(AtomicUsize::new(0), Arc::clone(&used)));
    first.on_release(Arc::clone(&released) as Arc<_>);
    drop(first);
    assert_eq!((released.0.load(Ordering::Relaxed), used.load(Ordering::Relaxed)), (1, 0));
}

#[test]
fn a_class_fits_its_type() {
    use Priority::{
        AsyncRead, AsyncWrite, Initializing, Now, Rebuild, Removal, Scrub, SyncRead, SyncWrite,
        Trim,
    };
    for (ty, table) in [
        (
            ZioType::Read,
            [
                (SyncRead, SyncRead),
                (AsyncRead, AsyncRead),
                (Scrub, Scrub),
                (Removal, Removal),
                (Rebuild, Rebuild),
                (SyncWrite, AsyncRead),
                (AsyncWrite, AsyncRead),
                (Initializing, AsyncRead),
                (Trim, AsyncRead),
                (Now, Now),
            ],
        ),
        (
            ZioType::Write,
            [
                (SyncWrite, SyncWrite),
                (AsyncWrite, AsyncWrite),
                (Initializing, Initializing),
                (Removal, Removal),
                (Rebuild, Rebuild),
                (SyncRead, AsyncWrite),
                (AsyncRead, AsyncWrite),
                (Scrub, AsyncWrite),
                (Trim, AsyncWrite),
                (Now, Now),
            ],
        ),
    ] {
        for (asked, given) in table {
            assert_eq!(asked.fit(ty), given, "{ty:?} as {asked:?}");
            assert_eq!(given.fit(ty), given, "fitting twice changes nothing");
        }
    }
    assert_eq!(SyncRead.fit(ZioType::Trim), Trim);
    for class in [Scrub, Removal, Initializing, Trim, Rebuild] {
        assert!(class.is_background());
    }
    for class in [SyncRead, SyncWrite, AsyncRead, AsyncWrite, Now] {
        assert!(!class.is_background());
    }
}
