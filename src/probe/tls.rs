//! A server's certificate: completes the handshake with any certificate, and sends nothing afterwards.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Context, Observation, ProbeError};
use crate::outcome::Evidence;
use crate::services::ServiceError;
use crate::spec::{TlsBefore, TlsProbe, TlsYield};

/// `SSLRequest` of the Postgres protocol.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

pub(super) async fn observe(probe: &TlsProbe, context: &Context) -> Result<Observation, ProbeError> {
    let template = context.template();
    let address = template.fill(&probe.address)?;
    if let Some(scheme) = &probe.scheme {
        let scheme = template.fill(scheme)?;
        if matches!(scheme.as_str(), "redis" | "http") {
            return Err(ProbeError::Missing(format!("{address} uses {scheme}://, without TLS")));
        }
    }
    let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
    let name = match &probe.name {
        Some(name) => template.fill(name)?,
        None => host.trim_start_matches('[').trim_end_matches(']').to_owned(),
    };
    let authorities = probe.authorities.as_ref().map(|path| template.fill(path)).transpose()?;
    let seen = handshake(&address, &name, authorities.as_deref(), probe.before).await?;
    let Some(certificate) = seen.certificate else {
        return Err(ProbeError::Undecided(format!("{address} presented no certificate")));
    };
    let facts = facts(&certificate)
        .ok_or_else(|| ProbeError::Undecided(format!("cannot parse the certificate of {address}")))?;
    let (_, not_after) = facts.validity;
    let days = days_between(Timestamp::now(), not_after);
    let mut observation = match probe.yields {
        TlsYield::Problem => {
            let problem = seen.problem.map(|error| format_problem(&error, &name, days, facts.self_signed));
            Observation::new(format!("problem with the certificate of {address}"), problem)
        }
        TlsYield::DaysLeft => Observation::new(format!("days until the certificate of {address} expires"), days),
        TlsYield::HostMatches => {
            let name = server_name(&name)?;
            let fits = ParsedCertificate::try_from(&certificate)
                .is_ok_and(|parsed| rustls::client::verify_server_name(&parsed, &name).is_ok());
            Observation::new(format!("whether the certificate of {address} is for {}", name.to_str()), fits)
        }
        TlsYield::SelfSigned => {
            Observation::new(format!("whether the certificate of {address} is self-signed"), facts.self_signed)
        }
        TlsYield::Version => Observation::new(format!("TLS version of {address}"), seen.version),
    };
    observation.also.push(Evidence::seen("valid until", not_after.to_string()));
    Ok(observation)
}

/// The problem of a certificate in words.
fn format_problem(error: &Error, name: &str, days: i64, self_signed: bool) -> String {
    use CertificateError as Wrong;
    match error {
        Error::InvalidCertificate(Wrong::Expired | Wrong::ExpiredContext { .. }) => {
            format!("expired {} days ago", -days)
        }
        Error::InvalidCertificate(Wrong::NotValidYet | Wrong::NotValidYetContext { .. }) => "not valid yet".to_owned(),
        Error::InvalidCertificate(Wrong::NotValidForName | Wrong::NotValidForNameContext { .. }) => {
            format!("not valid for the name {name}")
        }
        _ if self_signed => "self-signed and not trusted".to_owned(),
        Error::InvalidCertificate(Wrong::UnknownIssuer | Wrong::BadSignature) => {
            "signed by an authority that is not trusted".to_owned()
        }
        other => other.to_string(),
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, ProbeError> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| ProbeError::Undecided(format!("`{name}` is not a valid server name")))
}

/// The result of a handshake.
struct Handshake {
    certificate: Option<CertificateDer<'static>>,
    /// Why a client that verifies certificates would abort.
    problem: Option<Error>,
    version: Option<&'static str>,
}

async fn handshake(
    address: &str,
    name: &str,
    authorities: Option<&str>,
    before: TlsBefore,
) -> Result<Handshake, ProbeError> {
    let unusable = |detail: String| ProbeError::Undecided(detail);
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(path) => {
            let unreadable = |error| unusable(format!("cannot read certificates from `{path}`: {error}"));
            for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
                roots.add(certificate.map_err(unreadable)?).map_err(|error| unusable(format!("`{path}`: {error}")))?;
            }
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| unusable(error.to_string()))?;
    let verifier = Arc::new(CertificateVerifier { inner, presented: Mutex::default() });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    let name = server_name(name)?;
    let mut stream = super::tcp::connect(address, "tls").await?;
    let refused = |detail: String| ServiceError::Refused { service: "tls", detail: format!("{address}: {detail}") };
    let shake = async {
        if before == TlsBefore::Postgres {
            request_postgres_tls(&mut stream).await?;
        }
        TlsConnector::from(Arc::new(config)).connect(name, &mut stream).await.map(|stream| {
            stream.get_ref().1.protocol_version().map(|version| match version {
                rustls::ProtocolVersion::TLSv1_3 => "1.3",
                rustls::ProtocolVersion::TLSv1_2 => "1.2",
                _ => "unknown",
            })
        })
    };
    let version = tokio::time::timeout(super::tcp::CONNECT, shake)
        .await
        .map_err(|_| refused("no TLS handshake within 5 s: the port probably does not support TLS".to_owned()).into())
        .and_then(|shaken| {
            shaken.map_err(|error| match error.kind() {
                std::io::ErrorKind::Unsupported => ProbeError::Missing(format!("{address}: {error}")),
                _ => refused(error.to_string()).into(),
            })
        })?;
    let (certificate, problem) = verifier
        .presented
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
        .map_or((None, None), |(certificate, problem)| (Some(certificate), problem));
    Ok(Handshake { certificate, problem, version })
}

async fn request_postgres_tls(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(&SSL_REQUEST).await?;
    match stream.read_u8().await? {
        b'S' => Ok(()),
        _ => Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "Postgres does not support TLS here")),
    }
}

/// Whether a port supports TLS with any certificate; `name` is the requested server name.
pub(super) async fn supports_tls(address: &str, name: &str) -> Result<bool, ProbeError> {
    let name = name.trim_start_matches('[').trim_end_matches(']');
    match handshake(address, name, None, TlsBefore::Nothing).await {
        Ok(_) => Ok(true),
        Err(ProbeError::Service(error @ ServiceError::Unreachable { .. })) => {
            Err(ProbeError::Missing(error.to_string()))
        }
        // A server that requires a client certificate supports TLS too.
        Err(ProbeError::Service(ServiceError::Refused { detail, .. })) => Ok(detail.contains("fatal alert")),
        Err(error) => Err(error),
    }
}

/// The certificate that was presented, and why it is invalid.
type Presented = Option<(CertificateDer<'static>, Option<Error>)>;

/// Accepts every certificate, and records the error of a client that verifies it.
#[derive(Debug)]
struct CertificateVerifier {
    inner: Arc<WebPkiServerVerifier>,
    presented: Mutex<Presented>,
}

impl ServerCertVerifier for CertificateVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let problem = self.inner.verify_server_cert(certificate, intermediates, name, ocsp, now).err();
        let presented = Some((certificate.clone().into_owned(), problem));
        *self.presented.lock().unwrap_or_else(PoisonError::into_inner) = presented;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Fields of a certificate.
struct Facts {
    validity: (Timestamp, Timestamp),
    self_signed: bool,
}

/// Parses the required fields of a certificate (RFC 5280, 4.1).
fn facts(certificate: &[u8]) -> Option<Facts> {
    let (_, whole, _) = element(certificate)?;
    let (_, mut rest, _) = element(whole)?;
    // The version is absent for version 1.
    if rest.first() == Some(&0xa0) {
        rest = element(rest)?.2;
    }
    let after_serial = element(rest)?.2;
    let after_algorithm = element(after_serial)?.2;
    let (_, issuer, after_issuer) = element(after_algorithm)?;
    let (_, validity, after_validity) = element(after_issuer)?;
    let (_, subject, _) = element(after_validity)?;
    let (tag, text, next) = element(validity)?;
    let from = time(tag, text)?;
    let (tag, text, _) = element(next)?;
    Some(Facts { validity: (from, time(tag, text)?), self_signed: issuer == subject })
}

/// Splits a DER element into tag, content and the rest.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let length =
            bytes.iter().try_fold(0_usize, |sum, byte| sum.checked_mul(256)?.checked_add(usize::from(*byte)))?;
        (length, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// A `UTCTime` (two digits of the year, until 2049) or a `GeneralizedTime`.
fn time(tag: u8, text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.trim_end_matches('Z');
    let full = match tag {
        0x17 => format!("{}{text}", if text.get(..2)? < "50" { "20" } else { "19" }),
        0x18 => text.to_owned(),
        _ => return None,
    };
    let civil = DateTime::strptime("%Y%m%d%H%M%S", full).ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// Whole days, rounded down: a certificate that expired an hour ago has -1 days left.
fn days_between(from: Timestamp, until: Timestamp) -> i64 {
    (until.as_second() - from.as_second()).div_euclid(86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_issuer_of_a_certificate_are_parsed() {
        let mut params = rcgen::CertificateParams::new(vec!["here.test".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2001, 2, 3);
        params.not_after = rcgen::date_time_ymd(2051, 4, 5);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let facts = facts(certificate.der()).unwrap();
        assert_eq!(facts.validity.0.to_string(), "2001-02-03T00:00:00Z");
        assert_eq!(facts.validity.1.to_string(), "2051-04-05T00:00:00Z");
        assert!(facts.self_signed);
        for cut in [0, 1, 5, 40, 100] {
            assert!(super::facts(&certificate.der()[..cut]).is_none(), "a truncated certificate is invalid");
        }
    }

    #[test]
    fn a_certificate_that_expired_an_hour_ago_has_minus_one_day_left() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(days_between(at(10_000), at(6_400)), -1);
        assert_eq!(days_between(at(0), at(86_400)), 1);
        assert_eq!(days_between(at(0), at(86_399)), 0);
    }
}
