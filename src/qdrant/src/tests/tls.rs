//! TLS on both ports.

use std::fs;
use std::path::PathBuf;

use qdrant_client::Qdrant;
use rcgen::{CertificateParams, CertifiedKey, KeyPair, generate_simple_self_signed};

use super::super::Tls;
use super::*;

/// A certificate for `localhost` with its key, as files in `directory`.
fn files(directory: &Path, name: &str) -> (PathBuf, PathBuf, CertifiedKey<KeyPair>) {
    let made = generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("made");
    let (certificate, key) = (directory.join(format!("{name}.pem")), directory.join(format!("{name}.key")));
    fs::write(&certificate, made.cert.pem()).expect("written");
    fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    (certificate, key, made)
}

fn options(directory: &Path, tls: Tls) -> Options {
    Options { tls: Some(tls), ..Server::options(&directory.join("storage")) }
}

async fn refusal(options: Options) -> String {
    let refused = serve(options, CancellationToken::new(), |_| panic!("it must not start")).await;
    refused.expect_err("refused").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_protocols_work_over_tls_and_reject_plain_connections() {
    let directory = tempfile::tempdir().expect("a directory");
    let (certificate, key, made) = files(directory.path(), "server");
    let server = Server::start_with(options(directory.path(), Tls { certificate, key, authority: None })).await;
    let trusted = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).expect("a certificate");
    let client = Client::builder().tls_certs_only([trusted]).build().expect("a client");
    let url = format!("https://localhost:{}/collections", server.bound.http.port());
    let answer = client.get(&url).header("api-key", KEY).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(Client::new().get(&url).send().await.is_err(), "the certificate is not trusted");
    assert!(Client::new().get(server.url("/collections")).send().await.is_err(), "plain HTTP");

    let authority = tonic::transport::Certificate::from_pem(made.cert.pem());
    let tls = tonic::transport::ClientTlsConfig::new().ca_certificate(authority).domain_name("localhost");
    let endpoint = format!("https://localhost:{}", server.bound.grpc.port());
    let channel = tonic::transport::Endpoint::from_shared(endpoint).expect("an address").tls_config(tls).expect("TLS");
    let channel = channel.connect().await.expect("connected");
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    let request = tonic_health::pb::HealthCheckRequest { service: String::new() };
    assert_eq!(health.check(request).await.expect("an answer").into_inner().status, 1);
    let plain = format!("http://{}", server.bound.grpc);
    let plain = Qdrant::from_url(&plain).api_key(KEY).skip_compatibility_check().build().expect("a client");
    assert!(plain.list_collections().await.is_err());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_ca_clients_need_a_certificate() {
    let directory = tempfile::tempdir().expect("a directory");
    let (certificate, key, made) = files(directory.path(), "server");
    let own = KeyPair::generate().expect("a key");
    let authority = CertificateParams::new(["client".to_owned()]).expect("fit").self_signed(&own).expect("made");
    let path = directory.path().join("authority.pem");
    fs::write(&path, authority.pem()).expect("written");
    let tls = Tls { certificate, key, authority: Some(path) };
    let server = Server::start_with(options(directory.path(), tls)).await;
    let trusted = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).expect("a certificate");
    let url = format!("https://localhost:{}/", server.bound.http.port());
    let stranger = Client::builder().tls_certs_only([trusted.clone()]).build().expect("a client");
    assert!(stranger.get(&url).send().await.is_err());
    let identity = format!("{}{}", own.serialize_pem(), authority.pem());
    let identity = reqwest::Identity::from_pem(identity.as_bytes()).expect("an identity");
    let known = Client::builder().tls_certs_only([trusted]).identity(identity).build().expect("a client");
    assert_eq!(known.get(&url).send().await.expect("an answer").status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_files_are_named_with_a_remedy() {
    let directory = tempfile::tempdir().expect("a directory");
    let (certificate, key, _) = files(directory.path(), "server");
    let (_, other, _) = files(directory.path(), "other");
    let missing = directory.path().join("missing");
    let text =
        refusal(options(directory.path(), Tls { certificate: missing.clone(), key: key.clone(), authority: None }));
    let text = text.await;
    assert!(text.contains(&missing.display().to_string()) && text.contains("certificate"), "{text}");
    let text = refusal(options(directory.path(), Tls { certificate: key.clone(), key: key.clone(), authority: None }));
    assert!(text.await.contains("it contains no certificate"));
    let tls = Tls { certificate: certificate.clone(), key: certificate.clone(), authority: None };
    let text = refusal(options(directory.path(), tls)).await;
    assert!(text.contains("private key"), "{text}");
    let text = refusal(options(directory.path(), Tls { certificate, key: other.clone(), authority: None })).await;
    assert!(text.contains(&other.display().to_string()) && text.contains("use the certificate's own key"), "{text}");
}
