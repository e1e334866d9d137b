//! The tables of the documentation that are generated from code and suites.

use std::collections::BTreeSet;
use std::fs;

use regex::Regex;
use serde_json::Value;
use shakedown::settings::{Secrecy, TABLE, process_variable};
use shakedown::spec::{Case, Suites};

use super::{pages, root, schema, text};

/// Names and descriptions of the variants or properties of a schema.
fn rows(schema: &Value) -> Vec<(String, String)> {
    let description = |value: &Value| -> String {
        let text = value["description"].as_str().unwrap_or_default();
        // A link of rustdoc leads nowhere in the guide.
        text.replace("[`", "`").replace("`]", "`")
    };
    let mut rows = Vec::new();
    for variant in schema["oneOf"].as_array().into_iter().flatten() {
        let names: Vec<String> = match (&variant["const"], &variant["enum"], &variant["properties"]) {
            (Value::String(name), ..) => vec![name.clone()],
            (_, Value::Array(names), _) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            (.., Value::Object(properties)) => properties
                .iter()
                .map(|(name, value)| {
                    let keys: Vec<&str> =
                        value["properties"].as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
                    if keys.is_empty() { name.clone() } else { format!("{name} = {{ {} }}", keys.join(", ")) }
                })
                .collect(),
            _ => Vec::new(),
        };
        rows.extend(names.into_iter().map(|name| (name, description(variant))));
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        rows.push((name.clone(), description(property)));
    }
    rows
}

fn table(head: [&str; 2], rows: &[(String, String)]) -> String {
    wide_table(head, rows.iter().map(|(name, description)| [format!("`{name}`"), description.clone()]))
}

fn exit_codes() -> String {
    let source = text(&root().join("src/outcome/exit.rs"));
    let code = Regex::new(r"(?m)^    /// (\d+): (.+)\.$").unwrap();
    let rows: Vec<(String, String)> =
        code.captures_iter(&source).map(|found| (found[1].to_owned(), found[2].to_owned())).collect();
    assert!(rows.len() >= 6, "{rows:?}");
    table(["code", "meaning"], &rows)
}

/// The tables that stand between `<!-- generated: NAME -->` and `<!-- end -->` in the guide.
fn generated(name: &str) -> String {
    let suite = schema("suite");
    let of = |definition: &str| rows(&suite["$defs"][definition]);
    match name {
        "faults" => {
            let parts = [
                ("Network", "NetworkFault"),
                ("Service", "ServiceFault"),
                ("Worker", "WorkerFault"),
                ("Answers of the embeddings API", "Answer"),
            ];
            parts
                .map(|(title, definition)| format!("### {title}\n\n{}", table(["fault", "effect"], &of(definition))))
                .join("\n")
        }
        "premises" => format!(
            "{}\n### States of the pipeline\n\n{}",
            table(["premise", "what must have been seen"], &of("Premise")),
            table(["state", "meaning"], &of("Work"))
        ),
        "expectations" => table(["key", "what must hold"], &expected(&suite, true)),
        "matchers" => table(["key", "what must hold"], &expected(&suite, false)),
        "exit-codes" => exit_codes(),
        "report-fields" => {
            let report = schema("report");
            let parts = [
                ("Report", &report),
                ("Case", &report["$defs"]["CaseRecord"]),
                ("Cause", &report["$defs"]["Cause"]),
                ("Timeline", &report["$defs"]["Timeline"]),
            ];
            parts
                .map(|(title, schema)| format!("### {title}\n\n{}", table(["field", "meaning"], &rows(schema))))
                .join("\n")
        }
        "cases" => cases(),
        "variables" => variables(),
        other => panic!("no generated table is called {other}"),
    }
}

/// A table with these columns.
fn wide_table<const COLUMNS: usize>(
    head: [&str; COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut table = line(&head.map(str::to_owned)) + "|" + &"---|".repeat(COLUMNS) + "\n";
    for row in rows {
        table.push_str(&line(&row.map(|cell| cell.replace('|', "\\|").replace('\n', " "))));
    }
    table
}

/// What a case needs: capabilities of the stack, and flags of the command that runs it.
fn needs(case: &Case) -> String {
    let capabilities = case.needs.iter().map(|need| need.word());
    let flags = [(case.is_slow(), "`--slow`"), (case.is_by_name(), "its name"), (case.spends, "spends tokens")];
    capabilities
        .chain(flags.into_iter().filter(|(holds, _)| *holds).map(|(_, flag)| flag))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Every built-in case, suite by suite.
fn cases() -> String {
    let suites = Suites::builtin().unwrap();
    let row = |case: &Case| {
        let verbs = case.verbs.iter().map(|verb| verb.word()).collect::<Vec<_>>().join(", ");
        [format!("`{}`", case.id), case.level.to_string(), case.title.clone(), verbs, needs(case)]
    };
    let table = |name: &str| {
        let cases = suites.cases.iter().filter(|case| case.suite == name);
        wide_table(["case", "level", "requirement", "run by", "needs"], cases.map(|case| row(case)))
    };
    let parts = suites.suites.iter().map(|suite| {
        format!("## {}\n\nSuite `{}`, {} cases.\n\n{}", suite.title, suite.name, suite.cases.len(), table(&suite.name))
    });
    format!(
        "{} cases in {} suites.\n\n{}",
        suites.cases.len(),
        suites.suites.len(),
        parts.collect::<Vec<_>>().join("\n")
    )
}

/// Every environment variable, group by group.
fn variables() -> String {
    let mut groups: Vec<(&str, Vec<[String; 4]>)> = Vec::new();
    for entry in TABLE.iter().filter(|entry| !entry.hidden) {
        let default = match (entry.default, entry.otherwise) {
            (Some(default), _) => format!("`{default}`"),
            (None, Some(otherwise)) => otherwise.to_owned(),
            (None, None) => "required".to_owned(),
        };
        let secret = match entry.secrecy {
            Secrecy::No => "no",
            Secrecy::Password => "its password",
            Secrecy::Yes => "yes",
        };
        let row = [format!("`{}`", entry.name), entry.meaning.to_owned(), default, secret.to_owned()];
        match groups.last_mut() {
            Some((group, rows)) if *group == entry.group => rows.push(row),
            _ => groups.push((entry.group, vec![row])),
        }
    }
    let section = |(group, rows): (&str, Vec<[String; 4]>)| {
        format!("## {group}\n\n{}", wide_table(["variable", "meaning", "default", "secret"], rows))
    };
    groups.into_iter().map(section).collect::<Vec<_>>().join("\n")
}

/// The keys of `expect`: those of scenarios or those of probes.
fn expected(suite: &Value, of_scenarios: bool) -> Vec<(String, String)> {
    const OF_PROBES: [&str; 14] = [
        "answers",
        "refused",
        "or_denied",
        "equals",
        "not_equals",
        "one_of",
        "matches",
        "not_matches",
        "contains",
        "at_least",
        "at_most",
        "version_at_least",
        "empty",
        "exists",
    ];
    let all = rows(&suite["$defs"]["Expect"]);
    assert!(all.len() > 50, "{all:?}");
    all.into_iter().filter(|(name, _)| OF_PROBES.contains(&name.as_str()) != of_scenarios).collect()
}

#[test]
fn tables_are_what_the_code_says() {
    let write = process_variable("WRITE_DOCS").is_some();
    let block = Regex::new(r"(?s)<!-- generated: ([a-z-]+) -->\n.*?<!-- end -->").unwrap();
    let mut stale = Vec::new();
    let mut names = BTreeSet::new();
    for page in pages() {
        let old = text(&page);
        let new = block.replace_all(&old, |found: &regex::Captures<'_>| {
            names.insert(found[1].to_owned());
            format!("<!-- generated: {} -->\n{}<!-- end -->", &found[1], generated(&found[1]))
        });
        if new != old {
            if write {
                fs::write(&page, new.as_ref()).unwrap();
            } else {
                stale.push(page.display().to_string());
            }
        }
    }
    assert_eq!(stale, Vec::<String>::new(), "write them anew with: scripts/check/schema --write");
    let wanted =
        ["cases", "exit-codes", "expectations", "faults", "matchers", "premises", "report-fields", "variables"];
    assert_eq!(names, BTreeSet::from(wanted.map(str::to_owned)));
}
