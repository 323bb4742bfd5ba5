//! A device made of memory.

use parking_lot::RwLock;
use zio_core::{Buffer, BufferPool, Geometry, Vdev, VdevIo, VdevOp};

/// Memory is locked and allocated in pieces of this size; large enough that a
/// block rarely touches two.
const CHUNK_BYTES: usize = 256 << 10;

/// A device made of memory: completes inside [`Vdev::start`], costs a memcpy,
/// forgets everything when dropped.
///
/// It is sparse: memory is taken when a chunk of 256 KiB is written first;
/// unwritten ranges read as zero. Concurrent I/Os to different chunks do not
/// meet.
///
/// ```
/// use vdev_disk::{Memory, perform};
/// use zio_core::{BufferPool, VdevOp};
///
/// let (ram, pool) = (Memory::new(1 << 20, 512), BufferPool::new());
/// let done = perform(&ram, VdevOp::Write(pool.copy_of(&[7; 512]).into()), 4096);
/// assert!(done.result.is_ok());
/// let done = perform(&ram, VdevOp::Read([pool.take(512)].into_iter().collect()), 4096);
/// assert!(matches!(done.op, Some(VdevOp::Read(b)) if b[0][..] == [7; 512]));
/// ```
#[derive(Debug)]
pub struct Memory {
    geometry: Geometry,
    chunks: Box<[RwLock<Option<Buffer>>]>,
    pool: BufferPool,
}

impl Memory {
    /// A device of `size_bytes` zeroes.
    ///
    /// # Panics
    /// When `sector_bytes` is not a power of two, or the size not a multiple of it.
    pub fn new(size_bytes: u64, sector_bytes: u32) -> Self {
        assert!(sector_bytes.is_power_of_two(), "a sector of {sector_bytes} bytes");
        assert!(
            size_bytes.is_multiple_of(u64::from(sector_bytes)),
            "{size_bytes} bytes are not a multiple of the sector of {sector_bytes}"
        );
        let geometry = Geometry {
            size_bytes,
            sector_bytes,
            physical_bytes: sector_bytes,
            memory_align_bytes: 1,
            rotational: false,
            read_only: false,
        };
        let chunks = size_bytes.div_ceil(CHUNK_BYTES as u64);
        let chunks = (0..chunks).map(|_| RwLock::new(None)).collect();
        Self { geometry, chunks, pool: BufferPool::new() }
    }

    /// The same device, refusing writes.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.geometry.read_only = true;
        self
    }

    fn read(&self, offset_bytes: usize, out: &mut [u8]) {
        for piece in pieces(offset_bytes, out.len()) {
            let out = &mut out[piece.at..piece.at + piece.len];
            match &*self.chunks[piece.chunk].read() {
                Some(chunk) => out.copy_from_slice(&chunk[piece.from..piece.from + piece.len]),
                None => out.fill(0),
            }
        }
    }

    fn write(&self, offset_bytes: usize, bytes: &[u8]) {
        for piece in pieces(offset_bytes, bytes.len()) {
            let mut chunk = self.chunks[piece.chunk].write();
            // Nothing goes back to the pool while the device lives, so this is fresh: zero.
            let chunk = chunk.get_or_insert_with(|| self.pool.take(CHUNK_BYTES));
            chunk[piece.from..piece.from + piece.len]
                .copy_from_slice(&bytes[piece.at..piece.at + piece.len]);
        }
    }

    fn zero(&self, offset_bytes: usize, len_bytes: usize) {
        for piece in pieces(offset_bytes, len_bytes) {
            if let Some(chunk) = &mut *self.chunks[piece.chunk].write() {
                chunk[piece.from..piece.from + piece.len].fill(0);
            }
        }
    }
}

/// A part of a range that lies in one chunk.
struct Piece {
    chunk: usize,
    /// Where in the chunk.
    from: usize,
    /// Where in the range.
    at: usize,
    len: usize,
}

fn pieces(offset_bytes: usize, len_bytes: usize) -> impl Iterator<Item = Piece> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (chunk, from) = ((offset_bytes + at) / CHUNK_BYTES, (offset_bytes + at) % CHUNK_BYTES);
        let piece = Piece { chunk, from, at, len: (len_bytes - at).min(CHUNK_BYTES - from) };
        at += piece.len;
        (piece.len > 0).then_some(piece)
    })
}

impl Vdev for Memory {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn start(&self, mut io: VdevIo) {
        if let Err(refused) = io.check(&self.geometry) {
            return io.finish(Err(refused));
        }
        // The range was checked against a size whose chunks exist, so it fits usize.
        let mut at = io.offset_bytes() as usize;
        match io.op_mut() {
            VdevOp::Read(buffers) => {
                for buffer in buffers {
                    self.read(at, buffer);
                    at += buffer.len();
                }
            }
            VdevOp::Write(data) => {
                for chunk in data.chunks() {
                    self.write(at, chunk);
                    at += chunk.len();
                }
            }
            VdevOp::Flush => {}
            VdevOp::Trim { len_bytes } => self.zero(at, *len_bytes as usize),
        }
        io.finish(Ok(()));
    }
}
