//! The pool's key for salted algorithms.

use std::fmt;

/// The pool's 32 random bytes that key the salted algorithms.
///
/// Made once per pool and stored in it. Without it salted blocks cannot be
/// verified, and two pools never share checksums of equal data. `Debug` does
/// not show the bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub [u8; 32]);

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(..)")
    }
}
