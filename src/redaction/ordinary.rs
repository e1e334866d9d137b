//! Tells ordinary text from secrets, so that a password such as `postgres` does not blacken every report.

/// Words of eight letters and more that messages, documents and addresses are made of, one a line.
const WORDS: &str = include_str!("words.txt");

/// Shorter values would match unrelated text.
const SHORTEST: usize = 6;
/// The shortest number that is a secret: shorter ones are counts, times and ports.
const SHORTEST_NUMBER: usize = 8;

/// Whether eight characters are part of a common word, or one character repeated.
pub(super) fn is_ordinary_piece(piece: &str) -> bool {
    let first = piece.chars().next();
    if piece.chars().all(|character| Some(character) == first) {
        return true;
    }
    !piece.contains(|character: char| character.is_ascii_digit() || !character.is_ascii())
        && WORDS.contains(&piece.to_ascii_lowercase())
}

/// Whether a value would occur in ordinary text, and so cannot be masked wherever it stands: a common word, a number, a
/// duration.
pub(super) fn is_ordinary_value(value: &str) -> bool {
    let count = value.chars().count();
    let number = value.bytes().all(|byte| byte.is_ascii_digit() || b".:-_, ".contains(&byte));
    let first = value.chars().next();
    count < SHORTEST
        || (number && count < SHORTEST_NUMBER)
        || value.chars().all(|character| Some(character) == first)
        || WORDS.lines().any(|word| word.eq_ignore_ascii_case(value))
        || SHORT_WORDS.iter().any(|word| word.eq_ignore_ascii_case(value))
}

/// Common values of six and seven letters.
const SHORT_WORDS: &[&str] = &[
    "access",
    "apikey",
    "bearer",
    "client",
    "cookie",
    "custom",
    "default",
    "delete",
    "denied",
    "disable",
    "docker",
    "enable",
    "enabled",
    "failed",
    "github",
    "header",
    "hidden",
    "invalid",
    "issuer",
    "missing",
    "nobody",
    "normal",
    "optional",
    "passwd",
    "passed",
    "pgbouncer",
    "please",
    "prefer",
    "preview",
    "private",
    "public",
    "qdrant",
    "random",
    "reader",
    "remote",
    "require",
    "result",
    "secret",
    "secrets",
    "server",
    "service",
    "session",
    "shared",
    "simple",
    "sample",
    "source",
    "status",
    "strict",
    "system",
    "target",
    "tester",
    "unknown",
    "vector",
    "verify",
    "worker",
    "writer",
];

/// An absolute path, or one below the home or the working directory, without a random part.
pub(super) fn is_path(value: &str) -> bool {
    let rooted = value.starts_with('/') || value.starts_with("./") || value.starts_with("~/");
    rooted
        && value.chars().all(|character| character.is_alphanumeric() || "/._-~@+ ".contains(character))
        && !value.split('/').any(is_random)
}

/// Whether a value reads like the name of something: words of letters with separators, such as `registry.example.com`.
pub(super) fn reads_like_a_name(value: &str) -> bool {
    let word = |word: &str| word.len() <= 12 && word.bytes().all(|byte| byte.is_ascii_lowercase());
    value.split(['-', '_', '.', ':', '/', ' ']).all(word) || is_ordinary_value(value) && value.len() >= SHORTEST
}

/// Whether a text is most likely drawn at random: at least sixteen letters and digits in a row, mixed.
pub(super) fn is_random(text: &str) -> bool {
    is_random_from(text, 16)
}

/// The same with at least `least` letters and digits. A UUID is not random in this sense: it names something.
pub(super) fn is_random_from(text: &str, least: usize) -> bool {
    text.split(|character: char| !character.is_ascii_alphanumeric()).any(|run| {
        let has = |class: fn(&u8) -> bool| run.bytes().any(|byte| class(&byte));
        let mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic);
        run.len() >= least && mixed
    }) && !is_uuid(text)
}

fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("postgres", true)]
    #[case("Password", true)]
    #[case("https://", true)]
    #[case("--------", true)]
    #[case("p0stgres", false)]
    #[case("kqzxwvbt", false)]
    fn pieces_of_common_words_are_ordinary(#[case] piece: &str, #[case] ordinary: bool) {
        assert_eq!(is_ordinary_piece(piece), ordinary);
    }

    #[rstest]
    #[case("postgres", true)]
    #[case("true", true)]
    #[case("3600000", true)]
    #[case("0.0.0.0", true)]
    #[case("12345678", false)]
    #[case("hunter2", false)]
    #[case("correct-horse", false)]
    fn words_and_numbers_are_ordinary_values(#[case] value: &str, #[case] ordinary: bool) {
        assert_eq!(is_ordinary_value(value), ordinary);
    }

    #[rstest]
    #[case("/run/secrets/token", true)]
    #[case("~/.netrc", true)]
    #[case("/9j4AAQSkZJRg1234/x", false)]
    #[case("token", false)]
    fn a_path_has_no_random_part(#[case] value: &str, #[case] path: bool) {
        assert_eq!(is_path(value), path);
    }

    #[rstest]
    #[case("registry.example.com", true)]
    #[case("redis-cluster", true)]
    #[case("x1y2z3", false)]
    fn a_name_is_made_of_words(#[case] value: &str, #[case] name: bool) {
        assert_eq!(reads_like_a_name(value), name);
    }

    #[rstest]
    #[case("0123456789abcdef", true)]
    #[case("f81d4fae-7dec-11d0-a765-00a0c91e6bf6", false)]
    #[case("collection", false)]
    fn random_texts_mix_digits_and_letters(#[case] text: &str, #[case] random: bool) {
        assert_eq!(is_random(text), random);
    }
}
