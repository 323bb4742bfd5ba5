//! Files, pointers, sizes and properties that are not what they should be:
//! a typed error each, no panic, no I/O outside a device.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vdev_disk::{Memory, OpenError, OpenOptions};
use vdev_sim::{DiskConfig, Rng};
use zio_core::bp::{ByteOrder, Properties, RawPointer};
use zio_core::{Dva, VdevId};
use zio_pipeline::{
    BlockPointer, BuildError, Builder, Checksum, Compression, Data, ErrorKind, Pipeline, Write,
};

use crate::common::{MIB, Sim, compressible, noise, on_memory};

// -- Devices. --

fn refused(builder: Builder) -> BuildError {
    match builder.build() {
        Err(error) => {
            assert!(!error.to_string().is_empty());
            error
        }
        Ok(pipeline) => panic!("was built: {pipeline:?}"),
    }
}

fn file_of(path: &Path, len_bytes: u64) {
    std::fs::File::create(path).unwrap().set_len(len_bytes).unwrap();
}

#[test]
fn no_device_at_all() {
    assert!(matches!(refused(Pipeline::builder()), BuildError::NoDevice));
}

#[test]
fn files_that_cannot_be_devices() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);

    let missing = refused(Pipeline::builder().file(at("missing")));
    assert!(matches!(missing, BuildError::Open(OpenError::System { call: "open", .. })));
    assert!(missing.to_string().contains("missing"), "{missing}");

    let directory = refused(Pipeline::builder().file(dir.path()));
    assert!(matches!(directory, BuildError::Open(_)), "{directory}");

    let device = refused(Pipeline::builder().file("/dev/null"));
    assert!(matches!(device, BuildError::Open(OpenError::NotADevice { .. })), "{device}");

    file_of(&at("odd"), 16 * MIB + 100);
    let odd = refused(Pipeline::builder().file(at("odd")));
    assert!(matches!(odd, BuildError::Open(OpenError::SizeNotSectors { .. })), "{odd}");

    for len_bytes in [0, 512, 4096, MIB, 4 * MIB + MIB / 2 + 255 * 1024] {
        let path = at(&format!("small-{len_bytes}"));
        file_of(&path, len_bytes / 512 * 512);
        let small = refused(Pipeline::builder().file(&path).ashift(9));
        let known =
            matches!(small, BuildError::TooSmall { size_bytes, .. } if size_bytes <= len_bytes);
        assert!(known, "{small}");
    }
    file_of(&at("least"), 4 * MIB + MIB / 2 + MIB / 4);
    let least = Pipeline::builder().file(at("least")).build().unwrap();
    assert_eq!(least.free_bytes(), MIB / 4);
}

#[test]
fn a_file_that_lost_its_tail_is_refused_or_its_blocks_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let pipeline = Pipeline::builder().create(&path, 32 * MIB).build().unwrap();
    let blocks: Vec<_> =
        (0..20).map(|i| pipeline.write(noise(i, 1 << 20)).wait().unwrap()).collect();
    drop(pipeline);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(16 * MIB).unwrap();

    // Who knows the size says so.
    let told = OpenOptions::new().expect_size_bytes(32 * MIB);
    let error = refused(Pipeline::builder().file_with(&path, told));
    assert!(matches!(error, BuildError::Open(OpenError::TooSmall { .. })), "{error}");
    let error = refused(Pipeline::builder().create(&path, 32 * MIB));
    assert!(matches!(error, BuildError::Open(OpenError::TooSmall { .. })), "{error}");
    // Who does not finds out by the pointers.
    let pipeline = Pipeline::builder().file(&path).build().unwrap();
    let mut lost = 0;
    for (number, bp) in blocks.iter().enumerate() {
        match pipeline.check(&BlockPointer::from_bytes(&bp.to_bytes())) {
            Ok(bp) => assert!(pipeline.read(&bp).wait().unwrap() == noise(number as u64, 1 << 20)),
            Err(_) => {
                lost += 1;
                // Used unchecked, it is refused all the same.
                let error = pipeline.read(bp).wait().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
                assert_eq!(pipeline.claim(bp).wait().unwrap_err().kind(), ErrorKind::DeviceGone);
            }
        }
    }
    assert!((1..20).contains(&lost), "{lost}");
}

#[test]
fn a_file_cut_short_while_it_is_open_is_an_error_not_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let pipeline = Pipeline::builder().create(&path, 32 * MIB).build().unwrap();
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(MIB).unwrap();
    let error = pipeline.read(&bp).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
}

#[test]
fn a_read_only_file_reads_and_refuses_writes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let pipeline = Pipeline::builder().create(&path, 32 * MIB).build().unwrap();
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    drop(pipeline);

    let open = || Pipeline::builder().file_with(&path, OpenOptions::new().read_only());
    let pipeline = open().build().unwrap();
    // Several readers may have it.
    let other = open().build().unwrap();
    assert!(other.read(&bp).wait().unwrap() == noise(1, 8192));
    assert!(pipeline.read(&bp).wait().unwrap() == noise(1, 8192));
    assert_eq!(pipeline.write(noise(2, 8192)).wait().unwrap_err().kind(), ErrorKind::Access);
    let error = pipeline.trim(VdevId(0), 16 * MIB, 4096).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Access);
    assert_eq!(pipeline.allocated_bytes(), 0);
}

#[test]
fn a_file_in_use_in_this_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let pipeline = Pipeline::builder().create(&path, 32 * MIB).build().unwrap();
    let again = refused(Pipeline::builder().file(&path));
    assert!(matches!(again, BuildError::Open(OpenError::InUse { .. })), "{again}");
    drop(pipeline);
    let twice = refused(Pipeline::builder().file(&path).file(&path));
    assert!(matches!(twice, BuildError::Open(OpenError::InUse { .. })), "{twice}");
    Pipeline::builder().file(&path).build().unwrap();
}

/// The other process of the test below.
#[test]
#[ignore = "started by another test"]
fn hold_a_file() {
    let Some(path) = std::env::var_os("ZIO_HOLD_FILE") else { return };
    let pipeline = Pipeline::builder().file(path).build().unwrap();
    println!("\nheld");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    drop(pipeline);
}

#[test]
fn a_file_in_use_by_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    file_of(&path, 32 * MIB);
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "bad_input::hold_a_file", "--nocapture"])
        .env("ZIO_HOLD_FILE", &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "held"), "the other process never held the file");
    let error = refused(Pipeline::builder().file(&path));
    assert!(matches!(error, BuildError::Open(OpenError::InUse { .. })), "{error}");
    // Killed, it holds nothing any more, once the system has taken its ring down.
    holder.kill().unwrap();
    holder.wait().unwrap();
    let begin = Instant::now();
    while let Err(error) = Pipeline::builder().file(&path).build() {
        assert!(matches!(error, BuildError::Open(OpenError::InUse { .. })), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(60), "still held: {error}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn units_that_do_not_fit() {
    let disk = || Arc::new(Memory::new(32 * MIB, 4096));
    for ashift in [0, 8, 11, 17, 64, u32::MAX] {
        let error = refused(Pipeline::builder().vdev(disk()).ashift(ashift));
        assert!(matches!(error, BuildError::Ashift { .. }), "{error}");
    }
    Pipeline::builder().vdev(disk()).ashift(16).build().unwrap();
    let tall = Arc::new(Memory::new(32 * MIB, 128 << 10));
    assert!(matches!(refused(Pipeline::builder().vdev(tall)), BuildError::Ashift { .. }));
    let queue = vdev_queue::Config { active_max: 0, ..vdev_queue::Config::default() };
    let error = refused(Pipeline::builder().vdev(disk()).queue(queue));
    assert!(matches!(error, BuildError::Queue(_)), "{error}");
}

// -- Writes. --

fn invalid(write: Write) {
    let error = write.wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

#[test]
fn sizes_no_block_can_have() {
    let pipeline = on_memory(64 * MIB);
    for len in [0, 1, 511, 513, 1000, (16 << 20) + 512, (16 << 20) - 1, 32 << 20] {
        invalid(pipeline.write(vec![1; len]));
        invalid(pipeline.write(pipeline.buffer(len)));
    }
    invalid(pipeline.write(Data::new()));
    pipeline.write(&[1; 512]).wait().unwrap();
    pipeline.write(vec![1; 16 << 20]).wait().unwrap();
    assert_eq!(pipeline.live(), 0);
}

#[test]
fn properties_no_block_can_have() {
    let pipeline = on_memory(64 * MIB);
    let write = || pipeline.write(&[1; 512]);
    for copies in [0, 4, 255] {
        invalid(write().copies(copies));
    }
    for none in [Checksum::Off, Checksum::NoParity] {
        invalid(write().dedup(true).checksum(none));
        invalid(write().checksum(none).dedup(true));
    }
    for embedded in [Checksum::Label, Checksum::GangHeader, Checksum::Zilog, Checksum::Zilog2] {
        invalid(write().checksum(embedded));
    }
    for level in [32, 64, 255] {
        invalid(write().level(level));
    }
    invalid(write().txg(0));
    // What was refused left nothing behind.
    assert_eq!((pipeline.live(), pipeline.allocated_bytes()), (0, 0));
    assert_eq!(pipeline.dedup_references(), 0);

    // Whatever can be written can be checked and read in another life.
    for object_type in 0..=255 {
        for level in [0, 31] {
            for compression in [Compression::Off, Compression::Lz4] {
                let write = pipeline.write(&[1; 8192]).compression(compression);
                let Ok(bp) = write.object_type(object_type).level(level).wait() else { continue };
                let checked = pipeline.check(&BlockPointer::from_bytes(&bp.to_bytes())).unwrap();
                assert!(pipeline.read(&checked).wait().unwrap() == [1; 8192], "{bp}");
                pipeline.free(&checked).wait().unwrap();
            }
        }
    }
    for object_type in [54, 127, 200 | 0x1f] {
        invalid(write().object_type(object_type));
    }
    assert_eq!(pipeline.allocated_bytes(), 0);
}

#[test]
fn a_default_checksum_that_is_none_is_ignored() {
    let disk = Arc::new(Memory::new(32 * MIB, 512));
    let pipeline = Pipeline::builder().vdev(disk).checksum(Checksum::Label).build().unwrap();
    let bp = pipeline.write(noise(1, 512)).wait().unwrap();
    assert_eq!(bp.checksum_id(), Checksum::Fletcher4.id());
}

#[test]
fn a_refused_request_fails_its_group() {
    let pipeline = on_memory(64 * MIB);
    let group = pipeline.root();
    let mut told = None;
    let good = pipeline.write(&[1; 512]).under(group.parent()).start().unwrap();
    let bad = pipeline.write(&[1; 511]).under(group.parent());
    assert!(bad.as_parent().is_err());
    bad.nowait(|result| _ = result.map(|_| unreachable!("written")));
    assert_eq!(group.wait().unwrap_err().kind(), ErrorKind::Invalid);
    good.wait().unwrap();
    let completions = pipeline.completions();
    told.replace(pipeline.write(&[]).send_to(&completions, 1).unwrap_err());
    assert!(told.is_some_and(|error| error.kind() == ErrorKind::Invalid));
    assert!(completions.next().is_none());
    assert!(pipeline.write(&[]).start().is_err());
}

// -- Pointers. --

/// Whatever it says, an answer comes back, and strict disks do not panic.
fn use_pointer(pipeline: &Pipeline, bp: &BlockPointer) -> bool {
    // A doubtful pointer must not have its copies "repaired" over other blocks.
    _ = pipeline.read(bp).repair(false).wait();
    match pipeline.claim(bp).wait() {
        Ok(()) => {
            pipeline.free(bp).wait().unwrap_or_else(|error| panic!("claimed, not freed: {error}"));
            true
        }
        Err(_) => false,
    }
}

#[test]
fn hostile_pointers() {
    let sim = Sim::with(1, 2, DiskConfig::fixed(16 * MIB, 100));
    let pipeline = sim.builder().ashift(9).build().unwrap();
    sim.disks.iter().for_each(|disk| disk.set_logging(false));
    let write = |seed, len| pipeline.write(compressible(seed, len));
    let good: Vec<_> = [
        write(1, 512),
        write(2, 8192).copies(3),
        write(3, 65536).compression(Compression::Lz4),
        write(4, 4096).compression(Compression::Zle).copies(2),
        pipeline.write(&[9; 4096]).compression(Compression::Lz4),
        pipeline.write(&[0; 4096]).compression(Compression::Lz4),
        write(5, 4096).checksum(Checksum::Sha256).dedup(true),
        write(6, 4096).checksum(Checksum::Sha256).dedup(true).copies(2),
        write(7, 1 << 20).checksum(Checksum::Blake3),
    ]
    .map(|write| write.wait().unwrap())
    .to_vec();
    let before = (pipeline.allocated_bytes(), pipeline.dedup_references());

    let mut rng = Rng::new(2);
    let (mut passed, mut claimed) = (0, 0);
    for round in 0..100_000_u32 {
        let mut bytes = [0; 128];
        if round % 10 == 0 {
            rng.fill(&mut bytes);
        } else {
            bytes = good[rng.index(good.len())].to_bytes();
            for _ in 0..1 + rng.below(4) {
                bytes[rng.index(128)] ^= 1 << rng.below(8);
            }
        }
        let order = if rng.chance(100) { ByteOrder::Big } else { ByteOrder::Little };
        let Ok(bp) = pipeline.check(&RawPointer::from_bytes(&bytes, order)) else { continue };
        passed += 1;
        claimed += u32::from(use_pointer(&pipeline, &bp));
    }
    assert!(passed > 1000 && claimed > 100, "{passed} passed, {claimed} claimed: too few to tell");
    assert_eq!((pipeline.allocated_bytes(), pipeline.dedup_references()), before);
    assert_eq!(pipeline.live(), 0);
    for bp in &good {
        pipeline.read(bp).wait().unwrap();
    }
    // However old they claimed to be, what is written now can be read again.
    let new = pipeline.write(noise(1, 512)).wait().unwrap();
    let new = pipeline.check(&BlockPointer::from_bytes(&new.to_bytes())).unwrap();
    assert!(pipeline.read(&new).wait().unwrap() == noise(1, 512));
}

#[test]
fn pointers_that_nobody_checked() {
    let sim = Sim::with(
        2,
        1,
        DiskConfig { sector_bytes: 4096, physical_bytes: 4096, ..DiskConfig::fixed(16 * MIB, 100) },
    );
    let pipeline = sim.pipeline();
    let mut bp = BlockPointer::with_properties(&Properties::plain(8192));
    bp.set_birth(1, 1);
    let far = 16 * MIB;
    for dva in [
        Dva::new(VdevId(0), 512, 8192),
        Dva::new(VdevId(0), far, 8192),
        Dva::new(VdevId(0), far - 4096 - 4 * MIB - MIB / 2, 8192),
        Dva::new(VdevId(0), u64::MAX / 2 - 511, 8192),
        Dva::new(VdevId(1), 0, 8192),
        Dva::new(VdevId(0xff_ffff), 0, 8192),
    ] {
        bp.set_dva(0, dva);
        for dedup in [false, true] {
            bp.set_dedup(dedup);
            let error = pipeline.read(&bp).wait().unwrap_err();
            let told = [ErrorKind::Invalid, ErrorKind::DeviceGone];
            assert!(told.contains(&error.kind()), "{dva}: {error}");
            pipeline.claim(&bp).wait().unwrap_err();
            pipeline.free(&bp).wait().unwrap_err();
        }
    }
    // A good copy behind one that cannot be.
    let written = pipeline.write(noise(1, 8192)).wait().unwrap();
    let mut bp = written;
    bp.set_dva(0, Dva::new(VdevId(9), 0, 8192));
    bp.set_dva(1, written.dva(0).unwrap());
    assert!(pipeline.read(&bp).wait().unwrap() == noise(1, 8192));
    // Another checksum's, another size's, another compression's.
    for change in [
        |p: &mut Properties| p.checksum = 8,
        |p: &mut Properties| p.checksum = 12,
        |p: &mut Properties| p.checksum = 3,
        |p: &mut Properties| p.checksum = 200,
        |p: &mut Properties| p.compression = 15,
        |p: &mut Properties| p.compression = 16,
        |p: &mut Properties| p.compression = 99,
        |p: &mut Properties| p.crypt = true,
    ] {
        let mut properties = written.properties();
        change(&mut properties);
        let mut bp = written;
        bp.set_properties(&properties);
        pipeline.read(&bp).wait().unwrap_err();
    }
    pipeline.free(&written).wait().unwrap();
    assert_eq!(pipeline.allocated_bytes(), 0);
}

#[test]
fn a_gang_bit_on_a_plain_block_is_a_checksum_error() {
    let pipeline = on_memory(32 * MIB);
    let written = pipeline.write(noise(1, 8192)).wait().unwrap();
    let mut words = written.to_bytes();
    // The gang bit of the first address.
    words[15] |= 0x80;
    let bp = pipeline.check(&BlockPointer::from_bytes(&words)).unwrap();
    for error in [
        pipeline.read(&bp).wait().unwrap_err(),
        pipeline.claim(&bp).wait().unwrap_err(),
        pipeline.free(&bp).wait().unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Checksum, "{error}");
    }
    assert_eq!(pipeline.allocated_bytes(), 8192);
}
