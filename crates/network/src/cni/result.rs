//! Reading the result of an ADD, in the shapes of 0.3.x, 0.4.0, 1.0.0 and 1.1.0.

use std::net::IpAddr;

use serde_json::Value;

use super::Version;

/// What of a result matters here; the whole of it is kept as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Summary {
    /// The pod's addresses with prefix lengths, in the order of the result.
    pub(crate) addresses: Vec<(IpAddr, u8)>,
    /// The hardware address of the pod's device.
    pub(crate) mac: Option<String>,
}

/// Whether a value can be a result: an object of a version spoken here, whose addresses can be read.
/// A result without a version is taken as one of the version that was asked for.
pub(crate) fn is_result(value: &Value) -> bool {
    let known = match value.get("cniVersion") {
        None => true,
        Some(version) => version.as_str().is_some_and(|version| Version::parse(version).is_some()),
    };
    value.is_object() && known && list(value, "ips").all(|ip| address(ip).is_some())
}

/// Takes the pod's part out of a result: addresses of host interfaces are not the pod's.
pub(crate) fn summarize(result: &Value, device: &str) -> Summary {
    let interfaces: Vec<&Value> = list(result, "interfaces").collect();
    let in_pod = |interface: &Value| text(interface, "sandbox").is_some_and(|sandbox| !sandbox.is_empty());
    let addresses = list(result, "ips")
        .filter(|ip| {
            let index =
                ip.get("interface").and_then(Value::as_u64).and_then(|index| usize::try_from(index).ok());
            index.and_then(|index| interfaces.get(index)).is_none_or(|interface| in_pod(interface))
        })
        .filter_map(address)
        .collect();
    let own =
        interfaces.iter().find(|interface| in_pod(interface) && text(interface, "name") == Some(device));
    Summary { addresses, mac: own.and_then(|interface| text(interface, "mac")).map(str::to_owned) }
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

fn address(ip: &Value) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text(ip, "address")?.split_once('/')?;
    let (address, prefix): (IpAddr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
    (prefix <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_pods_addresses_are_found_in_every_version() {
        let old = json!({"cniVersion": "0.3.1",
            "interfaces": [{"name": "br"}, {"name": "eth0", "mac": "aa:bb", "sandbox": "/run/netns/x"}],
            "ips": [{"version": "4", "interface": 1, "address": "10.0.0.2/24"},
                    {"version": "4", "interface": 0, "address": "10.0.0.1/24"}]});
        let new =
            json!({"cniVersion": "1.1.0", "ips": [{"address": "fd00::2/64"}, {"address": "10.0.0.2/24"}]});
        let old = summarize(&old, "eth0");
        assert_eq!(old.addresses, [("10.0.0.2".parse().unwrap(), 24)]);
        assert_eq!(old.mac.as_deref(), Some("aa:bb"));
        let new = summarize(&new, "eth0");
        assert_eq!(new.addresses, [("fd00::2".parse().unwrap(), 64), ("10.0.0.2".parse().unwrap(), 24)]);
    }

    #[test]
    fn what_is_no_result_is_recognised() {
        for good in [json!({}), json!({"cniVersion": "0.4.0"}), json!({"ips": [{"address": "1.2.3.4/8"}]})] {
            assert!(is_result(&good), "{good}");
        }
        for bad in [
            json!(null),
            json!([]),
            json!("x"),
            json!({"cniVersion": "0.2.0"}),
            json!({"cniVersion": 1}),
            json!({"ips": [{"address": "1.2.3.4"}]}),
            json!({"ips": [{"address": "1.2.3.4/33"}]}),
            json!({"ips": [{}]}),
        ] {
            assert!(!is_result(&bad), "{bad}");
        }
    }
}
