//! Certificates that are expired, of another host, or of an unknown authority.

use std::fs;

use super::{check, judged, verdicts};
use crate::support::certificates::params;
use crate::support::cli_sandbox::CliSandbox;
use crate::support::harness::{TestStack, runtime};

/// An authority of certificates, and servers that show what it signed.
pub(super) struct Authority {
    issuer: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "an authority for tests");
        let issuer = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    pub(super) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// The address of a server with a certificate for `names`, good in these years.
    pub(super) fn serve(&self, names: &[&str], (from, until): (i32, i32)) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params(names, from, until).signed_by(&key, &self.issuer).unwrap();
        serve(&certificate, &key)
    }
}

fn serve(certificate: &rcgen::Certificate, key: &rcgen::KeyPair) -> String {
    runtime().block_on(crate::support::certificates::serve(certificate, key, false))
}

pub(super) fn certificates_are_distinguished(stack: &TestStack) {
    let sandbox = CliSandbox::new();
    let (authority, stranger) = (Authority::new(), Authority::new());
    fs::write(sandbox.path("work/ca.pem"), authority.pem()).unwrap();
    let own_key = rcgen::KeyPair::generate().unwrap();
    let own = params(&["good.test"], 2020, 4000).self_signed(&own_key).unwrap();
    let servers = [
        ("good", authority.serve(&["good.test"], (2020, 4000)), "pass", ""),
        ("expired", authority.serve(&["good.test"], (2001, 2002)), "fail", "expired "),
        ("wrong-host", authority.serve(&["other.test"], (2020, 4000)), "fail", "not valid for the name good.test"),
        ("unknown-issuer", stranger.serve(&["good.test"], (2020, 4000)), "fail", "an authority that is not trusted"),
        ("self-signed", serve(&own, &own_key), "fail", "self-signed and not trusted"),
    ];
    let facts = |name: &str| match name {
        "expired" => (false, true, false),
        "wrong-host" => (true, false, false),
        "self-signed" => (true, true, true),
        _ => (true, true, false),
    };
    let mut text = "suite = \"tls\"\ntitle = \"t\"\n".to_owned();
    let mut add = |id: &str, address: &str, more: &str, expect: &str| {
        text.push_str(&format!(
            "[[case]]\nid = \"tls.{id}\"\ntitle = \"t\"\nlevel = \"must\"\nwhy = \"w\"\nremedy = \"r\"\nsource = \"s\"\n\
             probe.tls = {{ address = \"{address}\", name = \"good.test\", authorities = \"ca.pem\"{more} }}\n\
             expect = {{ {expect} }}\n"
        ));
    };
    for (name, address, _, _) in &servers {
        add(name, address, "", "exists = false");
        let (lasts, fits, alone) = facts(name);
        let days = if lasts { "at_least = 600000" } else { "at_most = -7000" };
        add(&format!("{name}-days"), address, ", yields = \"days-left\"", days);
        add(&format!("{name}-host"), address, ", yields = \"host-matches\"", &format!("equals = {fits}"));
        add(&format!("{name}-alone"), address, ", yields = \"self-signed\"", &format!("equals = {alone}"));
    }
    add("version", &servers[0].1, ", yields = \"version\"", "equals = \"1.3\"");
    fs::write(sandbox.path("suites/tls.toml"), &text).unwrap();
    let suites = sandbox.path("suites");
    let endpoints = stack.prepared("tls");
    let (_, report) = judged(&mut check(&sandbox, &endpoints, &["--suites", suites.to_str().unwrap()]));
    let verdicts = verdicts(&report);
    for (name, _, wanted, says) in servers {
        let (word, reason) = &verdicts[&format!("tls.{name}")];
        assert!(word == wanted && reason.contains(says), "{name}: {word}: {reason}");
        for fact in ["days", "host", "alone"] {
            let id = format!("tls.{name}-{fact}");
            assert_eq!(verdicts[&id].0, "pass", "{id}: {}", verdicts[&id].1);
        }
    }
    assert_eq!(verdicts["tls.version"].0, "pass");
}
