//! The source of a snapshot: a local file or another server.

use std::fs::{self, File};
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use reqwest::header::LOCATION;
use reqwest::redirect::Policy;
use tempfile::NamedTempFile;
use url::Url;

use super::archive;
use crate::collection::blocking;
use crate::disk::check_room;
use crate::error::Error;
use crate::storage::Storage;

/// Directory of all snapshots, below the storage directory.
pub(super) const SNAPSHOTS: &str = "snapshots";
/// Time to connect to another server.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest time in which another server sends nothing. It may be creating the snapshot meanwhile.
const SILENCE: Duration = Duration::from_mins(1);

/// The expected SHA-256 of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checksum(String);

impl Checksum {
    /// Parses a checksum.
    ///
    /// # Errors
    /// It is not 64 hexadecimal digits.
    pub(crate) fn new(text: &str) -> Result<Self, Error> {
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        Err(Error::Invalid(format!(
            "Validation error in JSON body: [checksum: value \"{text}\" invalid, must be 64 hexadecimal digits]"
        )))
    }

    /// Compares it with the SHA-256 of the file at `path`. Blocking.
    ///
    /// # Errors
    /// `refusal` of the expected and the actual one, if they differ; or the file cannot be read.
    pub(super) fn verify(&self, path: &Path, refusal: impl FnOnce(&str, &str) -> Error) -> Result<(), Error> {
        let found = File::open(path).and_then(|file| archive::digest(&mut BufReader::new(file)));
        let found = found.map_err(|error| Error::Internal(format!("{}: {error}", path.display())))?;
        if found == self.0 { Ok(()) } else { Err(refusal(&self.0, &found)) }
    }
}

/// The location of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// A file.
    File(PathBuf),
    /// Another server, or this one.
    Web(Url),
}

impl Location {
    /// The location that `url` names.
    ///
    /// # Errors
    /// It is neither a local file nor HTTP.
    pub(crate) fn new(url: Url) -> Result<Self, Error> {
        match url.scheme() {
            "file" => url.to_file_path().map(Self::File).map_err(|()| {
                Error::BadRequest("Invalid snapshot URI, file path must be absolute or on localhost".to_owned())
            }),
            "http" | "https" => Ok(Self::Web(url)),
            scheme => Err(Error::BadRequest(format!("URL {} with scheme {scheme} is not supported", shown(&url)))),
        }
    }
}

/// A snapshot file ready to read.
pub(super) enum Fetched {
    /// A local file.
    Kept(PathBuf),
    /// A downloaded file, removed when this is dropped.
    Downloaded(NamedTempFile),
}

impl Fetched {
    /// Its path.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Downloaded(file) => file.path(),
        }
    }
}

impl Storage {
    /// Makes the snapshot at `location` available; `key` is the other server's API key.
    ///
    /// # Errors
    /// It does not exist, is a file outside of the snapshots of this server, cannot be fetched, or the disk is full.
    pub(super) async fn fetch(self: &Arc<Self>, location: Location, key: Option<&str>) -> Result<Fetched, Error> {
        match location {
            Location::File(path) => {
                let storage = Arc::clone(self);
                blocking(move || storage.own_file(&path).map(Fetched::Kept)).await
            }
            Location::Web(url) => self.download(url, key).await.map(Fetched::Downloaded),
        }
    }

    /// The real path of a file below the snapshots' directory: a client must not make the server read other files.
    fn own_file(&self, path: &Path) -> Result<PathBuf, Error> {
        if !path.exists() {
            return Err(Error::BadRequest(format!("Snapshot file {} does not exist", path.display())));
        }
        let unresolved = |error| Error::BadRequest(format!("Failed to resolve {}: {error}", path.display()));
        let path = fs::canonicalize(path).map_err(unresolved)?;
        let allowed = self.root().join(SNAPSHOTS);
        let allowed = fs::canonicalize(&allowed).unwrap_or(allowed);
        if path.starts_with(&allowed) && path.is_file() {
            return Ok(path);
        }
        Err(Error::Forbidden(format!(
            "Snapshot file path must be inside the snapshots directory {}",
            allowed.display()
        )))
    }

    async fn download(&self, url: Url, key: Option<&str>) -> Result<NamedTempFile, Error> {
        let source = shown(&url);
        let failed = |reason: &dyn std::fmt::Display| {
            Error::BadRequest(format!("Failed to download snapshot from {source}: {reason}"))
        };
        let mut request = client().map_err(|error| failed(&chain(error)))?.get(url.clone());
        if let Some(key) = key {
            request = request.header("api-key", key);
        }
        let mut response = request.send().await.map_err(|error| failed(&chain(error)))?;
        if response.status().is_redirection() {
            let target = response.headers().get(LOCATION).and_then(|target| url.join(target.to_str().ok()?).ok());
            let target = target.map_or_else(|| "nowhere".to_owned(), |target| shown(&target));
            return Err(failed(&format!("it redirects to {target}; specify that location if you trust it")));
        }
        if !response.status().is_success() {
            return Err(failed(&format!("status - {}", response.status())));
        }
        let mut file = self.unfinished()?;
        check_room(file.path(), response.content_length().unwrap_or_default())?;
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(&chain(error)))? {
            // The declared length may be missing or false.
            check_room(file.path(), chunk.len() as u64)?;
            // Small writes to the page cache; a blocking task for each would cost more.
            file.write_all(&chunk).map_err(|error| Error::Internal(format!("writing a snapshot: {error}")))?;
        }
        Ok(file)
    }
}

/// A client that sends the other server's key to that server alone.
fn client() -> reqwest::Result<Client> {
    Client::builder().redirect(Policy::none()).connect_timeout(CONNECT).read_timeout(SILENCE).build()
}

/// An address without what may be secret: user, password, query.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // These fail only for addresses that have no such part.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// An error with its causes: the first one says only that the request failed.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_and_http_urls_are_accepted() {
        let of = |text: &str| Location::new(Url::parse(text).expect("a URL"));
        assert_eq!(of("file:///a/b"), Ok(Location::File("/a/b".into())));
        assert!(matches!(of("https://host/x"), Ok(Location::Web(_))));
        assert!(matches!(of("s3://bucket/x"), Err(Error::BadRequest(_))));
        assert!(matches!(of("file://elsewhere/x"), Err(Error::BadRequest(_))));
    }

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        let url = Url::parse("https://user:secret@host:1/a/b?token=secret#c").expect("a URL");
        assert_eq!(shown(&url), "https://host:1/a/b");
    }

    #[test]
    fn a_checksum_is_64_hexadecimal_digits() {
        assert!(Checksum::new(&"aB".repeat(32)).is_ok());
        assert!(matches!(Checksum::new("ab"), Err(Error::Invalid(_))));
        assert!(matches!(Checksum::new(&"x".repeat(64)), Err(Error::Invalid(_))));
    }
}
