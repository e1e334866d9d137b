//! The output of a worker: a file of any length, of which the beginning and the end are kept.
//!
//! The worker writes to the file itself. A pipe would slow it down, and end it with SIGPIPE, whenever the harness is late; a
//! limit of the file size (`RLIMIT_FSIZE`) would end it with SIGXFSZ and apply to its other files too. So its output is
//! never disturbed, and the space of what is not kept is given back to the disk while it runs.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use regex::Regex;

use crate::stack::tail;

/// How many bytes of the beginning and of the end of an output are kept.
const HEAD: u64 = 1 << 20;
const TAIL: u64 = 15 << 20;
/// Marks where the middle of a very long output is omitted.
pub const OMISSION_MARK: &str = "bytes omitted …";
/// How often the space of the middle is freed.
const FREE_INTERVAL: Duration = Duration::from_millis(50);
/// How many bytes of a line are compared with the pattern of `ready`.
const MAX_LINE: usize = 1 << 20;

/// The output of a running worker or hook.
#[derive(Debug)]
pub(super) struct WorkerLog {
    path: PathBuf,
    scan: Mutex<Scan>,
    /// Ends the thread that frees space when it is dropped.
    _running: mpsc::Sender<()>,
}

/// How far the output was compared with a pattern.
#[derive(Debug, Default)]
struct Scan {
    offset: u64,
    /// The beginning of the line at `offset`.
    line: Vec<u8>,
    is_found: bool,
}

impl WorkerLog {
    /// The output in the file `path`, which may not exist yet.
    pub(super) fn new(path: PathBuf) -> Self {
        let (running, ended) = mpsc::channel();
        let file = path.clone();
        // Without the thread, or on a file system without sparse files, the file grows as the worker writes.
        let _ = std::thread::Builder::new().name("log-space".to_owned()).spawn(move || {
            while ended.recv_timeout(FREE_INTERVAL) == Err(mpsc::RecvTimeoutError::Timeout) {
                if free_middle(&file).is_err_and(|error| error.kind() == io::ErrorKind::Unsupported) {
                    return;
                }
            }
        });
        Self { path, scan: Mutex::default(), _running: running }
    }

    /// The last lines.
    pub(super) fn tail(&self) -> String {
        tail(&self.path)
    }

    /// The output. Invalid UTF-8 is replaced; of more than 16 MiB the middle is omitted.
    pub(super) fn read(&self) -> String {
        let bytes = read_ends(&self.path).unwrap_or_default();
        // Only an invalid text is copied.
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// The length in bytes.
    pub(super) fn length(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |about| about.len())
    }

    /// Whether a line has matched `pattern` yet. Reads what was written since the last call; it is always asked for the
    /// same pattern.
    pub(super) fn has_line(&self, pattern: &Regex) -> bool {
        let mut scan = self.scan.lock().unwrap_or_else(PoisonError::into_inner);
        // A file that cannot be read has no line; the next call tries again.
        let _ = scan.advance(&self.path, pattern);
        scan.is_found
    }
}

impl Scan {
    fn advance(&mut self, path: &Path, pattern: &Regex) -> io::Result<()> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        if self.is_found || length <= self.offset {
            return Ok(());
        }
        if length - self.offset > HEAD + TAIL {
            self.offset = length - TAIL;
            self.line.clear();
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut new = file.take(length - self.offset);
        let mut part = vec![0; 64 << 10];
        while !self.is_found {
            let count = new.read(&mut part)?;
            if count == 0 {
                // The last line may be complete without a newline.
                self.is_found = self.matches(pattern);
                break;
            }
            self.offset += count as u64;
            for (number, piece) in part[..count].split(|byte| *byte == b'\n').enumerate() {
                if number > 0 {
                    self.is_found |= self.matches(pattern);
                    self.line.clear();
                }
                let room = MAX_LINE.saturating_sub(self.line.len());
                self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            }
        }
        Ok(())
    }

    fn matches(&self, pattern: &Regex) -> bool {
        let line = String::from_utf8_lossy(&self.line);
        pattern.is_match(line.strip_suffix('\r').unwrap_or(&line))
    }
}

/// The bytes of the file; of a long one the beginning and the end.
fn read_ends(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut bytes = Vec::new();
    // The file may grow faster than it is read.
    if length <= HEAD + TAIL {
        file.take(length).read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    (&file).take(HEAD).read_to_end(&mut bytes)?;
    bytes.extend(format!("\n… {} {OMISSION_MARK}\n", length - HEAD - TAIL).bytes());
    file.seek(SeekFrom::Start(length - TAIL))?;
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Frees the space of the file's middle. Its length stays, so what is written before and after keeps its place.
#[cfg(target_os = "linux")]
fn free_middle(path: &Path) -> io::Result<()> {
    use nix::fcntl::{FallocateFlags, fallocate};

    // Twice the end is left, for what is written while it is read.
    let kept = HEAD + 2 * TAIL;
    if std::fs::metadata(path)?.len() <= kept {
        return Ok(());
    }
    let file = File::options().write(true).open(path)?;
    let middle = file.metadata()?.len().saturating_sub(kept);
    let (Ok(from), Ok(length)) = (i64::try_from(HEAD), i64::try_from(middle)) else { return Ok(()) };
    if length > 0 {
        fallocate(&file, FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE, from, length)?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn free_middle(_path: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Instant;

    use super::*;

    fn log() -> (tempfile::TempDir, File, WorkerLog) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let file = File::options().append(true).create(true).open(&path).unwrap();
        (directory, file, WorkerLog::new(path))
    }

    #[test]
    fn a_long_output_keeps_its_beginning_and_its_end() {
        let (_directory, mut file, log) = log();
        file.write_all(b"the first line\n").unwrap();
        // One line without an end, and no UTF-8.
        let part = vec![0xff; 1 << 20];
        for _ in 0..20 {
            file.write_all(&part).unwrap();
        }
        file.write_all(b"the last line").unwrap();
        let text = log.read();
        assert!(text.starts_with("the first line\n") && text.ends_with("the last line"));
        assert_eq!(text.matches(OMISSION_MARK).count(), 1);
        assert_eq!(text.matches('\u{fffd}').count() as u64 + 15 + 13, HEAD + TAIL);
        assert!(log.tail().ends_with("the last line"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_space_of_the_middle_is_freed_while_the_worker_writes() {
        use std::os::unix::fs::MetadataExt as _;

        let (_directory, mut file, log) = log();
        let part = vec![b'x'; 1 << 20];
        for _ in 0..100 {
            file.write_all(&part).unwrap();
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        let used = || file.metadata().unwrap().blocks() * 512;
        while used() > HEAD + 2 * TAIL + (1 << 20) {
            assert!(Instant::now() < deadline, "{} MiB are used", used() >> 20);
            std::thread::sleep(Duration::from_millis(5));
        }
        file.write_all(b"the end").unwrap();
        assert_eq!(log.length(), (100 << 20) + 7, "offsets stay");
        let text = log.read();
        assert!(text.ends_with("the end") && !text.contains('\0'), "what is kept was not freed");
    }

    #[test]
    fn a_line_is_found_once_it_was_written_in_any_number_of_parts() {
        let (_directory, mut file, log) = log();
        let pattern = Regex::new("^ready to go$").unwrap();
        let mut write = |text: &[u8]| file.write_all(text).unwrap();
        assert!(!log.has_line(&pattern));
        write(b"starting\nready ");
        assert!(!log.has_line(&pattern));
        write(b"to g");
        assert!(!log.has_line(&pattern));
        write(b"o");
        assert!(log.has_line(&pattern), "the last line needs no newline");
        write(b"\nother\n");
        assert!(log.has_line(&pattern), "it stays found");
    }

    #[test]
    fn a_line_after_a_very_long_one_is_found() {
        let (_directory, mut file, log) = log();
        let pattern = Regex::new("^ready$").unwrap();
        file.write_all(&vec![0xff; 3 * MAX_LINE]).unwrap();
        assert!(!log.has_line(&pattern));
        assert!(log.scan.lock().unwrap().line.len() <= MAX_LINE);
        file.write_all(b"\nready\r\n").unwrap();
        assert!(log.has_line(&pattern));
    }
}
