//! Which statements run inside a transaction.

/// Whether a statement may run inside a transaction.
pub(super) fn runs_in_a_transaction(statement: &str) -> bool {
    let words: Vec<String> = strip_comments(statement)
        .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .filter(|word| !word.is_empty())
        .take(6)
        .map(str::to_lowercase)
        .collect();
    !OUTSIDE_TRANSACTION.iter().any(|alone| {
        let begins = alone.split(' ').zip(&words).all(|(wanted, word)| wanted == "*" || wanted == word);
        begins && words.len() >= alone.split(' ').count()
    })
}

/// Beginnings of statements that cannot run inside a transaction, or that begin or end one; `*` is any word (PostgreSQL
/// documentation, the notes on each command).
const OUTSIDE_TRANSACTION: &[&str] = &[
    "abort",
    "alter system",
    "begin",
    "commit",
    "cluster",
    "create database",
    "create index concurrently",
    "create subscription",
    "create tablespace",
    "create unique index concurrently",
    "drop database",
    "drop index concurrently",
    "drop subscription",
    "drop tablespace",
    "end",
    "reindex * concurrently",
    "reindex database",
    "reindex system",
    "rollback",
    "savepoint",
    "start transaction",
    "vacuum",
];

/// A statement without the comments before it.
fn strip_comments(statement: &str) -> &str {
    let mut rest = statement.trim_start();
    loop {
        let next = if rest.starts_with("--") {
            rest.find('\n').map_or("", |end| &rest[end..])
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or("", |end| &rest[end + 2..])
        } else {
            return rest;
        };
        rest = next.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("create index concurrently a on b (c)", false)]
    #[case("-- now\ncreate unique index concurrently a on b (c)", false)]
    #[case("/* now */ drop index concurrently a", false)]
    #[case("reindex table concurrently a", false)]
    #[case("vacuum", false)]
    #[case("begin", false)]
    #[case("create index a on concurrently (c)", true)]
    #[case("create table vacuum (a int)", true)]
    #[case("do $$ begin perform 1; end $$", true)]
    fn statements_that_cannot_run_in_a_transaction_are_recognised(#[case] statement: &str, #[case] runs: bool) {
        assert_eq!(runs_in_a_transaction(statement), runs);
    }
}
