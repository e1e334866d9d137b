//! Uploads of snapshots: a real one, with changes in its headers and its content.

use std::net::SocketAddr;

use rand::RngExt;
use rand::rngs::StdRng;

use super::rest::encoded;
use super::values;

/// Size of a header of tar and of the blocks between.
const BLOCK: usize = 512;

/// An upload.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Its path.
    pub(crate) path: String,
    /// The file name in the form.
    pub(crate) name: String,
    /// The changed snapshot.
    pub(crate) archive: Vec<u8>,
    /// The changes, as places and new bytes.
    pub(crate) changes: Vec<(usize, u8)>,
}

/// A random upload, made from `snapshot`.
pub(crate) fn request(rng: &mut StdRng, snapshot: &[u8]) -> Request {
    let mut archive = snapshot.to_vec();
    let headers: Vec<usize> =
        (0..archive.len() / BLOCK).map(|block| block * BLOCK).filter(|start| is_header(&archive[*start..])).collect();
    let mut changes = Vec::new();
    for _ in 0..rng.random_range(0..4) {
        let header = headers.get(rng.random_range(0..headers.len().max(1))).copied().unwrap_or_default();
        let anywhere = rng.random_range(0..archive.len().max(1));
        let place = if rng.random() { header + rng.random_range(0..BLOCK) } else { anywhere };
        if let Some(byte) = archive.get_mut(place) {
            *byte = if rng.random() { rng.random_range(b'0'..=b'9') } else { rng.random() };
            changes.push((place, *byte));
        }
        if let Some(block) = archive.get_mut(header..header + BLOCK) {
            seal(block);
        }
    }
    if rng.random_bool(0.1) {
        archive.truncate(rng.random_range(0..=archive.len()));
    }
    let name = if rng.random_bool(0.3) { values::text(rng) } else { "up.snapshot".to_owned() };
    let path = format!("/collections/{}/snapshots/upload", encoded(values::one(rng, &["restored", "c", "a b", "x\0"])));
    Request { path, name, archive, changes }
}

fn is_header(block: &[u8]) -> bool {
    block.get(257..262) == Some(b"ustar")
}

/// Writes the right checksum into a header.
fn seal(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

impl Request {
    /// The request as a form, to the server at `address`.
    pub(crate) fn build(&self, client: &reqwest::Client, address: SocketAddr) -> reqwest::RequestBuilder {
        let mut body =
            format!("--edge\r\nContent-Disposition: form-data; name=\"snapshot\"; filename=\"{}\"\r\n\r\n", self.name)
                .into_bytes();
        body.extend_from_slice(&self.archive);
        body.extend_from_slice(b"\r\n--edge--\r\n");
        let request = client.post(format!("http://{address}{}", self.path));
        request.header("content-type", "multipart/form-data; boundary=edge").body(body)
    }
}
