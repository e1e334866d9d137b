//! The ways to write a secret that cannot be read back without knowing where it starts: base64 and hexadecimal.
//!
//! Escapes of JSON, URLs and HTML are read by `views` instead, because there are too many ways to write them.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{GeneralPurpose, general_purpose::NO_PAD};

/// Shorter forms would match unrelated text.
const SHORTEST: usize = 6;

/// `secret` itself, with `+` for spaces as in forms, without line breaks, in base64 of both alphabets at each of the three alignments, and in
/// hexadecimal; without duplicates.
pub(super) fn forms(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let mut forms = vec![secret.to_owned()];
    if secret.contains(' ') {
        forms.push(secret.replace(' ', "+"));
    }
    if secret.contains('\n') {
        // As it is found in a text without line breaks.
        forms.push(secret.lines().map(|line| line.trim_start_matches([' ', '\t'])).collect());
    }
    for alphabet in [&STANDARD, &URL_SAFE] {
        let engine = GeneralPurpose::new(alphabet, NO_PAD);
        forms.extend((0..3).map(|before| base64_within(bytes, before, &engine)));
    }
    let lower: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    forms.extend([lower.to_uppercase(), lower]);
    forms.retain(|form| form.chars().count() >= SHORTEST);
    forms.sort_unstable();
    forms.dedup();
    forms
}

/// The characters of the base64 of a text that depend on `secret` alone, if it begins `before` bytes after a group of
/// three.
fn base64_within(secret: &[u8], before: usize, engine: &GeneralPurpose) -> String {
    let padded = [&[0; 2][..before], secret].concat();
    let encoded = engine.encode(&padded);
    // A character has six bits, a byte has eight.
    encoded[(before * 8).div_ceil(6)..padded.len() * 8 / 6].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base64_of_a_text_contains_a_form_of_each_secret_in_it() {
        for before in 0..7 {
            for after in 0..4 {
                let text = format!("{}geheim-0815!{}", "x".repeat(before), "y".repeat(after));
                let encoded = base64::engine::general_purpose::STANDARD.encode(&text);
                assert!(forms("geheim-0815!").iter().any(|form| encoded.contains(form)), "{text}");
            }
        }
    }

    #[test]
    fn a_short_form_is_left_out() {
        assert!(forms("abcdef").iter().all(|form| form.len() >= SHORTEST));
        assert!(forms("a b c d").contains(&"a+b+c+d".to_owned()));
    }
}
