//! Scenarios as written, and what becomes of them.

use std::path::PathBuf;
use std::time::Duration;

use rstest::rstest;

use super::{Step, Suites};

fn read(rest: &str) -> Result<Suites, String> {
    let head = "suite = \"mine\"\ntitle = \"What we promise\"\n";
    let text = format!("{head}{rest}");
    Suites::from_texts(&[(PathBuf::from("mine.toml"), text)]).map_err(|error| error.to_string())
}

fn case(observations: &str) -> String {
    format!(
        "[[case]]\nid = \"mine.one\"\ntitle = \"One\"\nlevel = \"must\"\nscenario = {observations}\n\
         expect = {{ documents = \"intact\" }}\nwhy = \"w\"\nremedy = \"r\"\nsource = \"s\"\n"
    )
}

#[test]
fn a_scenario_takes_missing_keys_from_the_defaults() {
    let defaults = "[defaults]\ndocuments = { generated = 3 }\nenv = { A = \"1\", B = \"2\" }\ngrace_s = 1.5\n";
    let suites = read(&format!("{defaults}{}", case("{ env = { B = \"3\" }, workers = 2 }"))).unwrap();
    let scenario = &suites.scenarios["mine.one"];
    assert_eq!((scenario.documents.generated, scenario.workers), (3, Some(2)));
    assert_eq!((&*scenario.env["A"], &*scenario.env["B"]), ("1", "3"));
    assert_eq!((scenario.grace, scenario.steps.as_slice()), (Some(Duration::from_millis(1500)), &[Step::Ingest][..]));
    assert_eq!(
        (scenario.title.as_str(), &scenario.baseline),
        ("One", &None),
        "nothing goes wrong, so it is baseline itself"
    );
}

#[test]
fn a_scenario_with_faults_has_a_baseline_without_them() {
    let fault = "faults = [{ at = \"25%\", worker = \"kill\" }]";
    let suites = read(&case(&format!("{{ documents = {{ generated = 3 }}, workers = 2, {fault} }}"))).unwrap();
    let baseline = suites.scenarios["mine.one"].baseline.clone().unwrap();
    let baseline = &suites.scenarios[&baseline];
    assert_eq!((baseline.documents.generated, baseline.faults.len(), baseline.workers), (3, 0, None));
}

#[rstest]
#[case("{ steps = [] }", "`steps` is empty")]
#[case("{ workers = 0 }", "`workers` is 0")]
#[case("{ faults = [{ at = \"1s\", service = { on = \"qdrant\", fault = \"misconf\" } }] }", "cannot happen to qdrant")]
#[case("{ faults = [{ at = \"1s\", step = 2, worker = \"kill\" }] }", "step 2 of 1")]
#[case("{ fault = [] }", "unknown field `fault`")]
#[case("{ jina = [{ answer = \"bent\" }] }", "unknown variant")]
fn what_makes_no_sense_is_told_with_its_place(#[case] observations: &str, #[case] says: &str) {
    let error = read(&case(observations)).unwrap_err();
    assert!(error.contains(says) && error.contains("mine.toml:"), "{error}");
}
