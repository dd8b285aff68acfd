//! What a pod means to plugins: `CNI_ARGS` and the values of capabilities.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::CniError;
use crate::request::AttachRequest;

const INGRESS: &str = "kubernetes.io/ingress-bandwidth";
const EGRESS: &str = "kubernetes.io/egress-bandwidth";
/// The largest burst the bandwidth plugin takes: below 2^32 - 1 bytes, in bits; CRI-O passes the same.
const BURST: u64 = (u32::MAX as u64) * 8 - 1;

/// The pairs of `CNI_ARGS`, as every kubelet runtime passes them.
pub(crate) fn pairs(request: &AttachRequest) -> Result<Vec<(String, String)>, CniError> {
    let values: [(&'static str, &str); 5] = [
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", &request.namespace),
        ("K8S_POD_NAME", &request.name),
        ("K8S_POD_INFRA_CONTAINER_ID", request.sandbox.as_str()),
        ("K8S_POD_UID", &request.uid),
    ];
    for (key, value) in values {
        if value.is_empty() || value.contains([';', '=', '\0']) {
            return Err(CniError::Argument { key, value: value.chars().take(80).collect() });
        }
    }
    Ok(values.map(|(key, value)| (key.to_owned(), value.to_owned())).into())
}

/// The value of `CNI_ARGS`.
pub(crate) fn joined(pairs: &[(String, String)]) -> String {
    pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(";")
}

/// A value for every capability the engine knows and the pod gives reason for
/// (<https://www.cni.dev/docs/conventions/>).
pub(crate) fn capabilities(request: &AttachRequest) -> Result<Map<String, Value>, CniError> {
    let mut values = Map::new();
    let ports: Vec<Value> = request
        .port_mappings
        .iter()
        .filter(|mapping| mapping.host_port != 0)
        .map(|mapping| {
            let mut port = json!({
                "hostPort": mapping.host_port,
                "containerPort": mapping.container_port,
                "protocol": mapping.protocol.name(),
            });
            if let Some(ip) = mapping.host_ip {
                port["hostIP"] = json!(ip.to_string());
            }
            port
        })
        .collect();
    if !ports.is_empty() {
        values.insert("portMappings".into(), ports.into());
    }
    if let Some(bandwidth) = bandwidth(&request.annotations)? {
        values.insert("bandwidth".into(), bandwidth);
    }
    if let Some(dns) = &request.dns {
        let value = json!({"servers": dns.servers, "searches": dns.searches, "options": dns.options});
        values.insert("dns".into(), value);
    }
    if let Some(path) = &request.cgroup_path {
        values.insert("cgroupPath".into(), json!(path));
    }
    if !request.annotations.is_empty() {
        values.insert("io.kubernetes.cri.pod-annotations".into(), json!(request.annotations));
    }
    Ok(values)
}

fn bandwidth(annotations: &BTreeMap<String, String>) -> Result<Option<Value>, CniError> {
    let mut value = Map::new();
    for (annotation, rate, burst) in
        [(INGRESS, "ingressRate", "ingressBurst"), (EGRESS, "egressRate", "egressBurst")]
    {
        let Some(text) = annotations.get(annotation) else { continue };
        let refused = || CniError::Bandwidth { annotation, value: text.chars().take(80).collect() };
        let bits = quantity(text)
            .filter(|bits| (1_000..=1_000_000_000_000_000).contains(bits))
            .ok_or_else(refused)?;
        value.insert(rate.into(), bits.into());
        value.insert(burst.into(), BURST.into());
    }
    Ok(Some(value).filter(|value| !value.is_empty()).map(Value::Object))
}

/// A Kubernetes quantity, rounded up to a whole number: decimal digits with an optional fraction, then a decimal or
/// binary suffix or an exponent.
fn quantity(text: &str) -> Option<u64> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.len() + fraction.len() == 0 || whole.len() > 18 || fraction.len() > 9 || fraction.contains('.') {
        return None;
    }
    let mantissa: u128 = format!("{whole}{fraction}").parse().ok()?;
    let (factor, divisor): (u128, u128) = match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power =
                10u128.checked_pow(exponent.unsigned_abs()).filter(|_| exponent.unsigned_abs() <= 18)?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    };
    let scale = divisor * 10u128.pow(u32::try_from(fraction.len()).ok()?);
    u64::try_from(mantissa.checked_mul(factor)?.div_ceil(scale)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{PortMapping, PortProtocol};
    use ochre_types::SandboxId;
    use proptest::prelude::*;

    fn request() -> AttachRequest {
        AttachRequest {
            sandbox: SandboxId::generate(),
            name: "web".into(),
            namespace: "shop".into(),
            uid: "u-1".into(),
            netns: "/run/netns/x".into(),
            port_mappings: Vec::new(),
            annotations: BTreeMap::new(),
            cgroup_path: None,
            dns: None,
        }
    }

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        let cases = [
            ("10M", Some(10_000_000)),
            ("1Gi", Some(1 << 30)),
            ("500k", Some(500_000)),
            ("1.5M", Some(1_500_000)),
            ("1e6", Some(1_000_000)),
            ("2E3", Some(2_000)),
            ("1500m", Some(2)),
            ("+7", Some(7)),
            (".5k", Some(500)),
            ("", None),
            ("M", None),
            ("-1M", None),
            ("1 M", None),
            ("1.2.3", None),
            ("1KB", None),
            ("1e99", None),
            ("99999999999999999999", None),
        ];
        for (text, expected) in cases {
            assert_eq!(quantity(text), expected, "{text}");
        }
    }

    #[test]
    fn values_that_would_change_the_arguments_are_refused() {
        assert_eq!(
            joined(&pairs(&request()).unwrap()).split(';').collect::<Vec<_>>()[..3],
            ["IgnoreUnknown=1", "K8S_POD_NAMESPACE=shop", "K8S_POD_NAME=web"]
        );
        for hostile in ["a;K8S_POD_NAME=other", "a=b", "", "a\0b"] {
            let result = pairs(&AttachRequest { namespace: hostile.into(), ..request() });
            assert!(matches!(result, Err(CniError::Argument { key: "K8S_POD_NAMESPACE", .. })), "{hostile}");
        }
    }

    #[test]
    fn capabilities_carry_what_the_pod_has_and_nothing_else() {
        assert!(capabilities(&request()).unwrap().is_empty());
        let mut full = request();
        let mapping = |host_port| PortMapping {
            protocol: PortProtocol::Udp,
            container_port: 53,
            host_port,
            host_ip: Some("127.0.0.1".parse().unwrap()),
        };
        full.port_mappings = vec![mapping(5353), mapping(0)];
        full.annotations.insert(INGRESS.into(), "10M".into());
        let values = capabilities(&full).unwrap();
        let expected =
            json!([{"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"}]);
        assert_eq!(values["portMappings"], expected);
        assert_eq!(
            values["bandwidth"],
            json!({"ingressRate": 10_000_000, "ingressBurst": 34_359_738_359u64})
        );
        full.annotations.insert(EGRESS.into(), "10".into());
        assert!(matches!(capabilities(&full), Err(CniError::Bandwidth { annotation: EGRESS, .. })));
    }

    proptest! {
        #[test]
        fn any_text_is_a_quantity_or_not_but_never_a_panic(text in ".{0,40}") {
            quantity(&text);
        }
    }
}
