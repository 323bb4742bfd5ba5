//! The machine of a seed: disks that stay, pipelines that come and go.

use std::sync::Arc;

use metaslab::Metaslabs;
use parking_lot::Mutex;
use vdev_sim::{DiskConfig, FaultProfile, Machine, Rng, SimAllocator, SimAllocatorConfig, SimDisk};
use zio_core::{Allocator, Txg, Vdev, VdevId};
use zio_pipeline::{DATA_START_BYTES, DatasetKeys, Mirror, Pipeline, Suite};

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
    suite: Suite,
    large_gang_headers: bool,
    ashift: Option<u32>,
    faults: Vec<FaultProfile>,
    /// Keeps freed space back until told.
    mean: Option<Arc<SimAllocator>>,
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
        Self {
            machine,
            disks,
            honesty,
            vdevs,
            suite: Suite::ALL[rng.index(Suite::ALL.len())],
            large_gang_headers: rng.coin(),
            ashift,
            faults,
            mean: None,
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

    /// Space freed so far can be used again.
    pub(super) fn end_txg(&self) {
        if let Some(mean) = &self.mean {
            mean.settle(u64::MAX);
        }
    }

    /// A pipeline over the disks as they are, with whatever parts are drawn.
    pub(super) fn open(&mut self, rng: &mut Rng, txg: Txg) -> Pipeline {
        let machine = self.machine.clone();
        let mut builder = Pipeline::builder()
            .task_queue(self.machine.queue())
            .clock(move || machine.now_ns())
            .txg(txg);
        let disk = |number: &usize| Arc::clone(&self.disks[*number]) as Arc<dyn Vdev>;
        for vdev in &self.vdevs {
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
        self.mean = None;
        // The mean allocator has one unit for all vdevs.
        let ashifts: Vec<u32> = self.spaces().map(|(.., ashift)| ashift).collect();
        let one_unit = ashifts.iter().all(|ashift| *ashift == ashifts[0]);
        match rng.below(4) {
            0 if one_unit => {
                let mean = self.mean_allocator(rng);
                self.mean = Some(Arc::clone(&mean));
                builder = builder.allocator(mean);
            }
            1 => builder = builder.allocator(self.tight_allocator(rng)),
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
    fn tight_allocator(&self, rng: &mut Rng) -> Arc<dyn Allocator> {
        let space = Metaslabs::new(metaslab::Config {
            defer_txgs: 0,
            reserve_bytes_max: Some(512 << rng.below(9)),
            ..metaslab::Config::default()
        });
        for (id, data_bytes, ashift) in self.spaces() {
            space.add_vdev(id, data_bytes, ashift).expect("a vdev of the machine");
        }
        Arc::new(space)
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
