//! Buffers, segments, blocks and the pool that recycles their memory.

use proptest::prelude::*;
use zio_core::segment::{BLOCK_BYTES_MAX, BUFFER_ALIGN_BYTES};
use zio_core::{Buffer, BufferPool, Buffers, Data};

#[test]
fn every_buffer_is_aligned_and_as_long_as_asked() {
    let pool = BufferPool::new();
    for len in [0, 1, 511, 512, 4095, 4096, 4097, 131_072, 131_073, BLOCK_BYTES_MAX, 17 << 20] {
        let buffer = pool.take(len);
        assert_eq!(buffer.len(), len);
        assert_eq!(buffer.as_ptr().addr() % BUFFER_ALIGN_BYTES, 0);
        assert!(buffer.capacity_bytes() >= len.max(1));
        assert!(buffer.iter().all(|byte| *byte == 0), "fresh memory is zero");
    }
}

#[test]
fn memory_comes_back_to_its_pool_once() {
    let pool = BufferPool::new();
    let buffer = pool.take(10_000);
    let (address, capacity) = (buffer.as_ptr(), buffer.capacity_bytes());
    assert_eq!(pool.kept_bytes(), 0);
    drop(buffer);
    assert_eq!(pool.kept_bytes(), capacity);
    let again = pool.take(capacity);
    assert_eq!(again.as_ptr(), address, "the same memory");
    assert_eq!(pool.kept_bytes(), 0);

    // Shared memory comes back with the last of its holders.
    let segment = again.freeze();
    let parts = [segment.clone(), segment.slice(1..5), segment];
    for part in parts {
        assert_eq!(pool.kept_bytes(), 0);
        drop(part);
    }
    assert_eq!(pool.kept_bytes(), capacity);
}

#[test]
fn the_pool_knows_what_is_lent() {
    let pool = BufferPool::new();
    let (small, large) = (pool.take(10), pool.take(BLOCK_BYTES_MAX + 1));
    assert_eq!(pool.lent(), 2);
    drop(large);
    assert_eq!(pool.lent(), 1, "also what is not kept comes back");
    let segment = small.freeze();
    let part = segment.slice(1..5);
    assert_eq!(pool.lent(), 1, "parts of a buffer are one loan");
    drop(segment);
    assert_eq!(pool.clone().lent(), 1, "the last part has it still");
    drop(part);
    assert_eq!((pool.lent(), pool.kept_bytes()), (0, BUFFER_ALIGN_BYTES));
    let again = pool.take(10);
    assert_eq!(pool.lent(), 1, "lent again");
    drop(again);
    let many: Vec<Buffer> = (0..40).map(|_| pool.take(1 << 20)).collect();
    assert_eq!(pool.lent(), 40);
    drop(many);
    assert_eq!(pool.lent(), 0, "kept or let go, none is lent");
}

#[test]
fn what_is_too_large_or_too_much_is_not_kept() {
    let pool = BufferPool::new();
    drop(pool.take(BLOCK_BYTES_MAX + 1));
    assert_eq!(pool.kept_bytes(), 0);
    let many: Vec<Buffer> = (0..40).map(|_| pool.take(1 << 20)).collect();
    drop(many);
    let kept = pool.kept_bytes();
    assert!(kept > 0 && kept < 40 << 20, "{kept} bytes kept");
}

#[test]
fn a_buffer_outlives_its_pool() {
    let pool = BufferPool::new();
    let mut buffer = pool.copy_of(b"still here");
    drop(pool);
    buffer[0] = b'S';
    assert_eq!(&*buffer.freeze(), b"Still here");
}

#[test]
fn a_second_pool_does_not_take_the_memory_of_the_first() {
    let (one, two) = (BufferPool::new(), BufferPool::new());
    drop(one.take(1));
    assert_eq!((one.kept_bytes(), two.kept_bytes()), (BUFFER_ALIGN_BYTES, 0));
    assert_eq!(one.clone().kept_bytes(), BUFFER_ALIGN_BYTES, "a clone is the same pool");
}

#[test]
fn only_the_last_holder_may_write_again() {
    let pool = BufferPool::new();
    let segment = pool.copy_of(b"0123456789").freeze();
    let other = segment.clone();
    let segment = segment.thaw().expect_err("it is shared");
    drop(other);
    let tail = segment.slice(4..10);
    drop(segment);
    let tail = tail.thaw().expect_err("it does not begin at the buffer's start");
    assert_eq!(&*tail, b"456789");
    drop(tail);

    let segment = pool.copy_of(b"0123456789").freeze();
    let head = segment.slice(0..4);
    drop(segment);
    let mut buffer = head.thaw().expect("nobody else holds it");
    assert_eq!(&*buffer, b"0123");
    buffer.resize(10);
    assert_eq!(&*buffer, b"0123456789", "the rest of the memory is still there");
}

#[test]
#[should_panic(expected = "cannot hold")]
fn a_buffer_does_not_grow_beyond_its_memory() {
    let mut buffer = BufferPool::new().take(10);
    let capacity = buffer.capacity_bytes();
    buffer.resize(capacity + 1);
}

#[test]
#[should_panic(expected = "of a segment of 10 bytes")]
fn a_slice_stays_inside_its_segment() {
    let segment = BufferPool::new().take(10).freeze();
    drop(segment.slice(2..8).slice(0..6));
    drop(segment.slice(5..11));
}

#[test]
fn many_threads_share_one_pool() {
    let pool = BufferPool::new();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let pool = &pool;
            scope.spawn(move || {
                for round in 0..2000_usize {
                    let mut buffer = pool.take(1 + round * 7 % 20_000);
                    buffer.fill(thread);
                    let segment = buffer.freeze();
                    let other = segment.clone();
                    assert!(segment.iter().chain(&*other).all(|byte| *byte == thread));
                }
            });
        }
    });
    assert!(pool.kept_bytes() > 0);
}

/// Cuts `bytes` at these places into a block of several segments.
fn cut(pool: &BufferPool, bytes: &[u8], cuts: &[usize]) -> Data {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    let mut data = Data::new();
    for pair in cuts.windows(2) {
        data.push(pool.copy_of(&bytes[pair[0]..pair[1]]).freeze());
    }
    data
}

proptest! {
    /// A block in pieces behaves like the plain bytes.
    #[test]
    fn a_block_is_its_bytes(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        cuts in proptest::collection::vec(any::<usize>(), 0..5),
        range in any::<(usize, usize)>(),
        flip in any::<usize>(),
    ) {
        let pool = BufferPool::new();
        let data = cut(&pool, &bytes, &cuts);
        prop_assert_eq!(data.len(), bytes.len());
        prop_assert_eq!(data.is_empty(), bytes.is_empty());
        prop_assert_eq!(data.to_vec(), &bytes[..]);
        prop_assert!(data == bytes);
        prop_assert_eq!(data.chunks().flatten().copied().collect::<Vec<_>>(), &bytes[..]);
        prop_assert_eq!(data.segments().len(), cuts.len() + 1);

        let (a, b) = (range.0 % (bytes.len() + 1), range.1 % (bytes.len() + 1));
        let (from, to) = (a.min(b), a.max(b));
        prop_assert!(data.slice(from..to) == bytes[from..to]);

        let mut joined = data.slice(0..from);
        joined.append(data.slice(from..bytes.len()));
        prop_assert!(joined == bytes, "cut and joined");

        let mut other = bytes.clone();
        other.push(0);
        prop_assert!(data != other, "longer");
        other.pop();
        if let Some(last) = other.pop() {
            prop_assert!(data != other, "shorter");
            other.push(last);
            let at = flip % other.len();
            other[at] ^= 1;
            prop_assert!(data != other, "one bit");
        }
    }
}

#[test]
fn a_finished_read_becomes_a_block_without_a_copy() {
    let pool = BufferPool::new();
    let buffers: Buffers = [pool.copy_of(b"ab"), pool.copy_of(b"cd")].into_iter().collect();
    let address = buffers[0].as_ptr();
    let data = Data::from_buffers(buffers);
    assert!(data == *b"abcd");
    assert_eq!(data.segments()[0].as_ptr(), address);
    assert_eq!(data.contiguous(), None);
    let one = Data::from(pool.copy_of(b"ab"));
    assert_eq!(one.contiguous(), Some(&b"ab"[..]));
    assert_eq!(Data::new().contiguous(), Some(&[][..]));
    let mut out = *b"------";
    data.copy_to(&mut out);
    assert_eq!(&out, b"abcd--", "the rest is left alone");
}

#[test]
#[should_panic(expected = "of 4")]
fn a_part_of_a_block_stays_inside_it() {
    drop(Data::from(BufferPool::new().take(4).freeze()).slice(1..5));
}
