//! Keys and words of suites that have a new name. A suite that uses an old one is refused, and the error names the
//! new one.

/// One renamed key or word.
struct Renamed {
    /// What older suites say.
    old: &'static str,
    /// What to write instead.
    new: &'static str,
}

const fn row(old: &'static str, new: &'static str) -> Renamed {
    Renamed { old, new }
}

/// Every renamed key or word, grouped by where suites use it.
const RENAMED: &[Renamed] = &[
    // Tables of a suite.
    row("usual", "defaults"),
    // Keys of a case.
    row("voyage", "scenario"),
    row("among", "documents_matching"),
    // Keys of a fault: `breaks.network = { … }` is now `network = { … }`.
    row("breaks", "network`, `service`, `jina` or `worker"),
    // Expectations.
    row("ledger", "documents = \"intact\""),
    row("attempts_at_most", "max_attempts"),
    row("executions_at_most", "max_executions"),
    row("return_bytes_at_most", "max_return_bytes"),
    row("notes_bytes_at_most", "max_notes_bytes"),
    row("memory_mib", "max_memory_mib"),
    row("calls_per_s", "max_calls_per_s"),
    row("probes_per_s", "max_probes_per_s"),
    row("duplicates", "max_duplicates"),
    row("texts_per_request", "max_texts_per_request"),
    row("requests_in_flight", "max_requests_in_flight"),
    row("tokens_wasted", "max_tokens_wasted"),
    row("connections_at_once", "max_connections"),
    row("connections_made", "max_connections_made"),
    row("idle_transaction_ms", "max_idle_transaction_ms"),
    row("recovered_within_s", "max_recovery_s"),
    row("failures_told", "failed_rows_marked"),
    row("outcomes_told", "row_status_matches_job"),
    row("former_kept", "previous_version_kept"),
    row("others_untouched", "other_documents_unchanged"),
    row("never_emptied", "points_never_drop"),
    row("nothing_done", "nothing_completed"),
    row("rows_last", "row_after_points"),
    row("no_stale_tail", "no_stale_chunks"),
    row("poison_isolated", "only_rejected_fail"),
    // Steps of a scenario.
    row("amend", "edit"),
    row("shorten", "truncate"),
    row("rest", "idle"),
    // Keys of `documents`.
    row("vast", "sized"),
    row("vast_mb", "sized_mb"),
    row("namesakes", "similar_ids"),
    row("poison", "rejected"),
    row("poison_late", "rejected_late"),
];

/// What to write instead of `word`, if it is an old name.
pub(super) fn hint(word: &str) -> Option<String> {
    RENAMED.iter().find(|renamed| renamed.old == word).map(|Renamed { old, new }| format!("`{old}` is now `{new}`"))
}

/// `message` of the TOML reader; or, if it complains about an old name, what to write instead.
pub(super) fn explain(message: &str) -> String {
    let unknown = ["unknown field `", "unknown variant `"].iter().find_map(|start| message.strip_prefix(start));
    let word = unknown.and_then(|rest| rest.split('`').next());
    word.and_then(hint).unwrap_or_else(|| message.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::spec::Suites;

    /// A suite with `old` at each place where a suite may have a key or a word of this kind.
    fn suites_with(old: &str) -> Vec<String> {
        let suite = |suite: &str, case: &str, scenario: &str, expect: &str| {
            format!(
                "suite = \"mine\"\ntitle = \"t\"\n{suite}[[case]]\nid = \"mine.one\"\ntitle = \"t\"\nlevel = \"must\"\n\
                 {case}scenario = {{ {scenario} }}\nexpect = {{ delivered = \"all\"{expect} }}\nwhy = \"w\"\n\
                 remedy = \"r\"\nsource = \"s\"\n"
            )
        };
        vec![
            suite(&format!("[{old}]\n"), "", "", ""),
            suite("", &format!("{old} = [\"a\"]\n"), "", ""),
            suite("", "", &format!("steps = [\"{old}\"]"), ""),
            suite("", "", &format!("documents = {{ {old} = 1 }}"), ""),
            suite("", "", &format!("faults = [{{ at = \"1s\", {old}.worker = \"kill\" }}]"), ""),
            suite("", "", "", &format!(", {old} = 1")),
        ]
    }

    #[test]
    fn an_old_name_is_refused_with_the_new_one_wherever_it_stands() {
        for Renamed { old, new } in RENAMED {
            for text in suites_with(old) {
                let error = Suites::from_texts(&[(PathBuf::from("mine.toml"), text.clone())]).unwrap_err().to_string();
                assert!(error.contains(&format!("`{old}` is now `{new}`")), "{error}");
                let offset = text.find(old).unwrap();
                let line = text[..offset].matches('\n').count() + 1;
                assert!(error.starts_with(&format!("mine.toml:{line}:")), "{error}\n{text}");
            }
        }
    }

    #[test]
    fn new_names_are_known() {
        for Renamed { new, .. } in RENAMED {
            for new in new.split("`, `").flat_map(|new| new.split("` or `")) {
                assert!(hint(new).is_none(), "{new} is an old name too");
            }
        }
    }
}
