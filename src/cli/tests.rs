//! What users read must be words: no Debug form of a type in help, explanations or reports.

use clap::{Command, CommandFactory as _};
use regex::Regex;

use super::Cli;
use crate::report::{Format, html, write};
use crate::spec::{Case, Suites};

/// The Debug forms of options, results, structs and enums with fields.
fn debug_forms() -> Vec<Regex> {
    [r"\b(Some|Ok|Err)\(", r"\bNone\b", r"\b[A-Z][a-z]+([A-Z][a-z]+)*\(", r"\b[A-Z][a-z]+([A-Z][a-z]+)* \{ "]
        .map(|pattern| Regex::new(pattern).unwrap())
        .into()
}

fn assert_has_no_debug_form(what: &str, text: &str) {
    for form in debug_forms() {
        let found = text.lines().find(|line| form.is_match(line));
        assert!(found.is_none(), "{what} has a Debug form ({form}): {}", found.unwrap_or_default());
    }
}

fn every_help(command: &mut Command, name: &str, texts: &mut Vec<(String, String)>) {
    texts.push((name.to_owned(), command.render_long_help().to_string()));
    for verb in command.get_subcommands_mut() {
        let name = format!("{name} {}", verb.get_name());
        every_help(verb, &name, texts);
    }
}

#[test]
fn help_and_reports_have_no_debug_form() {
    let mut texts = Vec::new();
    every_help(&mut Cli::command(), "shakedown", &mut texts);
    assert!(texts.len() > 30, "there are too few verbs: {}", texts.len());
    // Style and script are not text.
    let code = Regex::new(r"(?s)<(style|script)>.*?</(style|script)>").unwrap();
    for report in [crate::report::tests::every_verdict(), crate::report::tests::wordy()] {
        for format in [Format::Terminal, Format::Short, Format::Junit, Format::Markdown] {
            let mut out = Vec::new();
            write(&report, format, false, 100, &mut out).unwrap();
            texts.push((format.to_string(), String::from_utf8(out).unwrap()));
        }
        let mut out = Vec::new();
        html::render(&report, &mut out).unwrap();
        let page = String::from_utf8(out).unwrap();
        texts.push(("html".to_owned(), code.replace_all(&page, "").into_owned()));
        let mut out = Vec::new();
        crate::report::annotations::render(&report, &mut out).unwrap();
        texts.push(("annotations".to_owned(), String::from_utf8(out).unwrap()));
    }
    for (what, text) in &texts {
        assert_has_no_debug_form(what, text);
    }
}

#[test]
fn explanations_have_no_debug_form() {
    let suites = Suites::builtin().unwrap();
    let cases: Vec<&Case> = suites.cases.iter().map(AsRef::as_ref).collect();
    for case in &cases {
        assert_has_no_debug_form(&case.id, &super::explain::explain(case, &suites));
    }
    assert_has_no_debug_form("explain --all", &super::explain::page(&cases, &suites));
}

#[test]
fn the_search_finds_debug_forms_and_leaves_words_alone() {
    let finds = |text: &str| debug_forms().iter().any(|form| form.is_match(text));
    for form in ["Some(3)", "is None", "RecoveredWithin(30)", "Tcp { port: 1 }", "Err(\"x\")"] {
        assert!(finds(form), "{form}");
    }
    for words in ["BullMQ (version 5)", "some (of them)", "{ name = \"x\" }", "Retry-After", "GitHub"] {
        assert!(!finds(words), "{words}");
    }
}
