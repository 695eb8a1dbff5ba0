//! Certificates for tests: an authority, the clients that it knows, those that it does not, and what text calls them.

use std::sync::OnceLock;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};

/// Who signs.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// Who shows a certificate.
pub(crate) struct Identity {
    /// The certificate.
    pub(crate) der: Vec<u8>,
    /// The certificate.
    pub(crate) pem: String,
    /// Its key.
    pub(crate) key_pem: String,
}

/// The years in which a certificate is in force.
type Years = (i32, i32);

/// In force at any time of a test.
const NOW: Years = (2025, 2075);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = params(name, NOW);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    fn issue(&self, mut params: CertificateParams, purpose: ExtendedKeyUsagePurpose) -> Identity {
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity { der: certificate.der().to_vec(), pem: certificate.pem(), key_pem: key.serialize_pem() }
    }

    /// A client with the common name, of `O=Contoso, C=DE`.
    pub(crate) fn client(&self, name: &str, serial: u8, years: Years) -> Identity {
        let mut params = params(name, years);
        params.serial_number = Some(SerialNumber::from_slice(&[0x1a, 0x2b, serial]));
        params.subject_alt_names = vec![
            SanType::DnsName(format!("{name}.contoso.com").try_into().unwrap()),
            SanType::URI(format!("spiffe://contoso/{name}").try_into().unwrap()),
        ];
        self.issue(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A server that is reached on this machine.
    pub(crate) fn server(&self) -> Identity {
        let mut params = params("localhost", NOW);
        params.subject_alt_names =
            vec![SanType::DnsName("localhost".try_into().unwrap()), SanType::IpAddress([127, 0, 0, 1].into())];
        self.issue(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A list that revokes these serial numbers, and is to be replaced in the middle of a year.
    pub(crate) fn revocation_list(&self, serials: &[u8], next: i32) -> String {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&[0x1a, 0x2b, *serial]),
            revocation_time: date_time_ymd(2025, 2, 1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2025, 2, 1),
            next_update: date_time_ymd(next, 7, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

fn params(name: &str, (from, to): Years) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CountryName, "DE");
    params.distinguished_name.push(DnType::OrganizationName, "Contoso");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Identity {
    /// As RFC 9440 has it in a header.
    pub(crate) fn item(&self) -> String {
        format!(":{}:", STANDARD.encode(&self.der))
    }

    pub(crate) fn sha1(&self) -> String {
        hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &self.der).as_ref())
    }

    pub(crate) fn sha256(&self) -> String {
        hex(digest::digest(&digest::SHA256, &self.der).as_ref())
    }

    /// As Envoy and nginx have it in a header.
    pub(crate) fn escaped(&self) -> String {
        percent_encoding::utf8_percent_encode(&self.pem, percent_encoding::NON_ALPHANUMERIC).to_string()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Everybody that tests know.
pub(crate) struct Everybody {
    pub(crate) authority: Authority,
    pub(crate) stranger: Authority,
    /// By what they are called in text.
    pub(crate) clients: Vec<(&'static str, Identity)>,
    pub(crate) server: Identity,
}

impl Everybody {
    /// The same each time it is asked for.
    pub(crate) fn get() -> &'static Self {
        static ALL: OnceLock<Everybody> = OnceLock::new();
        ALL.get_or_init(|| {
            let (authority, stranger) = (Authority::new("Contoso Root"), Authority::new("Fabrikam Root"));
            let clients = vec![
                ("erp", authority.client("erp", 1, NOW)),
                ("crm", authority.client("crm", 2, NOW)),
                ("expired", authority.client("erp", 3, (2024, 2025))),
                ("future", authority.client("erp", 4, (2074, 2075))),
                ("revoked", authority.client("erp", 5, NOW)),
                ("stranger", stranger.client("erp", 1, NOW)),
            ];
            let server = authority.server();
            Self { authority, stranger, clients, server }
        })
    }

    #[track_caller]
    pub(crate) fn client(&self, name: &str) -> &Identity {
        &self.clients.iter().find(|(known, _)| *known == name).expect("somebody known").1
    }

    /// What text calls them and what belongs to them.
    pub(crate) fn names(&self) -> Vec<(String, String)> {
        let line = |pem: &str| pem.trim_end().to_owned();
        let mut names = vec![
            ("{{authority}}".to_owned(), line(self.authority.pem())),
            ("{{revoked}}".to_owned(), line(&self.authority.revocation_list(&[5], 2075))),
            ("{{revoked-too-old}}".to_owned(), line(&self.authority.revocation_list(&[5], 2025))),
        ];
        for (name, identity) in &self.clients {
            names.push((format!("{{{{certificate {name}}}}}"), identity.item()));
            names.push((format!("{{{{escaped {name}}}}}"), identity.escaped()));
            names.push((format!("{{{{thumbprint {name}}}}}"), identity.sha1()));
            names.push((format!("{{{{sha256 {name}}}}}"), identity.sha256()));
            names.push((format!("{{{{pem {name}}}}}"), line(&identity.pem)));
            names.push((format!("{{{{key {name}}}}}"), line(&identity.key_pem)));
        }
        names
    }
}
