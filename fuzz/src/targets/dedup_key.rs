//! `dedup_key`: 40 bytes that name a block's contents.

use std::io::{Write as _, sink};

use ddt::Key;

use crate::input::Input;

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    let bytes: [u8; Key::BYTES] = Input::new(data).array();
    match Key::from_bytes(&bytes) {
        Ok(key) => {
            assert_eq!(key.to_bytes(), bytes, "{key:?}");
            let (lsize, psize) = (key.lsize_bytes(), key.psize_bytes());
            let parts = Key::new(key.checksum(), lsize, psize, key.compression(), key.crypt());
            assert_eq!(parts, Ok(key), "its parts make another key");
            assert_eq!(Key::from_words(key.checksum(), key.props()), Ok(key));
        }
        Err(error) => write!(sink(), "{error}").expect("a sink takes everything"),
    }
}
