//! What the built-in cases and causes cite as their source.

use std::fs;
use std::path::Path;

use shakedown::guide::catalogue::{Source, sources};
use shakedown::spec::Suites;

#[test]
fn every_source_of_a_built_in_case_or_cause_is_an_entry_of_the_catalogue_or_a_url() {
    let suites = Suites::builtin().unwrap();
    let mut cited: Vec<(String, String)> =
        suites.cases.iter().map(|case| (case.id.clone(), case.source.clone())).collect();
    for suite in &suites.suites {
        assert!(suites.cases.iter().any(|case| case.suite == suite.name), "{} has no case", suite.name);
    }
    for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/causes")).unwrap() {
        let table: toml::Table = toml::from_str(&fs::read_to_string(file.unwrap().path()).unwrap()).unwrap();
        for cause in table["cause"].as_array().unwrap() {
            cited.push((cause["id"].as_str().unwrap().to_owned(), cause["source"].as_str().unwrap().to_owned()));
        }
    }
    for (cites, source) in cited {
        assert!(sources(&source).next().is_some(), "{cites} has no source");
        for item in sources(&source) {
            assert!(!matches!(item, Source::Text(_)), "{cites} cites {item:?}: neither an entry nor a URL");
        }
    }
}
