//! Keys and words of suites that have a new name. A suite that uses an old one is refused, and the error names the
//! new one.

/// Old name and new name of every renamed key or word, grouped by where suites use it.
const RENAMED: &str = include_str!("renamed.tsv");

/// The rows of the table.
fn rows() -> impl Iterator<Item = (&'static str, &'static str)> {
    RENAMED.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('\t'))
}

/// What to write instead of `word`, if it is an old name.
pub(super) fn hint(word: &str) -> Option<String> {
    rows().find(|(old, _)| *old == word).map(|(old, new)| format!("`{old}` is now `{new}`"))
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
        let probe = |kind: &str, yields: &str| {
            suite("", "", "", "").replace("scenario = {  }", &format!("probe.{kind} = {{ yields = \"{yields}\" }}"))
        };
        vec![
            suite(&format!("[{old}]\n"), "", "", ""),
            suite("", &format!("{old} = [\"a\"]\n"), "", ""),
            suite("", "", &format!("steps = [\"{old}\"]"), ""),
            suite("", "", &format!("documents = {{ {old} = 1 }}"), ""),
            suite("", "", &format!("faults = [{{ at = \"1s\", {old}.worker = \"kill\" }}]"), ""),
            suite("", "", "", &format!(", {old} = 1")),
            probe("queue-state", old),
            probe("search", old),
        ]
    }

    #[test]
    fn an_old_name_is_refused_with_the_new_one_wherever_it_stands() {
        for (old, new) in rows() {
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
        for (_, new) in rows() {
            for new in new.split("`, `").flat_map(|new| new.split("` or `")) {
                assert!(hint(new).is_none(), "{new} is an old name too");
            }
        }
    }
}
