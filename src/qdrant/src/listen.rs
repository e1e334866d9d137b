//! Incoming connections, plain or over TLS, the same for REST and gRPC.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::error::ServeError;

/// Timeout of the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Maximum of connections that are ready but not accepted yet.
const READY: usize = 64;
/// Pause after a failed accept, e.g. without free file descriptors.
const REFUSED: Duration = Duration::from_millis(100);

/// TLS files, in PEM.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The server's certificate and its intermediates.
    pub certificate: PathBuf,
    /// The key of the certificate.
    pub key: PathBuf,
    /// CA for client certificates; without it clients need none.
    pub authority: Option<PathBuf>,
}

impl Tls {
    /// Reads the files, for the ALPN protocol `alpn`.
    ///
    /// # Errors
    /// A file is unreadable or invalid, or the key does not fit the certificate.
    pub(super) fn acceptor(&self, alpn: &[u8]) -> Result<TlsAcceptor, ServeError> {
        let wrong = |path: &Path, reason: &dyn std::fmt::Display, remedy| ServeError::Tls {
            path: path.display().to_string(),
            reason: reason.to_string(),
            remedy,
        };
        let chain = certificates(&self.certificate, "specify a PEM file that contains the server's certificate")?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| {
            wrong(&self.key, &error, "specify a PEM file that contains the certificate's private key")
        })?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&self.certificate, &error, "report this as a bug"))?;
        let builder = match &self.authority {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let remedy = "specify a PEM file that contains the CA certificate of the clients";
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path, remedy)? {
                    roots.add(certificate).map_err(|error| wrong(path, &error, remedy))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| wrong(path, &error, remedy))?)
            }
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| wrong(&self.key, &error, "use the certificate's own key"))?;
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificates(path: &Path, remedy: &'static str) -> Result<Vec<CertificateDer<'static>>, ServeError> {
    let wrong = |reason: String| ServeError::Tls { path: path.display().to_string(), reason, remedy };
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found {
        Ok(found) if found.is_empty() => Err(wrong("it contains no certificate".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// A connection that is ready for requests.
#[derive(Debug)]
pub(super) enum Connection {
    /// Plain.
    Plain(TcpStream),
    /// TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A stream of connections that are ready. Dropping it stops listening.
#[derive(Debug)]
pub(super) struct Incoming {
    ready: mpsc::Receiver<(Connection, SocketAddr)>,
    local: SocketAddr,
}

impl Incoming {
    /// Listens on `host` and `port`; 0 takes a free port.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub(super) async fn bind(host: IpAddr, port: u16, tls: Option<TlsAcceptor>) -> Result<Self, ServeError> {
        let address = SocketAddr::new(host, port);
        let failed = |source| ServeError::Bind { address: address.to_string(), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let local = listener.local_addr().map_err(failed)?;
        let (sender, ready) = mpsc::channel(READY);
        tokio::spawn(accept(listener, tls, sender));
        Ok(Self { ready, local })
    }

    /// The local address.
    #[must_use]
    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }
}

/// Accepts connections until the receiver is dropped. A slow handshake does not block other connections.
async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, ready: mpsc::Sender<(Connection, SocketAddr)>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ready.closed() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection");
                tokio::time::sleep(REFUSED).await;
                continue;
            }
        };
        // Responses are written at once; Nagle's algorithm would only delay them.
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls.clone() else {
            if ready.send((Connection::Plain(stream), peer)).await.is_err() {
                return;
            }
            continue;
        };
        let ready = ready.clone();
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                // A server that is stopping accepts no connections.
                Ok(Ok(stream)) => drop(ready.send((Connection::Tls(Box::new(stream)), peer)).await),
                Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
            }
        });
    }
}

impl axum::serve::Listener for Incoming {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.ready.recv().await {
            Some(ready) => ready,
            // The accepting task ends after this one, never before, so there is nothing to accept.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.ready.poll_recv(context).map(|ready| ready.map(|(connection, _)| Ok(connection)))
    }
}

impl tonic::transport::server::Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, buffers),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, buffers),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
