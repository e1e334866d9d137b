//! Divides a stream of bytes into messages, of which the beginning is looked at and the rest passes or is dropped.

use crate::faults::network::ActiveFaults;

/// What becomes of the rest of a message.
pub(super) struct Rest {
    /// How many bytes of it are to come.
    pub(super) bytes: usize,
    /// Whether they are dropped.
    pub(super) is_dropped: bool,
}

impl Rest {
    /// The rest passes.
    pub(super) const fn passes(bytes: usize) -> Self {
        Self { bytes, is_dropped: false }
    }
}

/// How a protocol divides a stream into messages.
pub(super) trait Framing {
    /// How many bytes of a message are needed to decide about it, as far as `kept`, its beginning, shows; more than are
    /// kept, or as many when they suffice. `None` if all further bytes pass.
    fn needed(&self, kept: &[u8]) -> Option<usize>;

    /// Decides about a message: writes to `out` what passes of its beginning, or what replaces it.
    fn decide(&mut self, kept: &[u8], faults: &ActiveFaults, out: &mut Vec<u8>) -> Rest;
}

/// A stream that is divided by `F`.
#[derive(Debug)]
pub(super) struct Frames<F> {
    framing: F,
    /// The beginning of a message that is not decided yet.
    kept: Vec<u8>,
    /// Bytes of a decided message that are to come, and whether they are dropped.
    rest: usize,
    is_dropped: bool,
}

impl<F: Framing> Frames<F> {
    pub(super) const fn new(framing: F) -> Self {
        Self { framing, kept: Vec::new(), rest: 0, is_dropped: false }
    }

    /// What takes the place of `bytes`.
    pub(super) fn edit(&mut self, faults: &ActiveFaults, mut bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.kept.len() + bytes.len());
        while !bytes.is_empty() {
            if self.rest > 0 {
                let (now, later) = bytes.split_at(self.rest.min(bytes.len()));
                if !self.is_dropped {
                    out.extend_from_slice(now);
                }
                self.rest -= now.len();
                bytes = later;
                continue;
            }
            let Some(needed) = self.framing.needed(&self.kept) else {
                out.append(&mut self.kept);
                out.extend_from_slice(bytes);
                break;
            };
            let (now, later) = bytes.split_at(needed.saturating_sub(self.kept.len()).min(bytes.len()));
            self.kept.extend_from_slice(now);
            bytes = later;
            if self.framing.needed(&self.kept).is_some_and(|needed| needed <= self.kept.len()) {
                let kept = std::mem::take(&mut self.kept);
                let rest = self.framing.decide(&kept, faults, &mut out);
                (self.rest, self.is_dropped) = (rest.bytes, rest.is_dropped);
            }
        }
        out
    }

    /// What was held back of a message that never became complete.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.kept)
    }

    pub(super) const fn framing(&self) -> &F {
        &self.framing
    }
}
