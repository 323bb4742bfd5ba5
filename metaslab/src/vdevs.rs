//! The vdevs of a pool by class, and what there is for a wish.

use std::sync::Arc;

use zio_core::{NoSpace, SpaceClass, VdevId, Want};

use crate::config::Config;
use crate::slop::slop_bytes;
use crate::vdev_space::{Part, VdevSpace};

/// Vdevs in the order in which they were added.
pub(crate) type Group = Vec<Arc<VdevSpace>>;

/// All vdevs, and the same by class.
#[derive(Default)]
pub(crate) struct Vdevs {
    all: Group,
    of_class: [Group; SpaceClass::ALL.len()],
}

impl Vdevs {
    pub(crate) fn add(&mut self, vdev: Arc<VdevSpace>) {
        self.of_class[vdev.class() as usize].push(Arc::clone(&vdev));
        self.all.push(vdev);
    }

    pub(crate) fn all(&self) -> &Group {
        &self.all
    }

    pub(crate) fn of(&self, class: SpaceClass) -> &Group {
        &self.of_class[class as usize]
    }

    pub(crate) fn find(&self, id: VdevId) -> Option<&Arc<VdevSpace>> {
        self.all.iter().find(|vdev| vdev.id() == id)
    }

    /// The classes with vdevs that a block may stand on, the dearest first.
    pub(crate) fn classes(&self, want: &Want) -> impl Iterator<Item = SpaceClass> + '_ {
        want.classes().iter().copied().filter(|&class| !self.of(class).is_empty())
    }

    /// The class whose devices a block is likely to go to: the first with room.
    pub(crate) fn likely_class(&self, want: &Want, config: &Config) -> SpaceClass {
        if want.class == SpaceClass::Normal {
            return SpaceClass::Normal;
        }
        let has_room =
            |class: &SpaceClass| self.room_bytes(*class, want, config) >= want.all_bytes();
        self.classes(want).find(has_room).unwrap_or_default()
    }

    /// Free bytes of a class, without what others of it keep a block from.
    pub(crate) fn room_bytes(&self, class: SpaceClass, want: &Want, config: &Config) -> u64 {
        let free = free_bytes_in(self.of(class), Part::Whole);
        free.saturating_sub(self.kept_bytes(class, want, config))
    }

    /// Bytes of a class that are kept from a block.
    fn kept_bytes(&self, class: SpaceClass, want: &Want, config: &Config) -> u64 {
        match class {
            SpaceClass::Normal if want.uses_slop || config.slop_divisor == 0 => 0,
            SpaceClass::Normal => slop_bytes(size_bytes(self.of(class)), config.slop_divisor),
            _ if want.leaves_reserve => self.reserve_bytes(class, config),
            _ => 0,
        }
    }

    /// Bytes of a class that its contents leave to metadata.
    fn reserve_bytes(&self, class: SpaceClass, config: &Config) -> u64 {
        let percent = u128::from(config.special_reserve_percent.min(100));
        (u128::from(size_bytes(self.of(class))) * percent / 100) as u64
    }

    /// May a block take of this part of a class? A region of logs is theirs whatever is held back.
    pub(crate) fn may_take(
        &self,
        class: SpaceClass,
        part: Part,
        want: &Want,
        config: &Config,
    ) -> bool {
        let kept = match part {
            Part::OfLogs => 0,
            Part::Open | Part::Whole => self.kept_bytes(class, want, config),
        };
        kept == 0
            || free_bytes_in(self.of(class), Part::Whole) >= want.all_bytes().saturating_add(kept)
    }

    /// Bytes there are for a block in any number of pieces, those held back left out.
    pub(crate) fn room_for(&self, want: &Want, config: &Config) -> u64 {
        let room = |class: SpaceClass| {
            let of_logs = match want.class {
                SpaceClass::Log => free_bytes_in(self.of(class), Part::OfLogs),
                _ => 0,
            };
            self.room_bytes(class, want, config).max(of_logs)
        };
        self.classes(want).map(room).fold(0, u64::saturating_add)
    }

    /// Is nothing but the regions of logs left for a block, however it is divided?
    pub(crate) fn is_used_up_for(&self, want: &Want, config: &Config) -> bool {
        let open = |class| {
            let open = free_bytes_in(self.of(class), Part::Open);
            open.min(self.room_bytes(class, want, config))
        };
        let vdevs = self.classes(want).flat_map(|class| self.of(class));
        let smallest = vdevs.map(|vdev| vdev.unit_bytes()).min().unwrap_or(0);
        want.size_bytes <= smallest
            || self.classes(want).map(open).fold(0, u64::saturating_add) < want.all_bytes()
    }

    /// The longest block that would find a place now, were nothing held back.
    pub(crate) fn longest_bytes(&self, class: SpaceClass, config: &Config) -> u64 {
        let want = Want { class, copies: 1, uses_slop: true, ..Want::default() };
        let whole = self.longest_bytes_in(&want, Part::Whole);
        let longest = Want { size_bytes: whole, ..want };
        match class == SpaceClass::Log || self.is_used_up_for(&longest, config) {
            true => whole,
            false => self.longest_bytes_in(&longest, Part::Open),
        }
    }

    fn longest_bytes_in(&self, want: &Want, part: Part) -> u64 {
        let vdevs = self.classes(want).flat_map(|class| self.of(class));
        vdevs.map(|vdev| vdev.longest_bytes_in(part)).max().unwrap_or(0)
    }

    /// What there is where a block found no place.
    pub(crate) fn no_space(&self, want: &Want, config: &Config) -> NoSpace {
        let free = |class| free_bytes_in(self.of(class), Part::Whole);
        let part = match want.class == SpaceClass::Log || self.is_used_up_for(want, config) {
            true => Part::Whole,
            false => Part::Open,
        };
        NoSpace {
            size_bytes: want.size_bytes,
            copies: want.copies,
            free_bytes: self.classes(want).map(free).fold(0, u64::saturating_add),
            largest_bytes: self.longest_bytes_in(want, part),
        }
    }
}

pub(crate) fn size_bytes(vdevs: &[Arc<VdevSpace>]) -> u64 {
    vdevs.iter().map(|vdev| vdev.size_bytes()).fold(0, u64::saturating_add)
}

pub(crate) fn free_bytes_in(vdevs: &[Arc<VdevSpace>], part: Part) -> u64 {
    vdevs.iter().map(|vdev| vdev.free_bytes_in(part)).fold(0, u64::saturating_add)
}
