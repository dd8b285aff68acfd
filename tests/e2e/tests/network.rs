//! The pod network: dual stack, host ports, kernel parameters, DNS and the node's network, as seen over the CRI.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::Context;
use ochre_client::Client;
use ochre_cri_api as api;
use ochre_e2e::{Node, Present, check_refusal, container, pod, pod_linux, pod_namespaces, run};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tonic::Code;

const DUAL: &str = "[crio.network]\nnative_subnets = [\"10.85.0.0/16\", \"fd85::/64\"]\n";
/// That a first packet is never lost is the network crate's to test; here a busy machine has time.
const PATIENCE: Duration = Duration::from_millis(2500);

fn idle(name: &str) -> api::ContainerConfig {
    container(name, "sleep 10000")
}

fn port(protocol: api::Protocol, host_port: i32, container_port: i32, host_ip: &str) -> api::PortMapping {
    api::PortMapping { protocol: protocol as i32, container_port, host_port, host_ip: host_ip.into() }
}

/// Runs something in the network namespace of a process.
fn inside<T: Send>(pid: i32, work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    let netns = std::fs::File::open(format!("/proc/{pid}/ns/net"))?;
    std::thread::scope(|scope| {
        let visit = scope.spawn(move || {
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&netns), Some(LinkNameSpaceType::Network))?;
            work()
        });
        visit.join().map_err(|_| anyhow::anyhow!("the visit panicked"))?
    })
}

/// Servers in a pod that answer on TCP and UDP of both families with a word and the peer's address.
fn serve(pid: i32, number: u16, word: &'static str) -> anyhow::Result<()> {
    let any = (Ipv6Addr::UNSPECIFIED, number);
    let (listener, socket) = inside(pid, || Ok((TcpListener::bind(any)?, UdpSocket::bind(any)?)))?;
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let Ok(peer) = stream.peer_addr() else { continue };
            drop(write!(stream, "{word} {}", peer.ip().to_canonical()));
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 16];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            drop(socket.send_to(format!("{word} {}", peer.ip().to_canonical()).as_bytes(), peer));
        }
    });
    Ok(())
}

/// What a server says, or why it cannot be reached.
fn fetch(address: &str) -> std::io::Result<String> {
    let address: SocketAddr = address.parse().map_err(std::io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn ask_udp(address: &str) -> std::io::Result<String> {
    let address: SocketAddr = address.parse().map_err(std::io::Error::other)?;
    let client = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.connect(address)?;
    client.send(b"?")?;
    let mut buffer = [0; 64];
    let count = client.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
}

async fn addresses(node: &mut Node, pod: &str) -> anyhow::Result<Vec<IpAddr>> {
    let request = api::PodSandboxStatusRequest { pod_sandbox_id: pod.into(), verbose: false };
    let status = node.client.runtime.pod_sandbox_status(request).await?.into_inner().status;
    let network = status.and_then(|status| status.network).context("network status")?;
    let more = network.additional_ips.into_iter().map(|more| more.ip);
    Ok(std::iter::once(network.ip).chain(more).map(|ip| ip.parse()).collect::<Result<_, _>>()?)
}

#[tokio::test]
async fn a_dual_stack_pod_has_both_addresses_and_answers_on_both() -> anyhow::Result<()> {
    let mut node = Node::configured(DUAL).await?;
    let mut before: Option<(i32, Vec<IpAddr>)> = None;
    let mut pods = Vec::new();
    for name in ["first", "second"] {
        let config = pod(&node, name);
        let id = node.run_pod(&config).await?;
        let ips = addresses(&mut node, &id).await?;
        let both = matches!(ips[..], [IpAddr::V4(four), IpAddr::V6(six)]
            if four.octets()[..2] == [10, 85] && six.segments()[0] == 0xfd85);
        assert!(both, "{ips:?}");
        let app = node.launch(&id, idle("app")).await?;
        let pid = node.pid(&app).await?;
        serve(pid, 80, "pod")?;
        for ip in &ips {
            let address = SocketAddr::new(*ip, 80).to_string();
            let own = if ip.is_ipv4() { "pod 10.85.0.1" } else { "pod fd85::1" };
            assert_eq!(fetch(&address)?, own);
            if let Some((other, theirs)) = &before {
                let same = theirs.iter().find(|their| their.is_ipv4() == ip.is_ipv4()).context("family")?;
                assert_eq!(inside(*other, || Ok(fetch(&address)?))?, format!("pod {same}"));
            }
        }
        let seen = node.said(&app, "cat /etc/hosts; ip addr show eth0; ip -6 route").await?;
        let hostname = &id[..12];
        for ip in &ips {
            assert!(
                seen.contains(&format!("{ip}\t{hostname}")) && seen.contains(&format!("{ip}/")),
                "{seen}"
            );
        }
        assert!(!seen.contains("tentative") && seen.contains("default via fd85::1"), "{seen}");
        assert!(seen.contains("127.0.0.1\tlocalhost") && seen.contains("::1\tlocalhost"), "{seen}");
        before = Some((pid, ips));
        pods.push(id);
    }
    for id in pods {
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn the_order_of_subnets_is_that_of_addresses_and_ipv6_may_be_alone() -> anyhow::Result<()> {
    for (subnets, expected) in [
        ("\"fd85::/64\", \"10.85.0.0/16\"", &[false, true][..]),
        ("\"fd85::/64\"", &[false]),
        ("\"10.85.0.0/16\"", &[true]),
    ] {
        let mut node = Node::configured(&format!("[crio.network]\nnative_subnets = [{subnets}]\n")).await?;
        let config = pod(&node, "order");
        let id = node.run_pod(&config).await?;
        let ips = addresses(&mut node, &id).await?;
        assert_eq!(ips.iter().map(IpAddr::is_ipv4).collect::<Vec<_>>(), expected, "{ips:?}");
        node.remove_pod(&id).await?;
        node.finish()?;
    }
    Ok(())
}

#[tokio::test]
async fn host_ports_are_reached_on_every_address_they_were_asked_for_and_survive_the_engine()
-> anyhow::Result<()> {
    use api::Protocol::{Sctp, Tcp, Udp};
    let mut node = Node::configured(DUAL).await?;
    run("ip", &["link", "add", "e2e-uplink", "type", "bridge"])?;
    run("ip", &["address", "add", "192.0.2.10/24", "dev", "e2e-uplink"])?;
    run("ip", &["address", "add", "2001:db8::10/64", "dev", "e2e-uplink", "nodad"])?;
    run("ip", &["link", "set", "e2e-uplink", "up"])?;
    let mut config = pod(&node, "server");
    config.port_mappings = vec![
        port(Tcp, 18_080, 80, ""),
        port(Udp, 18_080, 80, ""),
        port(Sctp, 18_080, 80, ""),
        port(Tcp, 18_081, 80, "127.0.0.1"),
        port(Tcp, 18_082, 80, "192.0.2.10"),
        port(Tcp, 18_083, 80, "2001:db8::10"),
        port(Tcp, 18_084, 80, "0.0.0.0"),
        port(Tcp, 18_085, 80, "::"),
        port(Tcp, 0, 80, ""),
    ];
    let server = node.run_pod(&config).await?;
    let app = node.launch(&server, idle("app")).await?;
    serve(node.pid(&app).await?, 80, "server")?;
    // The same port on another address is another port.
    let mut other = pod(&node, "other");
    other.port_mappings = vec![port(Tcp, 18_082, 80, "127.0.0.1"), port(Udp, 18_081, 80, "")];
    let client = node.run_pod(&other).await?;
    let app = node.launch(&client, idle("app")).await?;
    let client_pid = node.pid(&app).await?;
    serve(client_pid, 80, "other")?;

    let four = addresses(&mut node, &server).await?[0];
    assert!(fetch(&format!("{four}:80"))?.starts_with("server"), "the container port alone");
    for life in ["first", "second"] {
        for (address, expected) in [
            ("127.0.0.1:18080", Some("server")),
            ("192.0.2.10:18080", Some("server")),
            ("[2001:db8::10]:18080", Some("server")),
            // The kernel takes no answer to `::1` from another device: refused at once, so that clients go on.
            ("[::1]:18080", None),
            ("127.0.0.1:18081", Some("server")),
            ("192.0.2.10:18081", None),
            ("192.0.2.10:18082", Some("server")),
            ("127.0.0.1:18082", Some("other")),
            ("[2001:db8::10]:18082", None),
            ("[2001:db8::10]:18083", Some("server")),
            ("127.0.0.1:18083", None),
            ("127.0.0.1:18084", Some("server")),
            ("[2001:db8::10]:18084", None),
            ("[2001:db8::10]:18085", Some("server")),
            ("127.0.0.1:18085", None),
        ] {
            match (fetch(address), expected) {
                (Ok(text), Some(word)) => assert!(text.starts_with(word), "{life} {address}: {text}"),
                (Err(error), None) => {
                    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{life} {address}")
                }
                (answer, _) => panic!("{life} {address}: {answer:?}"),
            }
        }
        for address in ["127.0.0.1:18080", "192.0.2.10:18080", "[2001:db8::10]:18080"] {
            assert!(ask_udp(address)?.starts_with("server"), "{life} {address}/udp");
        }
        assert!(ask_udp("127.0.0.1:18081")?.starts_with("other"), "{life}");
        // From a pod: to another pod's port, and to its own.
        for address in ["192.0.2.10:18080", "[2001:db8::10]:18080", "10.85.0.1:18080"] {
            assert!(inside(client_pid, || Ok(fetch(address)?))?.starts_with("server"), "{life} {address}");
        }
        let ruleset = run("nft", &["list", "ruleset"])?;
        assert_eq!(ruleset.matches("sctp . 18080").count(), 2, "{ruleset}");
        if life == "first" {
            node.engine.kill()?;
            assert!(fetch("127.0.0.1:18080")?.starts_with("server"), "without the engine");
            node.engine.start_again()?;
            node.client = Client::connect(&node.engine.socket()).await?;
        }
    }
    node.remove_pod(&server).await?;
    for address in ["127.0.0.1:18080", "192.0.2.10:18080", "[2001:db8::10]:18080"] {
        assert!(fetch(address).is_err() && ask_udp(address).is_err(), "{address}");
    }
    assert!(fetch("127.0.0.1:18082")?.starts_with("other"));
    node.remove_pod(&client).await?;
    assert!(!run("nft", &["list", "ruleset"])?.contains("1808"));
    run("ip", &["link", "delete", "e2e-uplink"])?;
    node.finish()
}

#[tokio::test]
async fn a_host_port_that_cannot_be_had_is_an_invalid_argument_and_changes_nothing() -> anyhow::Result<()> {
    use api::Protocol::{Tcp, Udp};
    let mut node = Node::configured(DUAL).await?;
    let _listener = TcpListener::bind("127.0.0.1:18090")?;
    let _resolver = UdpSocket::bind("[::]:18090")?;
    let mut first = pod(&node, "first");
    first.port_mappings = vec![port(Tcp, 18_091, 80, ""), port(Udp, 18_092, 80, "127.0.0.1")];
    let owner = node.run_pod(&first).await?;
    let before = Present::on(&mut node, None).await?;
    let ruleset = run("nft", &["list", "ruleset"])?;
    for (name, mappings, words) in [
        ("taken", vec![port(Tcp, 18_091, 80, "")], vec!["18091/tcp", &owner[..]]),
        (
            "taken later in the list",
            vec![port(Tcp, 18_093, 80, ""), port(Tcp, 18_091, 81, "")],
            vec!["18091/tcp"],
        ),
        ("taken on an address", vec![port(Udp, 18_092, 80, "127.0.0.1")], vec!["18092/udp", &owner[..]]),
        ("twice", vec![port(Tcp, 18_093, 80, ""), port(Tcp, 18_093, 81, "")], vec!["18093/tcp", "twice"]),
        ("of a process", vec![port(Tcp, 18_090, 80, "")], vec!["18090/tcp", "process", "127.0.0.1"]),
        ("of a resolver", vec![port(Udp, 18_090, 80, "127.0.0.1")], vec!["18090/udp", "process"]),
        ("out of range", vec![port(Tcp, 65_536, 80, "")], vec!["65536"]),
        ("negative", vec![port(Tcp, -1, 80, "")], vec!["-1"]),
        ("container port out of range", vec![port(Tcp, 18_093, 0, "")], vec!["container_port"]),
        ("no address", vec![port(Tcp, 18_093, 80, "localhost")], vec!["localhost"]),
        ("the loopback of IPv6", vec![port(Tcp, 18_093, 80, "::1")], vec!["18093/tcp", "::1"]),
    ] {
        let mut config = pod(&node, "second");
        config.port_mappings = mappings;
        let refused = node.run_pod(&config).await.unwrap_err();
        check_refusal(name, &refused, Code::InvalidArgument, &words);
        Present::on(&mut node, None).await?.same(&before, name);
        assert_eq!(run("nft", &["list", "ruleset"])?, ruleset, "{name}");
    }
    let mut config = pod(&node, "second");
    config.port_mappings =
        vec![port(Tcp, 18_093, 80, ""), port(Tcp, 18_090, 80, "127.0.0.2"), port(Udp, 18_091, 80, "")];
    let id = node.run_pod(&config).await?;
    node.remove_pod(&id).await?;
    node.remove_pod(&owner).await?;
    node.finish()
}

#[tokio::test]
async fn plugins_addresses_of_both_families_are_the_pods_and_get_its_host_ports() -> anyhow::Result<()> {
    use api::Protocol::Tcp;
    let portmap = ",{\"type\":\"portmap\",\"capabilities\":{\"portMappings\":true},\"snat\":true}";
    for more in ["", portmap] {
        let mut node = Node::prepared("[crio.network]\nplugin_dirs = [\"/usr/lib/cni\"]\n", |directory| {
            std::fs::create_dir(directory.join("cni"))?;
            let text = format!(
                "{{\"cniVersion\":\"1.0.0\",\"name\":\"both\",\"plugins\":[{{\"type\":\"bridge\",\"bridge\":\"e2e-both\",\
                 \"isGateway\":true,\"ipMasq\":false,\"hairpinMode\":true,\"ipam\":{{\"type\":\"host-local\",\
                 \"dataDir\":\"{}/ipam\",\"ranges\":[[{{\"subnet\":\"10.98.0.0/24\"}}],[{{\"subnet\":\"fd98::/64\"}}]],\
                 \"routes\":[{{\"dst\":\"0.0.0.0/0\"}},{{\"dst\":\"::/0\"}}]}}}}{more}]}}",
                directory.display()
            );
            Ok(std::fs::write(directory.join("cni/10-both.conflist"), text)?)
        })
        .await?;
        let mut config = pod(&node, "plugins");
        config.port_mappings = vec![port(Tcp, 18_095, 80, "")];
        let id = node.run_pod(&config).await?;
        let texts: Vec<_> = addresses(&mut node, &id).await?.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.98.0.2", "fd98::2"]);
        let app = node.launch(&id, idle("app")).await?;
        let pid = node.pid(&app).await?;
        serve(pid, 80, "pod")?;
        assert!(node.said(&app, "cat /etc/hosts").await?.contains("fd98::2\t"));
        assert!(fetch("127.0.0.1:18095")?.starts_with("pod"));
        // Whoever publishes the port does it alone.
        let ours = run("nft", &["list", "ruleset"])?.contains("tcp . 18095");
        assert_eq!(ours, more.is_empty());
        node.remove_pod(&id).await?;
        assert!(fetch("127.0.0.1:18095").is_err());
        assert!(!run("nft", &["list", "ruleset"])?.contains("18095"));
        run("ip", &["link", "delete", "e2e-both"])?;
        node.finish()?;
    }
    Ok(())
}

#[tokio::test]
async fn kernel_parameters_are_the_kernels_defaults_or_those_asked_for() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let config = pod(&node, "plain");
    let plain = node.run_pod(&config).await?;
    let app = node.launch(&plain, idle("app")).await?;
    let group_range = "cat /proc/sys/net/ipv4/ping_group_range";
    assert_eq!(node.said(&app, group_range).await?, "1\t0", "no group may open ping sockets");

    // Safe ones as Kubernetes lists them, and unsafe ones: which are allowed is the kubelet's decision.
    let asked = [
        ("net.ipv4.ip_unprivileged_port_start", "80"),
        ("net.ipv4.ping_group_range", "0 10"),
        ("net.ipv4.tcp_syncookies", "0"),
        ("net.core.somaxconn", "1234"),
        ("net.ipv6.conf.all.forwarding", "1"),
        ("kernel.shm_rmid_forced", "1"),
        ("kernel.msgmax", "65000"),
        ("kernel.sem", "200 25600 80 100"),
        ("fs.mqueue.queues_max", "99"),
    ];
    let mut config = pod(&node, "set");
    let nodes = |key: &str| std::fs::read_to_string(format!("/proc/sys/{}", key.replace('.', "/")));
    let (asked, missing): (Vec<_>, Vec<_>) = asked.into_iter().partition(|(key, _)| nodes(key).is_ok());
    println!("parameters that this kernel does not have: {missing:?}");
    assert!(missing.len() <= 1, "{missing:?}");
    pod_linux(&mut config).sysctls =
        asked.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    let of_node: Vec<_> = asked.iter().map(|(key, _)| nodes(key).ok()).collect();
    let id = node.run_pod(&config).await?;
    let app = node.launch(&id, idle("app")).await?;
    for (key, value) in &asked {
        let seen = node.said(&app, &format!("cat /proc/sys/{}", key.replace('.', "/"))).await?;
        assert_eq!(seen.split_whitespace().collect::<Vec<_>>().join(" "), *value, "{key}");
    }
    assert_eq!(asked.iter().map(|(key, _)| nodes(key).ok()).collect::<Vec<_>>(), of_node);
    node.remove_pod(&id).await?;
    node.remove_pod(&plain).await?;
    node.finish()
}

#[tokio::test]
async fn dns_options_are_written_as_given_within_their_limits() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let domain = format!("{}.test", "d".repeat(200));
    for (dns, expected) in [
        (
            // Row 62 of the conformance suite.
            api::DnsConfig {
                servers: texts(&["10.10.10.10"]),
                searches: texts(&["google.com"]),
                options: texts(&["ndots:8"]),
            },
            "search google.com\nnameserver 10.10.10.10\noptions ndots:8".to_owned(),
        ),
        (
            api::DnsConfig {
                servers: texts(&["10.0.0.10", "fd00::a", "2001:db8::53"]),
                searches: vec![domain.clone(); 8],
                options: texts(&["ndots:5", "edns0", "timeout:1"]),
            },
            format!(
                "search {}\nnameserver 10.0.0.10\nnameserver fd00::a\nnameserver 2001:db8::53\n\
                 options ndots:5 edns0 timeout:1",
                vec![domain.clone(); 8].join(" ")
            ),
        ),
        (
            api::DnsConfig { servers: texts(&["10.0.0.10"]), ..Default::default() },
            "nameserver 10.0.0.10".into(),
        ),
    ] {
        let mut config = pod(&node, "dns");
        config.dns_config = Some(dns);
        let id = node.run_pod(&config).await?;
        let app = node.launch(&id, idle("app")).await?;
        assert_eq!(node.said(&app, "cat /etc/resolv.conf").await?, expected);
        node.remove_pod(&id).await?;
    }
    let mut config = pod(&node, "dns");
    for hostile in ["1.1.1.1\nnameserver 6.6.6.6", "a b"] {
        config.dns_config = Some(api::DnsConfig { options: texts(&[hostile]), ..Default::default() });
        let refused = node.run_pod(&config).await.unwrap_err();
        check_refusal("hostile option", &refused, Code::InvalidArgument, &["dns"]);
    }
    node.finish()
}

#[tokio::test]
async fn a_pod_in_the_nodes_network_listens_on_the_node_and_has_its_names() -> anyhow::Result<()> {
    use api::Protocol::Tcp;
    let mut node = Node::start().await?;
    let mut config = pod(&node, "node-network");
    pod_namespaces(&mut config).network = api::NamespaceMode::Node as i32;
    // The kubelet repeats the container's ports as host ports: they are the same.
    config.port_mappings = vec![port(Tcp, 18_097, 18_097, "")];
    let id = node.run_pod(&config).await?;
    let mut web =
        container("web", "mkdir /tmp/w; echo page >/tmp/w/index.html; exec httpd -f -p 18097 -h /tmp/w");
    let namespaces = &mut web.linux.get_or_insert_default().security_context.get_or_insert_default();
    namespaces.namespace_options.get_or_insert_default().network = api::NamespaceMode::Node as i32;
    let web = node.launch(&id, web).await?;
    let page = ochre_e2e::eventually("the page", async || {
        let Ok(mut stream) = TcpStream::connect("127.0.0.1:18097") else { return Ok(None) };
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(Some(text))
    })
    .await?;
    assert!(page.ends_with("page\n"), "{page}");
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    assert_eq!(node.said(&web, "cat /etc/hosts").await?, hosts.trim());
    let table = run("nft", &["list", "ruleset"])?;
    assert!(!table.contains("18097"), "{table}");
    node.remove_pod(&id).await?;
    node.finish()
}
