//! The fletcher functions: sums of sums, quick and position-sensitive.
//!
//! They catch rot, not malice, and never count as "equal data". An all-zero
//! input has the all-zero checksum, at any length: zeros read from the wrong
//! place pass for an all-zero block.
//!
//! [`Fletcher2`] and [`Fletcher4`] are the incremental states; [`fletcher2`]
//! and [`fletcher4`] do one contiguous slice. Both run on the quickest [`Kernel`]
//! of this CPU; all kernels of a function are compiled from one safe source loop
//! and equal the plain loop bit for bit.

mod arch;
mod four;
mod lanes;
mod sums;
mod two;

pub use arch::Kernel;
pub use four::Fletcher4;
pub use two::Fletcher2;

use crate::{ByteOrder, Checksum};

/// fletcher2 of one slice, words in `order`.
#[must_use]
pub fn fletcher2(order: ByteOrder, data: &[u8]) -> Checksum {
    let mut state = Fletcher2::new(order);
    state.update(data);
    state.finish()
}

/// fletcher4 of one slice, words in `order`.
///
/// ```
/// use checksum::{ByteOrder, Checksum, fletcher::fletcher4};
///
/// // The 32-bit words 1 and 2.
/// let data = [1, 0, 0, 0, 2, 0, 0, 0];
/// assert_eq!(fletcher4(ByteOrder::Little, &data), Checksum([3, 4, 5, 6]));
/// ```
#[must_use]
pub fn fletcher4(order: ByteOrder, data: &[u8]) -> Checksum {
    let mut state = Fletcher4::new(order);
    state.update(data);
    state.finish()
}
