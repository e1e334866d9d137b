//! Values that requests of both protocols are made of: mostly ordinary ones, and the hostile ones.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// The collections that exist most of the time.
pub(crate) const COLLECTIONS: [&str; 3] = ["plain", "named", "indexed"];
/// Fields of payloads.
const FIELDS: [&str; 13] = ["a", "n", "f", "text", "place", "at", "u", "b", "b.c", "b.c[].d", "b.c[0].d", "l[]", "x.y"];
/// Names of vectors.
const VECTORS: [&str; 6] = ["", "dense", "multi", "sparse", "added", "other"];
/// Levels of nesting around the limits of this server and of its decoders.
const LEVELS: [usize; 14] = [2, 5, 20, 30, 31, 32, 33, 48, 62, 64, 66, 98, 126, 400];

/// One of `items`.
pub(crate) fn one<'a, T: ?Sized>(rng: &mut StdRng, items: &[&'a T]) -> &'a T {
    items.choose(rng).expect("items")
}

/// The name of a collection: mostly of one that exists.
pub(crate) fn collection(rng: &mut StdRng) -> String {
    match rng.random_range(0..40) {
        0 => "missing".to_owned(),
        1 => "alias".to_owned(),
        2 => "x".repeat(255),
        3 => one(rng, &["größe", "a b", "%", "a.b", "c"]).to_owned(),
        4 => text(rng),
        _ => one(rng, &COLLECTIONS).to_owned(),
    }
}

/// A path in a payload.
pub(crate) fn field(rng: &mut StdRng) -> String {
    if rng.random_bool(0.9) { one(rng, &FIELDS).to_owned() } else { text(rng) }
}

/// The name of a vector.
pub(crate) fn vector_name(rng: &mut StdRng) -> String {
    if rng.random_bool(0.9) { one(rng, &VECTORS).to_owned() } else { text(rng) }
}

/// A hostile text.
pub(crate) fn text(rng: &mut StdRng) -> String {
    match rng.random_range(0..13) {
        0 => String::new(),
        1 => "x".repeat(one(rng, &[&200_usize, &255, &256, &5_000]).to_owned()),
        2 => "ä".repeat(128),
        3 => "\0".to_owned(),
        4 => one(rng, &["..", ".", "/", "../../x", "a/b", "\\", "?", "a\"b", "'", "${x}", "a\u{202e}b", "\u{1f}"])
            .to_owned(),
        5 => vec!["a"; one(rng, &[&30_usize, &64, &65, &3_000]).to_owned()].join("."),
        6 => format!("a{}", "[]".repeat(100)),
        7 => "a[18446744073709551615]".to_owned(),
        8 => "550e8400-e29b-41d4-a716-446655440000".to_owned(),
        9 => one(rng, &["2026-01-01T00:00:00Z", "2026-13-45", "-262144-01-01T00:00:00Z", "9999-12-31"]).to_owned(),
        10 => one(rng, &["$score", "$score[7]", "$score[99999999999]", "$", "1", "-1", "NaN"]).to_owned(),
        11 => one(rng, &["x.snapshot", "x.snapshot.checksum", "http://127.0.0.1:1/", "file:///etc/passwd"]).to_owned(),
        _ => one(rng, &FIELDS).to_owned(),
    }
}

/// A whole number: mostly a small one.
pub(crate) fn whole(rng: &mut StdRng) -> u64 {
    if rng.random_bool(0.8) {
        return rng.random_range(0..20);
    }
    let limits = [
        255,
        256,
        1_000,
        65_535,
        65_536,
        65_537,
        1 << 31,
        (1 << 32) - 1,
        1 << 32,
        1 << 53,
        1 << 62,
        i64::MAX as u64,
        u64::MAX,
    ];
    *limits.choose(rng).expect("limits")
}

/// A number: mostly a small one.
pub(crate) fn number(rng: &mut StdRng) -> f64 {
    if rng.random_bool(0.9) {
        return rng.random_range(-2.0..2.0);
    }
    let limits = [0.0, -0.0, 1e-320, 1e-40, 3.5e38, -3.5e38, 1e308, f64::MAX, 0.1, 1.0, 100.0, 1e18];
    *limits.choose(rng).expect("limits")
}

/// How deep to nest something.
pub(crate) fn levels(rng: &mut StdRng) -> usize {
    *LEVELS.choose(rng).expect("levels")
}

/// Changes some bytes.
pub(crate) fn damage(rng: &mut StdRng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.random_range(1..4) {
        let place = rng.random_range(0..=bytes.len());
        match rng.random_range(0..4) {
            0 => bytes.truncate(place),
            1 => bytes.insert(place, rng.random()),
            2 if place < bytes.len() => bytes[place] ^= 1 << rng.random_range(0..8),
            2 => {}
            _ => {
                let open = one(rng, &["[", "{\"a\":", "{\"must\":[", "\x0a\x02", "\""]);
                let many = open.repeat(rng.random_range(1..10_000));
                bytes.splice(place..place, many.bytes());
            }
        }
    }
}
