//! Which images are started, and what their references mean.

use std::fmt;

/// Redis' image. The tags are those that `scripts/images` gives to its stand-ins.
pub const REDIS_IMAGE: &str = "redis:8-alpine";
/// Supabase's own image of Postgres.
pub const POSTGRES_IMAGE: &str = "supabase/postgres:17.6.1.136";
/// Qdrant's image.
pub const QDRANT_IMAGE: &str = "qdrant/qdrant:v1.18.3";

/// Images to start instead of the pinned ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Images {
    /// Redis.
    pub redis: Option<String>,
    /// Postgres.
    pub postgres: Option<String>,
    /// Qdrant.
    pub qdrant: Option<String>,
}

/// A reference such as `redis:8-alpine` or `registry:5000/team/redis@sha256:…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ImageRef(String);

impl ImageRef {
    /// The image that was asked for, else the pinned one. Without tag and digest it means `latest`, as everywhere.
    pub(super) fn new(asked: Option<&str>, pinned: &str) -> Self {
        let text = asked.unwrap_or(pinned);
        let last = text.rsplit('/').next().unwrap_or(text);
        Self(if last.contains(':') { text.to_owned() } else { format!("{text}:latest") })
    }

    /// Everything before the last colon, and what comes after it.
    pub(super) fn parts(&self) -> (&str, &str) {
        self.0.rsplit_once(':').unwrap_or((&self.0, "latest"))
    }

    /// The major version that the tag begins with; an image without one is taken for a new one.
    pub(super) fn major(&self) -> Option<u32> {
        let (_, tag) = self.parts();
        let digits: String = tag.chars().take_while(char::is_ascii_digit).collect();
        if digits.is_empty() { Some(u32::MAX) } else { digits.parse().ok() }
    }

    /// The whole reference.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_keeps_registry_port_tag_and_digest() {
        for (text, whole, parts) in [
            ("redis:8-alpine", "redis:8-alpine", ("redis", "8-alpine")),
            ("redis", "redis:latest", ("redis", "latest")),
            ("host:5000/team/redis", "host:5000/team/redis:latest", ("host:5000/team/redis", "latest")),
            ("redis:8@sha256:ab", "redis:8@sha256:ab", ("redis:8@sha256", "ab")),
        ] {
            let image = ImageRef::new(Some(text), "unused:1");
            assert_eq!((image.as_str(), image.parts()), (whole, parts));
        }
        assert_eq!(ImageRef::new(None, REDIS_IMAGE).as_str(), REDIS_IMAGE);
    }

    #[test]
    fn the_pinned_images_say_which_version() {
        for image in [REDIS_IMAGE, POSTGRES_IMAGE, QDRANT_IMAGE] {
            let image = ImageRef::new(None, image);
            let (_, tag) = image.parts();
            assert!(tag != "latest" && tag.contains(|letter: char| letter.is_ascii_digit()), "{image}");
        }
    }
}
