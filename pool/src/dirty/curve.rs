//! The fixed curve of ZFS.

/// Delay of one request as a function of the fill alone (spec 3.10):
///
/// ```text
///  delay ▲                        ┊
/// 100 ms ┤                       ╭┊──
///        │                       │┊              dirty − min
///        │                      ╱ ┊   scale · ───────────────
/// 500 µs ┤               __---´   ┊               max − dirty
///      0 ┼──────────┬─────────┬───┴─▶ dirty, % of its maximum
///        0         60        80  100
/// ```
///
/// ```
/// use pool::dirty::Curve;
/// assert_eq!(Curve::default().delay_ns(80, 100), 500_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Curve {
    /// Percent of the maximum up to which nobody waits: 60.
    pub min_percent: u32,
    /// Delay half way between there and the maximum: 500 µs.
    pub scale_ns: u64,
    /// The longest there is: 100 ms.
    pub delay_ns_max: u64,
}

impl Default for Curve {
    fn default() -> Self {
        Self { min_percent: 60, scale_ns: 500_000, delay_ns_max: 100_000_000 }
    }
}

impl Curve {
    /// How long one request waits at so many dirty bytes.
    pub fn delay_ns(self, dirty_bytes: u64, dirty_bytes_max: u64) -> u64 {
        let (dirty, max) = (u128::from(dirty_bytes), u128::from(dirty_bytes_max));
        let above = dirty.saturating_sub(max * u128::from(self.min_percent) / 100);
        if above == 0 {
            return 0;
        }
        let left = max.saturating_sub(dirty);
        let delay = (u128::from(self.scale_ns) * above).checked_div(left);
        let longest = u128::from(self.delay_ns_max);
        // At most the longest, a u64.
        delay.unwrap_or(longest).min(longest) as u64
    }
}
