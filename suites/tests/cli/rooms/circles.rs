//! No two files of `src` import each other: each can be read without the other.

use std::fs;
use std::path::Path;

use super::modules::Modules;

#[test]
fn no_two_files_import_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let circles = ["src/lib.rs", "src/qdrant/src/lib.rs"].map(|crate_root| circles(&root.join(crate_root))).concat();
    let remedy = "move what both need to a file of its own, or pass it in";
    assert!(circles.is_empty(), "these files import each other; {remedy}:\n{}", circles.join("\n"));
}

/// The pairs of files that import each other in the crate with this root, relative to it.
fn circles(crate_root: &Path) -> Vec<String> {
    let directory = crate_root.parent().unwrap();
    let modules = Modules::read(crate_root);
    let imported = modules.imported_files();
    let edges = imported.iter().flat_map(|(file, others)| others.iter().map(move |other| (*file, *other)));
    let circles = edges.filter(|(file, other)| file < other && imported[other].contains(file));
    let name = |file: &Path| file.strip_prefix(directory).unwrap().display().to_string();
    circles.map(|(file, other)| format!("{} and {}", name(file), name(other))).collect()
}

/// The circles of a crate that has these files.
fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    circles(&directory.path().join("lib.rs"))
}

#[test]
fn files_that_import_each_other_are_found_through_braces_aliases_paths_and_globs() {
    for imports in [
        "use crate::b::Right;",
        "use super::{b::{self as other, Right}, c};",
        "use crate::{c, b::Right as Other};",
        "use super::b;",
        "pub(crate) use super::b::Right; fn own(_: Right) {}",
        "fn far() -> crate::b::Right { todo!() }",
        "use crate::c::*; fn far() { b::Right::new(); }",
        "mod inline { use super::super::b::Right; }",
    ] {
        let files = [
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", &format!("{imports} pub struct Left;")),
            ("c.rs", "pub use super::b;"),
            ("b.rs", "use super::a::Left; pub struct Right;"),
        ];
        assert_eq!(circles_of(&files), ["a.rs and b.rs"], "{imports}");
    }
}

#[test]
fn a_module_and_its_child_are_a_circle_if_each_uses_what_the_other_defines() {
    let child = ("a/child.rs", "use super::Own; pub struct Part; pub fn run() {}");
    for (parent, is_circle) in [
        ("mod child; use child::Part; struct Own;", true),
        ("mod child; pub use child::Part; struct Own(Part);", true),
        ("mod child; pub use child::Part; struct Own;", false),
        ("mod child; struct Own; fn all() { child::run(); }", false),
        ("mod child; mod own; pub use own::Own; use child::Part;", false),
    ] {
        let files = [("lib.rs", "mod a;"), ("a/mod.rs", parent), ("a/own.rs", "pub struct Own;"), child];
        let wanted: &[&str] = if is_circle { &["a/child.rs and a/mod.rs"] } else { &[] };
        assert_eq!(circles_of(&files), wanted, "{parent}");
    }
}

#[test]
fn imports_of_tests_alone_are_not_a_circle() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "pub struct Left; #[cfg(test)] mod tests { use crate::b::Right; }"),
        ("b.rs", "use super::a::Left; pub struct Right;"),
    ];
    assert_eq!(circles_of(&files), Vec::<String>::new());
}
