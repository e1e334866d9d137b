//! Timeouts of reads.

use std::future::Future;
use std::time::Duration;

use super::error::Error;

/// The default timeout of a read, as in the real server.
const DEFAULT: Duration = Duration::from_secs(60);

/// Awaits a read for at most the seconds that its request allows. The engine continues an abandoned read, so its thread
/// is freed later.
///
/// # Errors
/// Those of `read`, or [`Error::Timeout`].
pub(super) async fn within<T>(
    seconds: Option<u64>,
    read: impl Future<Output = Result<T, Error>> + Send,
) -> Result<T, Error> {
    let timeout = seconds.map_or(DEFAULT, Duration::from_secs);
    tokio::time::timeout(timeout, read).await.unwrap_or(Err(Error::Timeout("read", timeout)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_read_that_takes_too_long_times_out() {
        let given_up = within(Some(0), std::future::pending::<Result<(), Error>>()).await;
        assert_eq!(given_up.unwrap_err().codes().0, axum::http::StatusCode::REQUEST_TIMEOUT);
        assert_eq!(within(Some(1), std::future::ready(Ok(1))).await, Ok(1));
    }
}
