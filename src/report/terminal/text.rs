//! Text for a terminal: measured, cut and wrapped, and without characters that control it.

use crate::redaction::printable_line;

/// `text` cut to `room` characters, with the number of those that are left out.
pub(super) fn shortened(text: &str, room: usize) -> String {
    let count = text.chars().count();
    if count <= room {
        return text.to_owned();
    }
    let kept: String = text.chars().take(room.saturating_sub(1)).collect();
    format!("{kept}… ({} more)", count - room + 1)
}

/// `text` as one line of at most `room` columns; empty when `room` is too small to show anything useful.
pub(super) fn cut(text: &str, room: usize) -> String {
    let mut kept = printable_line(text).into_owned();
    if wide(&kept) <= room {
        return kept;
    }
    if room < 8 {
        return String::new();
    }
    while wide(&kept) >= room {
        kept.pop();
    }
    kept.truncate(kept.trim_end().len());
    kept + "…"
}

/// The columns that a text takes.
pub(super) fn wide(text: &str) -> usize {
    console::measure_text_width(text)
}

/// Lines of at most `width` columns, broken at spaces; line breaks of the text are kept. A word that is longer than a
/// line is broken anywhere, except URLs and paths, which must stay whole to be copied.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            let mut word = printable_line(word).into_owned();
            if !line.is_empty() && wide(&line) + 1 + wide(&word) > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            while wide(&word) > width && !word.contains("://") && !word.starts_with('/') {
                let rest = word.split_off(fitting(&word, width));
                lines.push(std::mem::replace(&mut word, rest));
            }
            line.push_str(&word);
        }
        lines.push(line);
    }
    lines
}

/// The length in bytes of the longest beginning of `word` that takes at most `width` columns; at least one character.
fn fitting(word: &str, width: usize) -> usize {
    let mut taken = 0;
    let mut buffer = [0; 4];
    for (place, character) in word.char_indices() {
        taken += wide(character.encode_utf8(&mut buffer));
        if taken > width && place > 0 {
            return place;
        }
    }
    word.len()
}
