//! Values that are known to be secret: found whole, and in pieces of [`PIECE`] characters.
//!
//! A text that was cut, wrapped or read from its middle contains only pieces of a secret. So every run of eight
//! characters of a secret is looked up, not the secret alone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use memchr::memmem;

use super::lessons::Secret;
use super::mask::Found;
use super::{encodings, ordinary};

/// The length of the shortest piece that is masked, in characters.
pub(super) const PIECE: usize = 8;
/// Binary logarithm of the number of bits in the filter: a few per cent are set for a hundred secrets.
const FILTER_BITS: u32 = 18;

/// Eight characters. It is exact for the Basic Multilingual Plane, where a character has 16 bits.
type Window = u128;

/// One way to write a secret.
#[derive(Debug, Clone)]
struct Form {
    text: Box<str>,
    shown: Option<Arc<str>>,
}

/// The known secrets, indexed by their pieces.
#[derive(Clone, Default)]
pub(super) struct Known {
    secrets: HashSet<Secret>,
    /// Passwords that are also ordinary words: they are masked in URLs alone.
    passwords: HashSet<String>,
    /// Forms of at least [`PIECE`] characters, by their first piece.
    starts: HashMap<Window, Vec<Form>>,
    /// Every piece that is not ordinary text.
    pieces: HashSet<Window>,
    /// Shorter forms.
    short: Vec<Form>,
    filter: Filter,
}

impl Known {
    /// Whether the secret is known.
    pub(super) fn contains(&self, secret: &Secret) -> bool {
        self.secrets.contains(secret)
    }

    /// Whether nothing is known.
    pub(super) fn is_empty(&self) -> bool {
        self.starts.is_empty() && self.short.is_empty()
    }

    /// Whether a text is the password of a known URL.
    pub(super) fn is_password(&self, text: &str) -> bool {
        self.passwords.contains(text)
    }

    /// These secrets and `more`.
    pub(super) fn with(&self, more: Vec<Secret>) -> Self {
        let mut known = self.clone();
        for secret in more {
            if known.secrets.insert(secret.clone()) {
                if secret.only_in_urls {
                    known.passwords.insert(secret.text);
                    continue;
                }
                let shown: Option<Arc<str>> = secret.name.as_deref().map(|name| format!("${name}").into());
                for text in encodings::forms(&secret.text) {
                    known.add(Form { text: text.into(), shown: shown.clone() });
                }
            }
        }
        known
    }

    fn add(&mut self, form: Form) {
        let mut first = None;
        let mut windows = Windows::default();
        for (at, character) in form.text.char_indices() {
            let Some((start, window)) = windows.push(at, character) else { continue };
            first.get_or_insert(window);
            if !ordinary::is_ordinary_piece(&form.text[start..at + character.len_utf8()]) {
                self.pieces.insert(window);
                self.filter.insert(window);
            }
        }
        match first {
            Some(window) => {
                self.filter.insert(window);
                self.starts.entry(window).or_default().push(form);
            }
            None => self.short.push(form),
        }
    }

    /// Adds the secrets and pieces of secrets in `text` to `found`.
    pub(super) fn find(&self, text: &str, found: &mut Vec<Found>) {
        for form in &self.short {
            let places = memmem::find_iter(text.as_bytes(), form.text.as_bytes());
            let places = places.map(|at| at..at + form.text.len()).filter(|place| stands_alone(text, place));
            found.extend(places.map(|place| Found { place, shown: form.shown.clone() }));
        }
        if self.starts.is_empty() {
            return;
        }
        let mut windows = Windows::default();
        let mut piece: Option<std::ops::Range<usize>> = None;
        for (at, character) in text.char_indices() {
            let Some((start, window)) = windows.push(at, character) else { continue };
            if !self.filter.may_contain(window) {
                continue;
            }
            for form in self.starts.get(&window).into_iter().flatten() {
                if text[start..].starts_with(&*form.text) {
                    found.push(Found { place: start..start + form.text.len(), shown: form.shown.clone() });
                }
            }
            if !self.pieces.contains(&window) {
                continue;
            }
            let end = at + character.len_utf8();
            match &mut piece {
                Some(piece) if start < piece.end => piece.end = end,
                _ => found.extend(piece.replace(start..end).map(|place| Found { place, shown: None })),
            }
        }
        found.extend(piece.map(|place| Found { place, shown: None }));
    }
}

/// Whether a short secret is a word of its own at `place`: within a longer word it is most likely a part of that word.
fn stands_alone(text: &str, place: &std::ops::Range<usize>) -> bool {
    let letters = |text: &str| text.chars().all(char::is_alphabetic);
    let continues = |neighbour: Option<char>| neighbour.is_some_and(char::is_alphabetic);
    !letters(&text[place.clone()])
        || !(continues(text[..place.start].chars().next_back()) || continues(text[place.end..].chars().next()))
}

/// The last eight characters of a text that is read from its start.
#[derive(Default)]
struct Windows {
    window: Window,
    starts: [usize; PIECE],
    count: usize,
}

impl Windows {
    /// Adds the character at byte `at`; gives the start of the window and the window once it is full.
    fn push(&mut self, at: usize, character: char) -> Option<(usize, Window)> {
        let code = u32::from(character);
        self.window = (self.window << 16) | Window::from((code ^ (code >> 16)) & 0xFFFF);
        self.starts[self.count % PIECE] = at;
        self.count += 1;
        (self.count >= PIECE).then(|| (self.starts[self.count % PIECE], self.window))
    }
}

/// A set of windows that is fast to ask and may err on the side of "yes".
#[derive(Clone)]
struct Filter(Box<[u64]>);

impl Default for Filter {
    fn default() -> Self {
        Self(vec![0; 1 << (FILTER_BITS - 6)].into_boxed_slice())
    }
}

impl Filter {
    /// The word and the bit of a window.
    fn place(window: Window) -> (usize, u64) {
        // Fibonacci hashing: the upper bits of the product depend on all bits of the factor.
        let [low, high] = [window, window >> 64].map(|half| u64::try_from(half & u128::from(u64::MAX)).unwrap_or(0));
        let hash = (low ^ high.rotate_left(29)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - FILTER_BITS);
        (usize::try_from(hash >> 6).unwrap_or(0), 1 << (hash & 63))
    }

    fn insert(&mut self, window: Window) {
        let (word, bit) = Self::place(window);
        self.0[word] |= bit;
    }

    fn may_contain(&self, window: Window) -> bool {
        let (word, bit) = Self::place(window);
        self.0[word] & bit != 0
    }
}
