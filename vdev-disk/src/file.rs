//! Opening: lock it, measure it, make it direct.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat, StatxFlags};
use rustix::io::Errno;
use zio_core::Geometry;
use zio_core::segment::BUFFER_ALIGN_BYTES;

use crate::error::OpenError;
use crate::file_options::{Direct, FileOptions};
use crate::sys;

/// Smallest sector there is, in bytes; also the unit for files that go through the page cache.
const SECTOR_BYTES_MIN: u32 = 512;

/// What direct I/O wants of memory where the system does not tell.
const MEMORY_ALIGN_BYTES: u32 = 4096;

/// Larger "preferred" units than this are a network file system's transfer size.
const PHYSICAL_BYTES_MAX: u32 = 64 << 10;

/// Magic numbers of file systems that are memory: they accept `O_DIRECT` and
/// copy through the page cache all the same.
const MEMORY_FILE_SYSTEMS: [u32; 2] = [0x0102_1994, 0x8584_58f6];

/// An open, locked, measured file or block device. Dropping it takes the lock
/// away.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) fd: OwnedFd,
    pub(crate) path: PathBuf,
    pub(crate) geometry: Geometry,
    pub(crate) direct: bool,
    pub(crate) block_device: bool,
}

impl Drop for File {
    fn drop(&mut self) {
        // A ring's file table may hold the open file a little longer than this descriptor.
        _ = rustix::fs::flock(&self.fd, FlockOperation::Unlock);
    }
}

impl File {
    pub(crate) fn open(path: &Path, options: &FileOptions) -> Result<Self, OpenError> {
        let (fd, created) = open_or_create(path, options)?;
        let opened = Self::measure(fd, path, options);
        if created && opened.is_err() {
            _ = fs::remove_file(path);
        }
        opened
    }

    fn measure(fd: OwnedFd, path: &Path, options: &FileOptions) -> Result<Self, OpenError> {
        let system = |call| move |errno| OpenError::system(path, call, errno);
        let stat = rustix::fs::fstat(&fd).map_err(system("fstat"))?;
        let block_device = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => false,
            FileType::BlockDevice => true,
            _ => return Err(OpenError::NotADevice { path: path.into() }),
        };
        let direct = make_direct(&fd, path, options, block_device)?;

        let size_bytes =
            rustix::fs::seek(&fd, rustix::fs::SeekFrom::End(0)).map_err(system("seek"))?;
        let (sector_bytes, memory_align_bytes) =
            alignment(&fd, &direct, block_device).map_err(system("BLKSSZGET"))?;
        let sector_bytes = widen_sector(path, options, sector_bytes)?;
        if !size_bytes.is_multiple_of(u64::from(sector_bytes)) {
            return Err(OpenError::SizeNotSectors { path: path.into(), size_bytes, sector_bytes });
        }
        let expected_bytes = options.expect_bytes.max(options.create_bytes).unwrap_or(0);
        if size_bytes < expected_bytes {
            return Err(OpenError::TooSmall { path: path.into(), size_bytes, expected_bytes });
        }

        let geometry = Geometry {
            size_bytes,
            sector_bytes,
            physical_bytes: physical_bytes(&fd, &stat, block_device).max(sector_bytes),
            memory_align_bytes,
            rotational: options.rotational.unwrap_or_else(|| rotational(&stat, block_device)),
            read_only: options.read_only,
        };
        let direct = direct != Access::Buffered;
        Ok(Self { fd, path: path.into(), geometry, direct, block_device })
    }
}

/// Opens and locks. The flag tells whether the file was made by this call.
fn open_or_create(path: &Path, options: &FileOptions) -> Result<(OwnedFd, bool), OpenError> {
    let system = |call| move |errno| OpenError::system(path, call, errno);
    let access = if options.read_only { OFlags::RDONLY } else { OFlags::RDWR };
    let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK;
    if let (Some(size_bytes), false) = (options.create_bytes, options.read_only) {
        match rustix::fs::open(path, flags | OFlags::CREATE | OFlags::EXCL, Mode::from(0o600)) {
            Ok(fd) => {
                lock(&fd, path, options)?;
                let sized = rustix::fs::ftruncate(&fd, size_bytes).map_err(system("ftruncate"));
                if sized.is_err() {
                    _ = fs::remove_file(path);
                }
                return sized.map(|()| (fd, true));
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(system("open")(errno)),
        }
    }
    // On a block device O_EXCL is the kernel's own claim: mounted ones refuse it.
    let claim = fs::metadata(path).is_ok_and(|m| m.file_type().is_block_device());
    let claim = if claim && !options.read_only { OFlags::EXCL } else { OFlags::empty() };
    let fd = match rustix::fs::open(path, flags | claim, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::BUSY) => {
            return Err(OpenError::InUse { path: path.into(), by: "the kernel has claimed it" });
        }
        // A directory for writing, a socket.
        Err(Errno::ISDIR | Errno::NXIO) => return Err(OpenError::NotADevice { path: path.into() }),
        Err(errno) => return Err(system("open")(errno)),
    };
    lock(&fd, path, options)?;
    Ok((fd, false))
}

fn lock(fd: &OwnedFd, path: &Path, options: &FileOptions) -> Result<(), OpenError> {
    let operation = if options.read_only {
        FlockOperation::NonBlockingLockShared
    } else {
        FlockOperation::NonBlockingLockExclusive
    };
    rustix::fs::flock(fd, operation).map_err(|errno| match errno {
        Errno::WOULDBLOCK => {
            OpenError::InUse { path: path.into(), by: "somebody else holds its lock" }
        }
        errno => OpenError::system(path, "flock", errno),
    })
}

/// How the bytes travel.
#[derive(PartialEq, Eq)]
enum Access {
    Buffered,
    /// Direct; alignment of offset and memory in bytes, where the system tells.
    Direct(Option<(u32, u32)>),
}

/// Switches the page cache off, as far as the options and the file system want it.
fn make_direct(
    fd: &OwnedFd,
    path: &Path,
    options: &FileOptions,
    block_device: bool,
) -> Result<Access, OpenError> {
    let access = match options.direct {
        Direct::Never => Access::Buffered,
        Direct::Prefer | Direct::Require => direct_access(fd, block_device),
    };
    let system = |call| move |errno| OpenError::system(path, call, errno);
    let flags = rustix::fs::fcntl_getfl(fd).map_err(system("F_GETFL"))? - OFlags::NONBLOCK;
    if access != Access::Buffered {
        match rustix::fs::fcntl_setfl(fd, flags | OFlags::DIRECT) {
            Ok(()) => return Ok(access),
            Err(Errno::INVAL) => {}
            Err(errno) => return Err(system("F_SETFL")(errno)),
        }
    }
    let required = match options.direct {
        Direct::Prefer => block_device,
        Direct::Require => true,
        Direct::Never => false,
    };
    if required {
        return Err(OpenError::NotDirect { path: path.into() });
    }
    rustix::fs::fcntl_setfl(fd, flags).map_err(system("F_SETFL"))?;
    Ok(Access::Buffered)
}

/// What the system says of direct I/O on this file (`STATX_DIOALIGN`, Linux 6.1).
fn direct_access(fd: &OwnedFd, block_device: bool) -> Access {
    // Of a block device this would tell where its node stands, which is in memory.
    let memory = !block_device
        && rustix::fs::fstatfs(fd)
            .is_ok_and(|fs| MEMORY_FILE_SYSTEMS.iter().any(|&magic| i64::from(magic) == fs.f_type));
    let statx = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN);
    let told = statx.ok().filter(|s| s.stx_mask & StatxFlags::DIOALIGN.bits() != 0);
    match told.map(|s| (s.stx_dio_offset_align, s.stx_dio_mem_align)) {
        _ if memory => Access::Buffered,
        None => Access::Direct(None),
        Some((offset, memory))
            if offset.is_power_of_two()
                && memory.is_power_of_two()
                && memory as usize <= BUFFER_ALIGN_BYTES =>
        {
            Access::Direct(Some((offset, memory)))
        }
        Some(_) => Access::Buffered,
    }
}

/// Sector and memory alignment in bytes.
fn alignment(fd: &OwnedFd, access: &Access, block_device: bool) -> Result<(u32, u32), Errno> {
    let sector = if block_device {
        rustix::fs::ioctl_blksszget(fd)?.max(SECTOR_BYTES_MIN)
    } else {
        SECTOR_BYTES_MIN
    };
    Ok(match *access {
        Access::Buffered => (sector, 1),
        Access::Direct(None) => (sector, MEMORY_ALIGN_BYTES),
        Access::Direct(Some((offset, memory))) => (sector.max(offset), memory),
    })
}

fn widen_sector(path: &Path, options: &FileOptions, device_bytes: u32) -> Result<u32, OpenError> {
    match options.sector_bytes {
        None => Ok(device_bytes),
        Some(asked) if asked.is_power_of_two() && asked >= device_bytes => Ok(asked),
        Some(asked_bytes) => {
            Err(OpenError::SectorRefused { path: path.into(), asked_bytes, device_bytes })
        }
    }
}

fn physical_bytes(fd: &OwnedFd, stat: &Stat, block_device: bool) -> u32 {
    let told = if block_device {
        rustix::fs::ioctl_blkpbszget(fd).unwrap_or(0)
    } else {
        u32::try_from(stat.st_blksize).unwrap_or(0)
    };
    let plausible = told.is_power_of_two() && told <= PHYSICAL_BYTES_MAX;
    if plausible { told } else { MEMORY_ALIGN_BYTES }
}

fn rotational(stat: &Stat, block_device: bool) -> bool {
    let device = if block_device { stat.st_rdev } else { stat.st_dev };
    sys::rotational(rustix::fs::major(device), rustix::fs::minor(device)).unwrap_or(false)
}

impl AsFd for File {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
