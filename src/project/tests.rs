//! The bounds of reading.

use super::sources::Sources;

#[test]
fn reading_stops_at_its_bound_and_says_where() {
    let directory = tempfile::tempdir().unwrap();
    for number in 0..30 {
        std::fs::write(directory.path().join(format!("{number:02}.js")), "process.env.X").unwrap();
    }
    let sources = Sources::read_within(directory.path(), 20).unwrap();
    assert_eq!(sources.files.len(), 20);
    assert_eq!(
        sources.notes,
        ["there are more than 20 files: reading stopped at 20.js; name the directory of the worker alone"]
    );
}
