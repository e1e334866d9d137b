//! Reads text up to a limit, so that an input of any size takes a known amount of memory.

use std::io::{Error, ErrorKind, Read};

/// Reads UTF-8 text of at most `mib` MiB.
///
/// # Errors
/// The text cannot be read, is not UTF-8, or is longer; [`ErrorKind::FileTooLarge`] then, with the limit in the message.
pub(crate) fn read_text(from: impl Read, mib: u64) -> Result<String, Error> {
    let most = mib << 20;
    let mut bytes = Vec::new();
    // One byte more tells a text of exactly the limit from a longer one.
    if from.take(most + 1).read_to_end(&mut bytes)? as u64 > most {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("it is longer than the limit of {mib} MiB")));
    }
    String::from_utf8(bytes).map_err(|error| Error::new(ErrorKind::InvalidData, error.utf8_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_up_to_the_limit() {
        assert_eq!(read_text("é".as_bytes(), 1).unwrap(), "é");
        assert_eq!(read_text(std::io::repeat(b' ').take(1 << 20), 1).unwrap().len(), 1 << 20);
        let error = read_text(std::io::repeat(b' '), 1).unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::FileTooLarge, "it is longer than the limit of 1 MiB")
        );
        assert_eq!(read_text(&b"\xff"[..], 1).unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
