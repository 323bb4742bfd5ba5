//! From the system's numbers to a device's answer, and what is refused before
//! there is a system call at all.

use rustix::io::Errno;
use zio_core::{Geometry, VdevError, VdevErrorKind, VdevIo, VdevOp};

/// Most segments one I/O may have: the system's `IOV_MAX`.
pub const SEGMENTS_MAX: usize = 1024;

/// Most bytes one read or write may have: the kernel cuts longer ones off
/// (`MAX_RW_COUNT`, 2 GiB less one page).
pub const TRANSFER_BYTES_MAX: u64 = 0x7fff_f000;

/// Checks an I/O against the device and against what one system call can carry.
pub(crate) fn check(io: &VdevIo, geometry: &Geometry) -> Result<(), VdevError> {
    io.check(geometry)?;
    let (segments, len_bytes, aligned) = match io.op() {
        VdevOp::Read(buffers) => {
            (buffers.len(), io.len_bytes(), aligned(buffers.iter().map(|b| &**b), geometry))
        }
        VdevOp::Write(data) => {
            (data.segments().len(), io.len_bytes(), aligned(data.chunks(), geometry))
        }
        VdevOp::Flush | VdevOp::Trim { .. } => return Ok(()),
    };
    if segments > SEGMENTS_MAX || len_bytes > TRANSFER_BYTES_MAX {
        let what = format!(
            "{len_bytes} bytes in {segments} segments; at most {TRANSFER_BYTES_MAX} in {SEGMENTS_MAX}"
        );
        return Err(VdevError::msg(VdevErrorKind::Invalid, what));
    }
    if !aligned {
        let what = format!("memory not aligned to {} bytes", geometry.memory_align_bytes);
        return Err(VdevError::msg(VdevErrorKind::Invalid, what));
    }
    Ok(())
}

fn aligned<'a>(mut chunks: impl Iterator<Item = &'a [u8]>, geometry: &Geometry) -> bool {
    let mask = geometry.memory_align_bytes as usize - 1;
    chunks.all(|chunk| chunk.as_ptr().addr() & mask == 0)
}

/// The answer to a transfer: all of it, or an error.
pub(crate) fn transferred(result: Result<u64, Errno>, wanted_bytes: u64) -> Result<(), VdevError> {
    match result {
        Ok(got_bytes) if got_bytes == wanted_bytes => Ok(()),
        Ok(got_bytes) => Err(VdevError::short(got_bytes, wanted_bytes)),
        Err(errno) => Err(failed(errno)),
    }
}

/// Sorts an error number (spec 4.9).
pub(crate) fn failed(errno: Errno) -> VdevError {
    let kind = match errno {
        Errno::NXIO | Errno::NODEV | Errno::NOMEDIUM | Errno::REMOTEIO | Errno::SHUTDOWN => {
            VdevErrorKind::Gone
        }
        Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS => VdevErrorKind::Unsupported,
        Errno::NOSPC | Errno::DQUOT => VdevErrorKind::NoSpace,
        _ => VdevErrorKind::Io,
    };
    VdevError::os(kind, errno.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_numbers_fall_into_kinds() {
        for (errno, kind) in [
            (Errno::NXIO, VdevErrorKind::Gone),
            (Errno::NODEV, VdevErrorKind::Gone),
            (Errno::NOMEDIUM, VdevErrorKind::Gone),
            (Errno::OPNOTSUPP, VdevErrorKind::Unsupported),
            (Errno::NOTTY, VdevErrorKind::Unsupported),
            (Errno::NOSPC, VdevErrorKind::NoSpace),
            (Errno::DQUOT, VdevErrorKind::NoSpace),
            (Errno::IO, VdevErrorKind::Io),
            (Errno::INVAL, VdevErrorKind::Io),
        ] {
            let error = failed(errno);
            assert_eq!(error.kind(), kind, "{errno}");
            assert_eq!(error.os_error(), Some(errno.raw_os_error()));
        }
    }

    #[test]
    fn a_short_transfer_is_an_error() {
        assert_eq!(transferred(Ok(8192), 8192), Ok(()));
        assert_eq!(transferred(Ok(4096), 8192), Err(VdevError::short(4096, 8192)));
        assert_eq!(transferred(Ok(0), 512).unwrap_err().kind(), VdevErrorKind::Io);
    }
}
