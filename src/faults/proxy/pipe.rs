//! Bytes from one socket to another without a copy: the kernel hands the pages on through a pipe.

use std::io;

use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// A pipe between two sockets. It is empty before each [`Pipe::fill`]: what fills it also drains it.
#[cfg(target_os = "linux")]
pub(super) struct Pipe {
    out: std::os::fd::OwnedFd,
    into: std::os::fd::OwnedFd,
    size: usize,
}

#[cfg(target_os = "linux")]
impl Pipe {
    /// Creates a pipe that holds `size` bytes, or as many as the system permits.
    pub(super) fn new(size: usize) -> io::Result<Self> {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        let (out, into) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let wanted = i32::try_from(size).unwrap_or(i32::MAX);
        // A pipe of the default size works too, only not as fast.
        let _ = fcntl(&into, FcntlArg::F_SETPIPE_SZ(wanted));
        Ok(Self { out, into, size })
    }

    /// Waits for bytes and takes them in. Returns 0 if the sender has closed.
    pub(super) async fn fill(&self, from: &OwnedReadHalf) -> io::Result<usize> {
        let from: &tokio::net::TcpStream = from.as_ref();
        from.async_io(tokio::io::Interest::READABLE, || moved(from, &self.into, self.size)).await
    }

    /// Waits until the receiver takes bytes, and writes up to `count` of those that it holds.
    pub(super) async fn drain(&self, to: &OwnedWriteHalf, count: usize) -> io::Result<usize> {
        let to: &tokio::net::TcpStream = to.as_ref();
        to.async_io(tokio::io::Interest::WRITABLE, || moved(&self.out, to, count)).await
    }
}

#[cfg(target_os = "linux")]
fn moved(from: impl std::os::fd::AsFd, to: impl std::os::fd::AsFd, count: usize) -> io::Result<usize> {
    use nix::fcntl::{SpliceFFlags, splice};
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    Ok(splice(from, None, to, None, count, flags)?)
}

/// Only Linux can splice; elsewhere bytes are copied.
#[cfg(not(target_os = "linux"))]
pub(super) enum Pipe {}

#[cfg(not(target_os = "linux"))]
impl Pipe {
    pub(super) fn new(_: usize) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) async fn fill(&self, _: &OwnedReadHalf) -> io::Result<usize> {
        match *self {}
    }

    pub(super) async fn drain(&self, _: &OwnedWriteHalf, _: usize) -> io::Result<usize> {
        match *self {}
    }
}
