//! Every rule, judged from outside: chunks are tokenised again, each alone.

use proptest::prelude::*;
use rstest::rstest;
use unicode_segmentation::UnicodeSegmentation;

use super::super::tokens::Tokens;
use super::*;

/// Fewest and most tokens that neighbours share where the text allows.
const SHARED: std::ops::RangeInclusive<usize> = 50..=64;
/// The same where only grapheme clusters are left to begin at.
const SHARED_LOOSELY: std::ops::RangeInclusive<usize> = 45..=75;

fn chunker(size: usize, overlap: usize) -> Chunker {
    Chunker::new(ChunkOptions { size, overlap }, Tokens::Cl100k).unwrap()
}

fn count(text: &str) -> usize {
    bpe_openai::cl100k_base().count(text)
}

/// Checks what holds for every text.
fn check(text: &str, size: usize, overlap: usize) -> Vec<Chunk> {
    let chunks = chunker(size, overlap).chunks(text);
    assert_eq!(chunks.is_empty(), text.is_empty());
    assert_eq!(chunks.first().map_or(0, |chunk| chunk.start), 0);
    assert_eq!(chunks.last().map_or(0, |chunk| chunk.end), text.len());
    for (index, chunk) in chunks.iter().enumerate() {
        let part = &text[chunk.start..chunk.end];
        let tokens = count(part);
        assert_eq!(tokens, chunk.tokens, "chunk {index} says another number of tokens than it has: {part:?}");
        assert!(tokens <= size, "chunk {index} has {tokens} tokens: {part:?}");
    }
    for pair in chunks.windows(2) {
        assert!(pair[0].start < pair[1].start && pair[1].start <= pair[0].end && pair[0].end < pair[1].end, "{pair:?}");
    }
    chunks
}

/// Tokens that each chunk shares with the one before it.
fn shared(text: &str, chunks: &[Chunk]) -> Vec<usize> {
    chunks.windows(2).map(|pair| count(&text[pair[1].start..pair[0].end])).collect()
}

/// Checks that every cut lies between two grapheme clusters of the whole text.
fn check_clusters(text: &str, chunks: &[Chunk]) {
    let mut boundaries: Vec<usize> = text.grapheme_indices(true).map(|(at, _)| at).collect();
    boundaries.push(text.len());
    for at in chunks.iter().flat_map(|chunk| [chunk.start, chunk.end]) {
        assert!(boundaries.binary_search(&at).is_ok(), "byte {at} lies inside a cluster");
    }
}

/// Whether no cluster is so long that the rules have to bend.
fn has_small_clusters(text: &str) -> bool {
    text.graphemes(true).all(|cluster| cluster.len() <= 8 || count(cluster) <= 12)
}

fn fixtures() -> Vec<(String, String)> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/documents");
    let mut documents: Vec<(String, String)> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    documents.sort();
    documents
}

#[test]
fn every_rule_holds_for_every_fixture() {
    for (name, text) in fixtures() {
        let chunks = check(&text, 512, 50);
        if text.graphemes(true).all(|cluster| count(cluster) <= 512) {
            check_clusters(&text, &chunks);
        }
        let shared = shared(&text, &chunks);
        let range = if has_small_clusters(&text) { SHARED } else { SHARED_LOOSELY };
        // Beside a cluster that leaves no room in its chunk there is nothing to share.
        let no_room = text.graphemes(true).any(|cluster| count(cluster) > 512 - 64);
        let fits = |tokens: &usize| range.contains(tokens) || (no_room && *tokens == 0);
        assert!(shared.iter().all(fits), "{name}: {shared:?}");
    }
}

#[test]
fn an_empty_text_has_no_chunks() {
    assert!(chunker(512, 50).chunks("").is_empty());
}

#[test]
fn exactly_a_chunk_is_one_chunk_and_a_token_more_is_two() {
    let text = " tide".repeat(512);
    assert_eq!(count(&text), 512);
    assert_eq!(check(&text, 512, 50).len(), 1);
    assert_eq!(check(&(text + " tide"), 512, 50).len(), 2);
}

#[rstest]
#[case::letters("a", 100_000)]
#[case::words("harbour ", 12_500)]
#[case::digits("0123456789", 5_000)]
#[case::spaces(" ", 50_000)]
#[case::tabs_and_spaces(" \t", 20_000)]
#[case::line_feeds("\n", 20_000)]
#[case::crlf("\r\n", 20_000)]
#[case::spaced_lines(" \n", 20_000)]
#[case::nul("\0", 20_000)]
#[case::ideographs("港口公报", 5_000)]
#[case::thai("คลังสินค้าริมคลอง", 1_000)]
#[case::hindi("रेलवेडिपो", 1_000)]
#[case::hangul_parts("\u{1112}\u{1161}\u{11ab}", 3_000)]
#[case::families("👩‍👩‍👧‍👦", 1_000)]
#[case::flags("🇫🇷🇯🇵", 2_000)]
#[case::keycaps("1️⃣2️⃣", 2_000)]
#[case::accents("e\u{301}", 5_000)]
#[case::punctuation("!?;", 10_000)]
#[case::contractions("it's", 5_000)]
#[case::marks_before_words("!!x", 5_000)]
#[case::base64("QmFzZTY0IGlzIG5vdCBhIHdvcmQ", 3_000)]
#[case::astral("\u{1F9FF}\u{20000}\u{10FFFD}", 2_000)]
#[case::sentences("It rained. The tide clerk slept. ", 2_000)]
fn every_rule_holds_for_monotonous_texts(#[case] unit: &str, #[case] times: usize) {
    let text = unit.repeat(times);
    let chunks = check(&text, 512, 50);
    check_clusters(&text, &chunks);
    let shared = shared(&text, &chunks);
    assert!(shared.iter().all(|tokens| SHARED_LOOSELY.contains(tokens)), "{unit:?}: {shared:?}");
}

#[test]
fn a_cluster_longer_than_a_chunk_is_cut_between_code_points() {
    let text = format!("Before. e{} After.", "\u{301}".repeat(10_000));
    let chunks = check(&text, 512, 50);
    assert!(chunks.len() > 10);
    let shared = shared(&text, &chunks);
    assert!(shared[2..shared.len() - 1].iter().all(|tokens| SHARED_LOOSELY.contains(tokens)), "{shared:?}");
}

#[test]
fn a_cluster_that_only_fits_without_overlap_stays_whole() {
    let cluster = format!("e{}", "\u{301}".repeat(490));
    assert!((470..=512).contains(&count(&cluster)));
    let text = format!("{}{cluster}{cluster} and on", " tide".repeat(500));
    check_clusters(&text, &check(&text, 512, 50));
}

#[rstest]
#[case::paragraph("\n\n")]
#[case::paragraph_of_windows("\r\n\r\n")]
#[case::line("\n")]
#[case::sentence(".")]
fn a_chunk_ends_at_the_best_boundary_of_its_last_quarter(#[case] boundary: &str) {
    let first = format!("{}{boundary}", " tide".repeat(420));
    let text = format!("{first}{}", " clerk".repeat(420));
    assert_eq!(check(&text, 512, 50)[0].end, first.len());
}

#[test]
fn a_chunk_without_overlap_begins_where_the_last_one_ended() {
    let text = " tide clerk.".repeat(1_000);
    let chunks = check(&text, 512, 0);
    assert!(chunks.windows(2).all(|pair| pair[0].end == pair[1].start));
}

#[rstest]
#[case(0, 0)]
#[case(15, 0)]
#[case(32_769, 50)]
#[case(512, 257)]
#[case(50, 512)]
fn senseless_options_are_refused_with_a_remedy(#[case] size: usize, #[case] overlap: usize) {
    let error = Chunker::new(ChunkOptions { size, overlap }, Tokens::Cl100k).unwrap_err();
    assert!(error.to_string().contains("set it"), "{error}");
}

#[test]
fn a_file_tokenizer_obeys_the_same_rules() {
    let json = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
        "pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,
        "model":{"type":"WordLevel","vocab":{"[UNK]":0},"unk_token":"[UNK]"}}"#;
    let tokens = Tokens::File(Box::new(tokenizers::Tokenizer::from_bytes(json).unwrap()));
    let chunker = Chunker::new(ChunkOptions::default(), tokens).unwrap();
    let text = "The tide clerk slept,\nand the harbour was still. ".repeat(1_000);
    let chunks = chunker.chunks(&text);
    assert_eq!((chunks[0].start, chunks[chunks.len() - 1].end), (0, text.len()));
    for pair in chunks.windows(2) {
        assert!(pair.iter().all(|chunk| chunk.tokens == chunker.tokens.count(&text[chunk.start..chunk.end])));
        assert!(pair.iter().all(|chunk| chunk.tokens <= 512), "{pair:?}");
        assert!(SHARED.contains(&chunker.tokens.count(&text[pair[1].start..pair[0].end])), "{pair:?}");
    }
}

/// Texts that change their nature every few characters.
fn any_text() -> impl Strategy<Value = String> {
    let run = prop_oneof![
        4 => "[a-z]{1,12} ",
        2 => "[A-Z][a-z]{1,9}[.!?,]( |\n|\n\n|\r\n)",
        1 => "[0-9]{1,20}",
        1 => "[ \t\r\n]{1,8}",
        1 => "[!?'\"(){}/_-]{1,6}",
        1 => "\\p{Han}{1,30}。?",
        1 => "\\p{Thai}{1,30}",
        1 => "\\p{Devanagari}{1,20}",
        1 => "([\u{1F468}-\u{1F469}]\u{200D}){1,3}[\u{1F466}-\u{1F467}]",
        1 => "[\u{1F1E6}-\u{1F1FF}]{1,9}",
        1 => "[a-z]\\p{M}{0,4}",
        1 => "\\PC{1,10}",
        1 => any::<char>().prop_map(String::from),
        1 => (any::<char>(), 1..200_usize).prop_map(|(c, times)| c.to_string().repeat(times)),
    ];
    proptest::collection::vec(run, 0..400).prop_map(|runs| runs.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_covered_by_chunks_within_the_size(text in any_text(), size in 64..600_usize, part in 0..=4_usize) {
        let overlap = part * 50 * size / 2_048;
        let chunks = check(&text, size, overlap);
        if has_small_clusters(&text) {
            check_clusters(&text, &chunks);
            let most = overlap + overlap / 2 + 14;
            for tokens in shared(&text, &chunks) {
                prop_assert!((overlap..=most).contains(&tokens), "{tokens} shared, {overlap} asked for");
            }
        }
    }

    #[test]
    fn any_text_ends_even_with_the_smallest_chunks(text in any_text()) {
        check(&text, SMALLEST, SMALLEST / 2);
    }
}
