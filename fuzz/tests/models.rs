//! The slow decoders against examples worked by hand.

use fuzz::models::{lz4, lzjb, zle};

#[test]
fn zle_runs() {
    // Three literals, ten zeros, one literal.
    let payload = [2, 1, 2, 3, 64 + 9, 0, 4];
    let block = [1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4];
    assert_eq!(zle(&payload, 14).as_deref(), Some(&block[..]));
    assert_eq!(zle(&payload, 3).as_deref(), Some(&block[..3]), "ends where the output is full");
    assert_eq!(zle(&payload, 12), None, "a run that does not fit");
    assert_eq!(zle(&payload, 15), None, "the input ends");
    assert_eq!(zle(&payload[..2], 3), None, "literals that are not there");
}

#[test]
fn lzjb_groups() {
    // Three literals, then a match of five (2 above the least) three back.
    let payload = [0b1000, b'a', b'b', b'c', 2 << 2, 3];
    assert_eq!(lzjb(&payload, 8).as_deref(), Some(&b"abcabcab"[..]));
    assert_eq!(lzjb(&payload, 6).as_deref(), Some(&b"abcabc"[..]), "the last match is cut");
    assert_eq!(lzjb(&payload, 9), None, "the input ends");
    assert_eq!(lzjb(&[1, 0, 0], 3), None, "distance 0");
    assert_eq!(lzjb(&[0b10, b'a', 0, 2], 4), None, "before the beginning");
}

#[test]
fn lz4_sequences() {
    // Literals "ab", a match of six two back, then the last literal.
    let payload = [0, 0, 0, 7, 0x22, b'a', b'b', 2, 0, 0x10, b'c', 99, 99];
    assert_eq!(lz4(&payload, 9).as_deref(), Some(&b"ababababc"[..]));
    assert_eq!(lz4(&payload, 8), None);
    assert_eq!(lz4(&payload, 10), None);
    assert_eq!(lz4(&payload[..10], 9), None, "the length is a lie");
    // A run of 15 + 255 + 1 literals.
    let long = [&[0, 0, 1, 18, 0xf0, 255, 1][..], &[b'x'; 271]].concat();
    assert_eq!(lz4(&long, 271).as_deref(), Some(&[b'x'; 271][..]));
    assert_eq!(lz4(&[0, 0, 0, 4, 0x10, b'a', 2, 0], 5), None, "before the beginning");
    assert_eq!(lz4(&[0, 0, 0, 4, 0x10, b'a', 0, 0], 5), None, "distance 0");
}
