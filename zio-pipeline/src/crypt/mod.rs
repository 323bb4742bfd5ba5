//! Encryption on the way of a block (spec 1.14, 1.15).
//!
//! Reads decrypt, or authenticate, when all else is done: what is verified,
//! healed and shared is the stored form, for which nobody needs a key. Writes
//! encrypt after compression and before the checksum.
//!
//! Where the crate is built without the feature `crypt`, such blocks are refused by name,
//! and can still be read [raw](crate::Read::raw).

#[cfg(feature = "crypt")]
mod keys;
#[cfg(feature = "crypt")]
mod read;
#[cfg(feature = "crypt")]
mod write;

#[cfg(feature = "crypt")]
pub use keys::DatasetKeys;
#[cfg(feature = "crypt")]
pub(crate) use keys::{Entropy, Keys};
#[cfg(feature = "crypt")]
pub(crate) use read::prepare as prepare_read;
#[cfg(feature = "crypt")]
pub(crate) use write::Encrypt;

#[cfg(not(feature = "crypt"))]
pub(crate) use without::{Keys, prepare_read};

use zio_core::bp::OBJECT_TYPE_OBJSET;
use zio_core::{Error, ErrorKind, WriteProps};

/// Object types whose blocks are encrypted in parts: log blocks and dnodes.
const PARTLY_ENCRYPTED: [u8; 2] = [9, 10];

/// Can a block with these properties be encrypted, or authenticated, as they ask?
///
/// # Errors
/// [`ErrorKind::Invalid`] for what goes against the format, [`ErrorKind::Unsupported`] for
/// what this crate does not do.
pub(crate) fn check(props: &WriteProps) -> Result<(), Error> {
    let refuse = |kind, why: &str| Err(Error::msg(kind, format!("encrypted, and {why}")));
    if !props.encrypt {
        Ok(())
    } else if cfg!(not(feature = "crypt")) {
        refuse(ErrorKind::Unsupported, "the crate was built without encryption")
    } else if props.copies > 2 {
        refuse(ErrorKind::Invalid, "in three copies: salt and IV take the third's place")
    } else if props.dedup {
        refuse(ErrorKind::Unsupported, "shared: no two encrypted blocks are equal")
    } else if props.level > 0 || props.object_type == OBJECT_TYPE_OBJSET {
        refuse(ErrorKind::Unsupported, "a parent: its MAC covers those of its children")
    } else if PARTLY_ENCRYPTED.contains(&props.object_type) {
        refuse(ErrorKind::Unsupported, "a log block or dnode: parts of these stay in plain")
    } else {
        Ok(())
    }
}

/// What stands in for the keys in a build that has no use for any.
#[cfg(not(feature = "crypt"))]
mod without {
    use zio_core::{Error, ErrorKind, Zio};

    use crate::shared::Shared;

    /// No keys.
    #[derive(Debug, Default)]
    pub(crate) struct Keys;

    impl Keys {
        fn refuse(&self) -> Error {
            let why = "an encrypted block, and the crate was built without encryption";
            Error::msg(ErrorKind::Unsupported, why)
        }
    }

    /// # Errors
    /// [`ErrorKind::Unsupported`] where a key would be wanted.
    pub(crate) fn prepare_read(shared: &Shared, zio: &mut Zio) -> Result<(), Error> {
        let wanted = zio.bp.is_encrypted() || zio.bp.is_authenticated();
        if wanted { Err(shared.keys.refuse()) } else { Ok(()) }
    }
}
