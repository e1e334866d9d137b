//! What the built-in cases and diagnoses cite as their source.

use std::fs;
use std::path::Path;

use shakedown::guide::catalogue::{Source, sources};
use shakedown::spec::Suites;

#[test]
fn every_source_of_a_built_in_case_or_diagnosis_is_an_entry_of_the_catalogue_or_a_url() {
    let suites = Suites::builtin().unwrap();
    let mut cited: Vec<(String, String)> =
        suites.cases.iter().map(|case| (case.id.clone(), case.source.clone())).collect();
    for suite in &suites.suites {
        assert!(suites.cases.iter().any(|case| case.suite == suite.name), "{} has no case", suite.name);
    }
    let known = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/diagnosis/known.toml");
    let known: toml::Table = toml::from_str(&fs::read_to_string(known).unwrap()).unwrap();
    for (number, diagnosis) in known["diagnosis"].as_array().unwrap().iter().enumerate() {
        cited.push((format!("diagnosis {number}"), diagnosis["source"].as_str().unwrap().to_owned()));
    }
    for (cites, source) in cited {
        assert!(sources(&source).next().is_some(), "{cites} has no source");
        for item in sources(&source) {
            assert!(!matches!(item, Source::Text(_)), "{cites} cites {item:?}: neither an entry nor a URL");
        }
    }
}
