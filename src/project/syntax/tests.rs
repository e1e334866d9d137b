use super::captures::{KINDS, ROLES};
use super::*;

const ALL: [Language; 4] = [Language::JavaScript, Language::TypeScript, Language::Tsx, Language::Python];

#[test]
fn every_query_compiles() {
    for language in ALL {
        let query = Query::new(&language.grammar(), &language.query_text());
        assert!(query.is_ok(), "{language:?}: {}", query.err().unwrap());
    }
}

#[test]
fn every_capture_has_a_meaning_and_every_meaning_is_captured() {
    let mut used = std::collections::BTreeSet::new();
    for language in ALL {
        let query = Query::new(&language.grammar(), &language.query_text()).unwrap();
        for name in query.capture_names() {
            assert!(Capture::named(name).is_some(), "{language:?} captures `{name}`, which has no meaning");
            used.insert((*name).to_owned());
        }
    }
    let known = KINDS.iter().map(|(name, ..)| *name).chain(ROLES.iter().map(|(name, ..)| *name));
    assert_eq!(known.map(str::to_owned).collect::<std::collections::BTreeSet<_>>(), used);
}

#[test]
fn a_file_with_a_syntax_error_is_read_as_far_as_it_goes() {
    let text = "const a = 'x';\nfunction ( {\nconst b = process.env.REDIS_URL;\n";
    let file = SourceFile::parse("a.ts".into(), text.to_owned()).unwrap();
    assert_eq!(file.error, Some(2));
    let names: Vec<&str> = file.of_kind(Kind::Name).map(|id| file.text(id)).collect();
    assert!(names.contains(&"REDIS_URL"), "{names:?}");
}

#[test]
fn a_node_ends_where_its_last_descendant_ends() {
    let file = SourceFile::parse("a.py".into(), "f(g(1), h(2))\n".to_owned()).unwrap();
    for id in 0..file.end(0) {
        assert!(file.parent(id).is_none_or(|parent| parent < id && file.end(parent) >= file.end(id)));
    }
}

#[test]
fn ten_thousand_brackets_do_not_overflow_the_stack() {
    let text = format!("x = {}1{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(SourceFile::parse("a.py".into(), text).is_some());
}
