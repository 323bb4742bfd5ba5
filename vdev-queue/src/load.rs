//! How much work stands behind the queue, and what it means for asynchronous writes.

/// What the owner of the dirty data tells the queue now and then.
///
/// The default (`dirty_bytes_max` = 0) means "nothing known": asynchronous writes then have
/// their full limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Bytes accepted from writers and not yet on the device.
    pub dirty_bytes: u64,
    /// Bytes at which writers are made to wait. 0: unknown.
    pub dirty_bytes_max: u64,
    /// Somebody waits for the running commit as a whole.
    pub sync_task_pending: bool,
}

/// The curve from dirty bytes to the limit of active asynchronous writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirtyCurve {
    /// Percent of the dirty maximum below which the limit is the class's minimum.
    pub low_percent: u32,
    /// Percent of the dirty maximum above which the limit is the class's maximum.
    pub high_percent: u32,
}

impl DirtyCurve {
    /// Limit of active asynchronous writes between `active_min` and `active_max` (spec 4.3).
    ///
    /// With the shipped curve (30 %, 60 %) and limits 1 and 10, at a dirty maximum of 4 GiB:
    /// 32 % gives 1, 40 % gives 4, 45 % gives 5, 55 % gives 8, 60 % and more gives 10.
    ///
    /// ```
    /// use vdev_queue::{DirtyCurve, Load};
    /// let curve = DirtyCurve { low_percent: 30, high_percent: 60 };
    /// let at = |dirty_bytes| Load { dirty_bytes, dirty_bytes_max: 1000, sync_task_pending: false };
    /// assert_eq!(curve.limit(at(299), 1, 10), 1);
    /// assert_eq!(curve.limit(at(450), 1, 10), 5);
    /// assert_eq!(curve.limit(at(600), 1, 10), 10);
    /// ```
    pub fn limit(self, load: Load, active_min: u32, active_max: u32) -> u32 {
        if load.sync_task_pending || load.dirty_bytes_max == 0 {
            return active_max;
        }
        let percent_of_max =
            |percent: u32| u128::from(load.dirty_bytes_max) * u128::from(percent) / 100;
        let (low, high) = (percent_of_max(self.low_percent), percent_of_max(self.high_percent));
        let dirty = u128::from(load.dirty_bytes);
        if dirty < low {
            active_min
        } else if dirty >= high {
            // At `high` itself the line below gives the same, unless low = high.
            active_max
        } else {
            let range = u128::from(active_max.saturating_sub(active_min));
            let above_min = (dirty - low) * range / (high - low);
            // Less than `range`, a u32.
            active_min + above_min as u32
        }
    }
}
