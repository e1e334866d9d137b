//! Every form, cut and place of a secret.

use rstest::rstest;
use serde_json::json;

use super::*;

fn redactor(variables: &[(&str, &str)]) -> Redactor {
    let variables: Vec<(&str, SecretString)> =
        variables.iter().map(|(name, value)| (*name, SecretString::from(*value))).collect();
    Redactor::new(variables.iter().map(|(name, value)| (*name, value)))
}

#[rstest]
#[case::plain("the secret q7\"w\\e<r>%t&z! here")]
#[case::json(r#"{"a": "q7\"w\\e<r>%t&z!"}"#)]
#[case::json_twice(r#"{"a": "{\"b\": \"q7\\\"w\\\\e<r>%t&z!\"}"}"#)]
#[case::url("a?b=q7%22w%5ce%3Cr%3E%25t%26z%21&c")]
#[case::html("<b>q7&quot;w\\e&lt;r&gt;%t&amp;z!</b>")]
#[case::base64("dXNlcjpxNyJ3XGU8cj4ldCZ6IQ==")]
#[case::hexadecimal("713722775c653c723e2574267a21")]
fn a_secret_is_masked_in_every_form(#[case] text: &str) {
    let shown = redactor(&[("DB_PASS", "q7\"w\\e<r>%t&z!")]).redact(text).into_owned();
    assert!(shown.contains("$DB_PASS"), "{shown}");
}

#[rstest]
#[case::the_start("see geheim-0815…", "see ********…")]
#[case::the_end("…0815-secret", "…********")]
#[case::the_middle("x eim-0815-s x", "x ******** x")]
#[case::a_line_break("geheim-0815\n-secret", "$DB_PASS")]
#[case::short_lines("x geh\r\n  eim-\r\n  0815-s\n", "x ********\n")]
#[case::seven_characters("geheim-", "geheim-")]
fn a_piece_of_eight_characters_is_masked(#[case] text: &str, #[case] shown: &str) {
    assert_eq!(redactor(&[("DB_PASS", "geheim-0815-secret")]).redact(text), shown);
}

#[rstest]
#[case::a_password("redis://:hunter2@h:1/0", "hunter2 of redis://h:1/0", "******** of redis://h:1/0")]
#[case::no_password("redis://h:1/0", "redis at redis://h:1/0", "redis at redis://h:1/0")]
#[case::the_whole(
    "redis://:hunter2@h:1/0",
    "cannot reach redis://:hunter2@h:1/0",
    "cannot reach redis://:********@h:1/0"
)]
#[case::an_encoded_password("redis://:a%40hunter@h:1/0", "a@hunter a%40hunter", "******** ********")]
#[case::the_password_is_the_user(
    "postgres://postgres:postgres@h:1/x",
    "postgres at postgres://postgres:postgres@h:1/x",
    "postgres at postgres://postgres:********@h:1/x"
)]
#[case::an_ordinary_password(
    "redis://:password@h",
    "wrong password: redis://:password@h",
    "wrong password: redis://:********@h"
)]
#[case::a_key("jina_0123456789", "key jina_0123456789 refused", "key $NAME refused")]
#[case::two("geheim-0815", "geheim-0815geheim-0815", "$NAME$NAME")]
fn a_value_is_masked_by_its_name_and_an_address_in_its_password(
    #[case] value: &str,
    #[case] text: &str,
    #[case] shown: &str,
) {
    let redactor = redactor(&[("NAME", value)]);
    assert_eq!(redactor.redact(text), shown);
    assert_eq!(redactor.redact(shown), shown, "masking twice");
}

#[test]
fn of_two_secrets_the_longer_one_gives_the_name() {
    let redactor = redactor(&[("A", "geheim-0815"), ("B", "x-geheim-0815-y")]);
    assert_eq!(redactor.redact("x-geheim-0815-y geheim-0815"), "$B $A");
}

#[test]
fn json_is_masked_in_texts_in_keys_and_under_secret_names() {
    let redactor = redactor(&[("TOKEN", "hunter2")]);
    let value = json!({ "a": ["x hunter2", 1], "hunter2": null, "password": "x1y2z3", "max_tokens": "1024" });
    let shown = json!({ "a": ["x $TOKEN", 1], "$TOKEN": null, "password": MASK, "max_tokens": "1024" });
    assert_eq!(redactor.redact_json(value), shown);
}

#[test]
fn a_short_secret_is_masked_unless_it_is_part_of_a_word() {
    let redactor = redactor(&[("PIN", "sesame")]);
    assert_eq!(redactor.redact("sesame, sesameseed"), "$PIN, sesameseed");
}

#[test]
fn the_redactor_of_the_process_learns() {
    let [secret, other] = ["learned-by-the-process-1", "some-colour-2"].map(SecretString::from);
    learn_environment([("SOME_PASSWORD", &secret), ("SOME_COLOUR", &other)]);
    assert_eq!(redact("learned-by-the-process-1"), "$SOME_PASSWORD");
    assert_eq!(redacted("some-colour-2".to_owned()), "some-colour-2");
    assert_eq!(redact_json(json!(["learned-by-the-process-1"])), json!(["$SOME_PASSWORD"]));
    assert!(!format!("{:?}", super::redactor()).contains("learned"));
}

#[test]
fn an_empty_secret_and_an_empty_text_change_nothing() {
    let redactor = redactor(&[("EMPTY", ""), ("BLANK", "  ")]);
    assert_eq!(redactor.redact(""), "");
    assert_eq!(redactor.redact("  a"), "  a");
}
