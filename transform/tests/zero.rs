//! The all-zero test, exhaustively over small lengths, alignments and positions.

use transform::is_zero;

#[test]
fn every_length_alignment_and_position() {
    let mut bytes = [0u8; 16 + 600];
    for start in 0..16 {
        for len in 0..=600 {
            assert!(is_zero(&bytes[start..start + len]), "{start} {len}");
        }
        for len in [1, 2, 7, 8, 63, 64, 127, 128, 129, 255, 256, 300, 600] {
            for at in 0..len {
                bytes[start + at] = 1 << (at % 8);
                assert!(!is_zero(&bytes[start..start + len]), "{start} {len} {at}");
                // The byte just outside does not count.
                assert!(is_zero(&bytes[start..start + at]), "{start} {len} {at}");
                bytes[start + at] = 0;
            }
        }
    }
}

#[test]
fn every_position_of_a_large_block() {
    let mut block = vec![0u8; 128 << 10];
    assert!(is_zero(&block));
    for at in (0..block.len()).step_by(61) {
        block[at] = 0x80;
        assert!(!is_zero(&block), "{at}");
        block[at] = 0;
    }
}
