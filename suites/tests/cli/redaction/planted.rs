//! Secrets as programs print them, and what a reader can make of a text.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rand::prelude::*;
use serde_json::Value;

/// The length of the shortest run of a secret's characters that must not be seen.
const RUN: usize = 8;

/// Characters that secrets are drawn from.
const ALPHABETS: [&str; 9] = [
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
    "0123456789abcdef",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=",
    "abcXYZ019!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    "\"\\'%<>&/+",
    "aäßéλж漢😀1",
    "ab c\td1",
    "abcde12\n",
];

/// Words around the secrets.
const WORDS: [&str; 12] =
    ["the", "worker", "answered", "job 7:", "failed", "{\"a\":", "url", "key", "token", "after 30 ms,", "<b>", "100 %"];

/// A secret text in one form, or a piece of it, and the runs of characters that give it away.
pub(super) struct Planted {
    text: String,
    pub(super) runs: HashSet<Vec<char>>,
}

/// Every run of characters of `text`, except of one character alone, which every text may contain.
pub(super) fn runs(text: &str) -> HashSet<Vec<char>> {
    let characters: Vec<char> = text.chars().collect();
    let several = |run: &&[char]| run.iter().any(|character| *character != run[0]);
    characters.windows(RUN).filter(several).map(<[char]>::to_vec).collect()
}

/// Those that a renderer cannot make from seven characters and a blank or a backslash of its own.
pub(super) fn rendered_runs(runs: &HashSet<Vec<char>>) -> HashSet<Vec<char>> {
    let added = |character: &char| character.is_whitespace() || *character == '\\';
    runs.iter().filter(|run| !run.iter().any(added)).cloned().collect()
}

pub(super) fn secret(random: &mut StdRng) -> String {
    loop {
        let alphabet: Vec<char> = ALPHABETS.choose(random).unwrap().chars().collect();
        let length = random.random_range(RUN..40);
        let secret: String = (0..length).map(|_| *alphabet.choose(random).unwrap()).collect();
        // A value is read without the blanks around it.
        if secret.trim() == secret {
            return secret;
        }
    }
}

/// `secret` in one of the forms in which programs print it.
fn plant(secret: &str, random: &mut StdRng) -> Planted {
    let json = |text: &str| {
        let quoted = Value::from(text).to_string();
        quoted[1..quoted.len() - 1].to_owned()
    };
    let ascii = |text: &str| -> String {
        let unit = |unit: u16| format!("\\u{unit:04x}");
        let escape = |character: char| character.encode_utf16(&mut [0; 2]).iter().map(|one| unit(*one)).collect();
        text.chars().map(|one| if one.is_ascii() { one.to_string() } else { escape(one) }).collect()
    };
    let percent =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let html = |text: &str| {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        text.replace('"', "&quot;").replace('\'', "&#x27;").replace('/', "&#x2f;")
    };
    let (text, seen) = match random.random_range(0..12) {
        0 => (secret.to_owned(), secret.to_owned()),
        1 => (json(secret), secret.to_owned()),
        2 => (json(&json(secret)), secret.to_owned()),
        3 => (ascii(&json(secret)), secret.to_owned()),
        4 => (percent(secret), secret.to_owned()),
        5 => (percent(secret).replace('%', "%25"), secret.to_owned()),
        6 => (percent(secret).to_lowercase().replace("%20", "+"), String::new()),
        7 => (html(secret), secret.to_owned()),
        8 => (html(&json(secret)), secret.to_owned()),
        9 => (format!("{secret:?}"), secret.to_owned()),
        10 => encoded(secret, random),
        _ => {
            let bytes = secret.bytes();
            let hexadecimal: String = bytes.map(|byte| format!("{byte:02x}")).collect();
            (hexadecimal.clone(), hexadecimal)
        }
    };
    Planted { text: torn(&text, random), runs: runs(&seen) }
}

/// A base64 of a text that contains the secret, and the characters of it that the secret alone decides.
fn encoded(secret: &str, random: &mut StdRng) -> (String, String) {
    let before = "user:".repeat(3)[..random.random_range(0..6)].to_owned();
    let after = &"\r\n and more"[..random.random_range(0..4)];
    let text = format!("{before}{secret}{after}");
    let text = if random.random() { STANDARD.encode(text) } else { URL_SAFE_NO_PAD.encode(text) };
    let (first, last) = ((before.len() * 8).div_ceil(6), (before.len() + secret.len()) * 8 / 6);
    let seen = text[first..last].to_owned();
    (text, seen)
}

/// The text as it is, cut at one end or at both, or broken into lines.
fn torn(text: &str, random: &mut StdRng) -> String {
    let characters: Vec<char> = text.chars().collect();
    let length = characters.len();
    match random.random_range(0..6) {
        0 => characters[..random.random_range(0..=length)].iter().chain(&['…']).collect(),
        1 => characters[random.random_range(0..=length)..].iter().collect(),
        2 => {
            let from = random.random_range(0..=length);
            characters[from..random.random_range(from..=length)].iter().collect()
        }
        3 => {
            let width = random.random_range(2..30);
            characters.chunks(width).map(|line| line.iter().collect::<String>()).collect::<Vec<_>>().join("\n    ")
        }
        _ => text.to_owned(),
    }
}

/// Fills every `TEXT` of `value` with words and a secret.
pub(super) fn fill(value: &mut Value, secrets: &[String], planted: &mut Vec<Planted>, random: &mut StdRng) {
    match value {
        Value::String(text) if text == "TEXT" => {
            let one = plant(secrets.choose(random).unwrap(), random);
            let glue = *[" ", "", "=", "\"", "'", ":"].choose(random).unwrap();
            let [before, after] = [WORDS.choose(random).unwrap(), WORDS.choose(random).unwrap()];
            *text = format!("{before} {glue}{}{glue} {after}", one.text);
            planted.push(one);
        }
        Value::Array(items) => {
            for item in items {
                fill(item, secrets, planted, random);
            }
        }
        Value::Object(fields) => {
            let marked = fields.remove("TEXT");
            for field in fields.values_mut() {
                fill(field, secrets, planted, random);
            }
            if let Some(mut field) = marked {
                let mut key = Value::from("TEXT");
                fill(&mut key, secrets, planted, random);
                fill(&mut field, secrets, planted, random);
                fields.insert(key.as_str().unwrap().to_owned(), field);
            }
        }
        _ => {}
    }
}

/// A text, also without its line breaks, and what readers of JSON, URLs and HTML make of it, twice.
pub(super) fn readings(text: &str) -> Vec<String> {
    let unbroken: String = text.split('\n').map(|line| line.trim_start_matches([' ', '\t'])).collect();
    let mut all = vec![text.to_owned(), unbroken];
    let mut from = 0;
    for _ in 0..2 {
        let until = all.len();
        for number in from..until {
            let one = all[number].clone();
            let percent = percent_encoding::percent_decode_str(&one).decode_utf8_lossy().into_owned();
            all.extend(
                [percent, without_backslashes(&one), without_entities(&one)].into_iter().filter(|it| *it != one),
            );
        }
        from = until;
    }
    all
}

pub(super) fn without_entities(text: &str) -> String {
    let pairs = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&#39;", "'"), ("&#x2f;", "/")];
    pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to)).replace("&amp;", "&")
}

pub(super) fn without_backslashes(text: &str) -> String {
    let mut units: Vec<u16> = Vec::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        let mut after = rest.clone();
        let unit = match (character, after.next()) {
            ('\\', Some('n')) => Some(u16::from(b'\n')),
            ('\\', Some('t')) => Some(u16::from(b'\t')),
            ('\\', Some(quoted @ ('"' | '\\' | '/' | '\''))) => u16::try_from(u32::from(quoted)).ok(),
            ('\\', Some('u')) => {
                let digits: String = after.by_ref().take(4).collect();
                u16::from_str_radix(&digits, 16).ok()
            }
            _ => None,
        };
        match unit {
            Some(unit) => {
                units.push(unit);
                rest = after;
            }
            None => units.extend(character.encode_utf16(&mut [0; 2]).iter()),
        }
    }
    String::from_utf16_lossy(&units)
}

/// The first run of a secret in `text`.
pub(super) fn leak(text: &str, runs: &HashSet<Vec<char>>) -> Option<String> {
    let characters: Vec<char> = text.chars().collect();
    characters.windows(RUN).find(|window| runs.contains(*window)).map(|window| window.iter().collect())
}
