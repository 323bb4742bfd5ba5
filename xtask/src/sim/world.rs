//! The machine of a seed: disks that stay, pipelines that come and go.

use std::sync::Arc;

use metaslab::Metaslabs;
use parking_lot::Mutex;
use vdev_sim::{
    DiskConfig, FaultId, FaultProfile, Machine, Rng, SimAllocator, SimAllocatorConfig, SimDisk,
};
use zio_core::bp::PoolShape;
use zio_core::{BlockPointer, Txg, Vdev, VdevId};
use zio_pipeline::inject::Injections;
use zio_pipeline::{DATA_START_BYTES, DatasetKeys, FailMode, Mirror, Pipeline, SpaceClass, Suite};

/// How honest the disks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Honesty {
    /// Nothing fails.
    Sound,
    /// Things fail, and the disk says so.
    Honest,
    /// The disk says "done" and is not.
    Lying,
}

pub(super) struct World {
    pub(super) machine: Machine,
    pub(super) disks: Vec<Arc<SimDisk>>,
    pub(super) honesty: Honesty,
    /// The disks of each vdev, by number: one, or the leaves of a mirror.
    vdevs: Vec<Vec<usize>>,
    /// What each vdev is for.
    classes: Vec<SpaceClass>,
    suite: Suite,
    large_gang_headers: bool,
    ashift: Option<u32>,
    faults: Vec<FaultProfile>,
    /// Devices come and go, hang, and are given up.
    pub(super) troubled: bool,
    /// Faults are put into stages as well.
    pub(super) injected: bool,
    /// What becomes of requests without devices.
    fail_mode: FailMode,
    space: Space,
    /// Disks that are going to forget an I/O.
    pub(super) stalls: Vec<(usize, FaultId)>,
}

/// The allocator of the pipeline that is open.
enum Space {
    /// Keeps freed space back until told.
    Mean(Arc<SimAllocator>),
    Real(Arc<Metaslabs>),
    /// The pipeline has brought its own.
    Unknown,
}

impl World {
    pub(super) fn draw(seed: u64, rng: &mut Rng) -> Self {
        let machine = Machine::new(seed);
        machine.set_steps_max(20_000_000);
        let honesty = match rng.below(4) {
            0 => Honesty::Sound,
            1 | 2 => Honesty::Honest,
            _ => Honesty::Lying,
        };
        let ashift = rng.coin().then(|| 9 + rng.below(6) as u32);
        let sector_max = ashift.map_or(4096, |a| 1 << a.min(12));
        let disks: Vec<_> =
            (0..1 + rng.below(4)).map(|_| machine.disk(disk_config(rng, sector_max))).collect();
        let lies = honesty == Honesty::Lying;
        let rate = 1 + rng.below(60) as u32;
        let faults = disks
            .iter()
            .map(|_| match honesty {
                Honesty::Sound => FaultProfile::none(),
                _ => FaultProfile::draw(rng, rate, lies),
            })
            .collect();
        let mut vdevs: Vec<Vec<usize>> = Vec::new();
        for disk in 0..disks.len() {
            match vdevs.last_mut() {
                Some(mirror) if rng.chance(400) => mirror.push(disk),
                _ => vdevs.push(vec![disk]),
            }
        }
        let classes = (0..vdevs.len())
            .map(|vdev| match vdev > 0 && rng.chance(300) {
                true => SpaceClass::ALL[rng.index(SpaceClass::ALL.len())],
                false => SpaceClass::Normal,
            })
            .collect();
        Self {
            machine,
            disks,
            honesty,
            vdevs,
            classes,
            suite: Suite::ALL[rng.index(Suite::ALL.len())],
            large_gang_headers: rng.coin(),
            ashift,
            faults,
            troubled: honesty != Honesty::Sound && rng.chance(700),
            injected: rng.chance(250),
            fail_mode: if rng.coin() { FailMode::Wait } else { FailMode::Continue },
            space: Space::Unknown,
            stalls: Vec::new(),
        }
    }

    /// Number of vdevs.
    pub(super) fn vdevs(&self) -> usize {
        self.vdevs.len()
    }

    pub(super) fn faults_on(&self) {
        for (disk, faults) in self.disks.iter().zip(&self.faults) {
            disk.set_faults(faults.clone());
        }
    }

    pub(super) fn faults_off(&self) {
        for disk in &self.disks {
            disk.heal_all();
            disk.release();
        }
    }

    /// Every disk is there and answers.
    pub(super) fn all_online(&mut self) {
        for (disk, stall) in std::mem::take(&mut self.stalls) {
            self.disks[disk].heal(stall);
        }
        for disk in &self.disks {
            disk.online();
            disk.release();
        }
    }

    /// I/Os that the disks have been given so far.
    pub(super) fn ios(&self) -> u64 {
        let of = |disk: &Arc<SimDisk>| {
            let seen = disk.counters();
            seen.reads + seen.writes + seen.flushes + seen.trims
        };
        self.disks.iter().map(of).sum()
    }

    /// Space freed so far can be used again.
    pub(super) fn end_txg(&self) {
        if let Space::Mean(mean) = &self.space {
            mean.settle(u64::MAX);
        }
    }

    /// Bytes that writes under way have reserved, where the allocator tells.
    pub(super) fn reserved_bytes(&self) -> u64 {
        match &self.space {
            Space::Real(space) => space.reserved_bytes(),
            Space::Mean(_) | Space::Unknown => 0,
        }
    }

    /// Leaves of mirrors, by vdev and number within it.
    pub(super) fn mirror_leaves(&self) -> impl Iterator<Item = (VdevId, usize)> {
        let mirrors = self.vdevs.iter().enumerate().filter(|(_, leaves)| leaves.len() > 1);
        mirrors
            .flat_map(|(id, leaves)| (0..leaves.len()).map(move |leaf| (VdevId(id as u32), leaf)))
    }

    /// What the leaves have where a block stands, if some have something else than the others:
    /// for each of its addresses, and those of its pieces.
    pub(super) fn differing(&self, bp: &BlockPointer) -> Option<String> {
        let header_bytes = match (bp.is_gang(), self.large_gang_headers) {
            (true, true) => bp.gang_header_bytes(self),
            _ => 512,
        };
        let len_bytes = if bp.is_gang() { header_bytes } else { bp.psize_bytes() as usize };
        let mut header = Vec::new();
        for dva in bp.dvas() {
            let at = DATA_START_BYTES + dva.offset_bytes();
            let leaves = &self.vdevs[dva.vdev().0 as usize];
            let on = |leaf: &usize| self.disks[*leaf].peek(at, len_bytes);
            header = on(&leaves[0]);
            if let Some(other) = leaves.iter().position(|leaf| on(leaf) != header) {
                return Some(format!(
                    "leaf {other} and leaf 0 of {dva}, {len_bytes} bytes of {bp}"
                ));
            }
        }
        if !bp.is_gang() {
            return None;
        }
        let members = bp.gang_members(&header, bp.order(), self).expect("a header of ours");
        members.iter().find_map(|member| self.differing(member))
    }

    /// A pipeline over the disks as they are, with whatever parts are drawn.
    pub(super) fn open(&mut self, rng: &mut Rng, txg: Txg, faults: &Injections) -> Pipeline {
        let machine = self.machine.clone();
        let mut builder = Pipeline::builder()
            .task_queue(self.machine.queue())
            .clock(move || machine.now_ns())
            .fail_mode(self.fail_mode)
            .txg(txg);
        if self.injected {
            builder = builder.inject(faults);
        }
        let disk = |number: &usize| Arc::clone(&self.disks[*number]) as Arc<dyn Vdev>;
        for (vdev, class) in self.vdevs.iter().zip(&self.classes) {
            builder = builder.for_class(*class);
            builder = match vdev.as_slice() {
                [one] => builder.vdev(disk(one)),
                leaves => builder.mirror(leaves.iter().map(disk).fold(Mirror::new(), Mirror::vdev)),
            };
        }
        let key = vec![0x5a; self.suite.key_bytes()];
        let keys = DatasetKeys::new(self.suite, &key).expect("a key of the suite's length");
        let drawn = Mutex::new(Rng::new(rng.next_u64()));
        builder = builder.keys(keys).entropy(move |bytes| drawn.lock().fill(bytes));
        if self.large_gang_headers {
            builder = builder.large_gang_headers();
        }
        if let Some(ashift) = self.ashift {
            builder = builder.ashift(ashift);
        }
        builder = match rng.below(4) {
            0 => builder.queue(vdev_queue::Config::seed()),
            1 => builder.queue(vdev_queue::Config::default()),
            2 => builder.queue(vdev_queue::Config::bypass(1 + rng.below(4) as u32)),
            _ => builder,
        };
        if rng.chance(250) {
            builder = builder.always_dispatch();
        }
        if rng.coin() {
            builder = builder.small_blocks(512 << rng.below(8));
        }
        self.space = Space::Unknown;
        // The mean allocator has one unit for all vdevs.
        let ashifts: Vec<u32> = self.spaces().map(|(.., ashift)| ashift).collect();
        let one_unit = ashifts.iter().all(|ashift| *ashift == ashifts[0]);
        match rng.below(4) {
            0 if one_unit => {
                let mean = self.mean_allocator(rng);
                self.space = Space::Mean(Arc::clone(&mean));
                builder = builder.allocator(mean);
            }
            1 | 2 => {
                let space = self.tight_allocator(rng);
                self.space = Space::Real(Arc::clone(&space));
                builder = builder.allocator(space);
            }
            _ => {}
        }
        builder.build().expect("the disks are sound enough to open")
    }

    /// Data area and unit of each vdev, as the pipeline lays them out: as much
    /// as its smallest leaf has, in units of its coarsest.
    fn spaces(&self) -> impl Iterator<Item = (VdevId, u64, u32)> {
        let of_disk = |number: &usize| {
            let geometry = self.disks[*number].geometry();
            let whole = geometry.size_bytes >> 18 << 18;
            let natural = geometry.physical_bytes.max(4096).trailing_zeros();
            (whole - DATA_START_BYTES - (512 << 10), self.ashift.unwrap_or(natural))
        };
        self.vdevs.iter().enumerate().map(move |(id, leaves)| {
            let data_bytes = leaves.iter().map(|leaf| of_disk(leaf).0).min().unwrap_or(0);
            let ashift = leaves.iter().map(|leaf| of_disk(leaf).1).max().unwrap_or(9);
            (VdevId(id as u32), data_bytes, ashift)
        })
    }

    /// Fragments, refuses, hands out in any order.
    fn mean_allocator(&self, rng: &mut Rng) -> Arc<SimAllocator> {
        let sizes: Vec<u64> = self.spaces().map(|(_, data_bytes, _)| data_bytes).collect();
        let unit_bytes = 1 << self.spaces().map(|(.., ashift)| ashift).max().unwrap_or(12);
        SimAllocator::new(SimAllocatorConfig {
            unit_bytes,
            contiguous_bytes_max: unit_bytes << rng.below(6),
            fail_permille: rng.below(100) as u32,
            ..SimAllocatorConfig::new(rng.next_u64(), &sizes)
        })
    }

    /// The real one, with a throttle so tight that writes wait for it.
    fn tight_allocator(&self, rng: &mut Rng) -> Arc<Metaslabs> {
        let space = Metaslabs::new(metaslab::Config {
            defer_txgs: 0,
            reserve_bytes_max: Some(512 << rng.below(9)),
            region_bytes_min: (512 << 10) << rng.below(6),
            log_regions_min: if rng.coin() { 2 } else { 16 },
            ..metaslab::Config::default()
        });
        for (id, data_bytes, ashift) in self.spaces() {
            let class = self.classes[id.0 as usize];
            space.add_vdev_for(class, id, data_bytes, ashift).expect("a vdev of the machine");
        }
        Arc::new(space)
    }
}

impl PoolShape for World {
    fn data_bytes(&self, vdev: VdevId) -> Option<u64> {
        self.spaces().find(|space| space.0 == vdev).map(|(_, data_bytes, _)| data_bytes)
    }

    fn unit_bytes(&self, vdev: VdevId) -> u64 {
        self.spaces().find(|space| space.0 == vdev).map_or(1, |(.., ashift)| 1 << ashift)
    }
}

impl std::fmt::Display for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (id, data_bytes, ashift) in self.spaces() {
            let leaves = self.vdevs[id.0 as usize].len();
            write!(f, "[{leaves} × {data_bytes} bytes in units of 2^{ashift}]")?;
        }
        Ok(())
    }
}

fn disk_config(rng: &mut Rng, sector_max: u32) -> DiskConfig {
    let size_bytes = (6 << 20) + (rng.below(40) << 18);
    let base = match rng.below(5) {
        0 => DiskConfig::hdd(size_bytes),
        1 => DiskConfig::sata_ssd(size_bytes),
        2 => DiskConfig::nvme(size_bytes),
        3 => DiskConfig::cloud_volume(size_bytes),
        _ => DiskConfig::fixed(size_bytes, 1000),
    };
    let sector_bytes = if rng.coin() { 512 } else { sector_max.min(4096) };
    DiskConfig {
        sector_bytes,
        physical_bytes: base.physical_bytes.max(sector_bytes),
        inline_permille: if rng.coin() { rng.below(500) as u32 } else { 0 },
        strict: true,
        ..base
    }
}
