//! Which vdevs have enough to do (spec 3.7).

use smallvec::SmallVec;

use crate::vdev_space::VdevSpace;

/// Slower than this part of the fastest: it gets by how fast it drains.
const SLOW_SHARE: u64 = 2;

/// A vdev that is to be passed over while another one has room.
pub(crate) type Crowded = SmallVec<[bool; 8]>;

/// What was seen of one vdev.
#[derive(Clone, Copy, Debug)]
struct Load {
    sent_bytes: u64,
    time_ns: u64,
    full_bytes: u64,
}

/// Which vdevs are to be passed over. `on_turn` is in the middle of its turn.
pub(crate) fn crowded<'a>(
    vdevs: impl ExactSizeIterator<Item = &'a VdevSpace> + Clone,
    aliquot_bytes: u64,
    on_turn: Option<usize>,
) -> Crowded {
    if vdevs.len() < 2 || vdevs.clone().all(|vdev| vdev.drain().sent_bytes() == 0) {
        return SmallVec::from_elem(false, vdevs.len());
    }
    let loads: SmallVec<[Load; 8]> = vdevs
        .map(|vdev| Load {
            sent_bytes: vdev.drain().sent_bytes(),
            time_ns: vdev.drain().time_ns(),
            full_bytes: target_bytes(aliquot_bytes, vdev.free_bytes(), vdev.size_bytes()),
        })
        .collect();
    crowded_of(&loads, on_turn)
}

/// A vdev has enough to do
///
/// * when it is about as fast as the fastest: with a full target under way, unless it is in
///   the middle of its turn, so that runs are as long as the aliquot;
/// * when it takes more than twice as long for a write: with its part, by that time, of all
///   that is under way. Whatever the clients have in flight, little of it stands there. Something
///   always does, so that its time is known.
fn crowded_of(loads: &[Load], on_turn: Option<usize>) -> Crowded {
    let all_bytes = loads.iter().map(|load| load.sent_bytes).fold(0, u64::saturating_add);
    let fastest_ns = loads.iter().map(|load| load.time_ns).filter(|&ns| ns > 0).min().unwrap_or(0);
    let is_crowded = |(index, load): (usize, &Load)| {
        let is_slow = load.time_ns / SLOW_SHARE > fastest_ns;
        if !is_slow {
            return on_turn != Some(index) && load.sent_bytes >= load.full_bytes;
        }
        let whole = u128::from(load.full_bytes.min(all_bytes));
        let part = whole * u128::from(fastest_ns) / u128::from(load.time_ns);
        u128::from(load.sent_bytes) > part
    };
    loads.iter().enumerate().map(is_crowded).collect()
}

/// Bytes under way that are enough for a vdev: 2.5 aliquots up to a quarter
/// full, one from three quarters on (spec 3.7, "later"), in between on a straight line.
fn target_bytes(aliquot_bytes: u64, free_bytes: u64, size_bytes: u64) -> u64 {
    let free_percent = u128::from(free_bytes) * 100 / u128::from(size_bytes.max(1));
    // 25 % free: 100 hundredths of an aliquot; 75 % free: 250.
    let hundredths = 100 + (free_percent.clamp(25, 75) - 25) * 3;
    let target = u128::from(aliquot_bytes) * hundredths / 100;
    u64::try_from(target).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(sent_bytes: u64, time_ns: u64) -> Load {
        Load { sent_bytes, time_ns, full_bytes: 1000 }
    }

    #[test]
    fn targets_are_those_of_the_specification() {
        let target = |free| target_bytes(512 << 10, free, 100);
        assert_eq!([100, 80, 75].map(target), [1280 << 10; 3]);
        assert_eq!([25, 10, 0].map(target), [512 << 10; 3]);
        assert_eq!(target(50), 896 << 10);
    }

    #[test]
    fn a_slow_vdev_gets_its_part() {
        let crowded = |loads: &[Load], on_turn| crowded_of(loads, on_turn).to_vec();
        // Nothing is known yet: up to a full target, and beyond it to the end of the turn.
        assert_eq!(crowded(&[load(999, 0), load(1000, 0)], None), [false, true]);
        assert_eq!(crowded(&[load(999, 0), load(1000, 0)], Some(1)), [false, false]);
        // Twice as long is not slow.
        assert_eq!(crowded(&[load(0, 100), load(999, 200)], None), [false, false]);
        // Ten times is: a tenth of the 110, whoever's turn it is.
        assert_eq!(crowded(&[load(99, 100), load(11, 1000)], Some(1)), [false, false]);
        assert_eq!(crowded(&[load(98, 100), load(12, 1000)], Some(1)), [false, true]);
        // One write at least.
        assert_eq!(crowded(&[load(5, 1), load(0, 1 << 40)], None), [false, false]);
        assert_eq!(crowded(&[load(5, 1), load(1, 1 << 40)], None), [false, true]);
    }
}
