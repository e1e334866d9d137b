//! The images of the services, and how their references are read.

use std::fmt;

/// Redis' image. `scripts/images` reads these constants and gives its stand-ins the same tags.
pub const REDIS_IMAGE: &str = "redis:8-alpine";
/// Supabase's own image of Postgres.
pub const POSTGRES_IMAGE: &str = "supabase/postgres:17.6.1.136";
/// Qdrant's image.
pub const QDRANT_IMAGE: &str = "qdrant/qdrant:v1.18.3";

/// Images to use instead of the pinned ones.
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
    /// The requested image, or the pinned one. A reference without tag and digest means `latest`, as in Docker.
    pub(super) fn new(requested: Option<&str>, pinned: &str) -> Self {
        let text = requested.unwrap_or(pinned);
        let last = text.rsplit('/').next().unwrap_or(text);
        Self(if last.contains(':') { text.to_owned() } else { format!("{text}:latest") })
    }

    /// The text before the last colon and the text after it.
    pub(super) fn parts(&self) -> (&str, &str) {
        self.0.rsplit_once(':').unwrap_or((&self.0, "latest"))
    }

    /// The major version at the start of the tag. An image without one counts as newer than any version.
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
    fn the_pinned_images_name_a_version() {
        for image in [REDIS_IMAGE, POSTGRES_IMAGE, QDRANT_IMAGE] {
            let image = ImageRef::new(None, image);
            let (_, tag) = image.parts();
            assert!(tag != "latest" && tag.contains(|letter: char| letter.is_ascii_digit()), "{image}");
        }
    }
}
