//! Rejected on purpose: every combination that the interface forbids is refused with the agreed code and a reason, and
//! nothing is changed by it. The object next to it, of the same name, is made right afterwards.

use ochre_cri_api as api;
use ochre_e2e::{HANDLERS, Node, Parent, Present, container, pod, pod_linux, pod_namespaces, security};
use tonic::{Code, Status};

use api::security_profile::ProfileType;

/// What is wrong, how the good request becomes it, and words of the answer.
type Row<T> = (&'static str, Box<dyn Fn(&mut T)>, &'static [&'static str]);

fn row<T>(name: &'static str, spoil: impl Fn(&mut T) + 'static, words: &'static [&'static str]) -> Row<T> {
    (name, Box::new(spoil), words)
}

/// `InvalidArgument` and the words; or the form that the kubelet recognises.
fn check(name: &str, refused: &Status, words: &[&str]) {
    let agreed = refused.code() == Code::Unknown && refused.message().starts_with("RROUnsupported: ");
    assert!(refused.code() == Code::InvalidArgument || agreed, "{name}: {refused}");
    for word in words {
        assert!(refused.message().contains(word), "{name}: {word:?} is not in {:?}", refused.message());
    }
}

fn mapping(container_id: u32, host_id: u32, length: u32) -> api::IdMapping {
    api::IdMapping { host_id, container_id, length }
}

fn users(
    mode: api::NamespaceMode,
    uids: Vec<api::IdMapping>,
    gids: Vec<api::IdMapping>,
) -> impl Fn(&mut api::PodSandboxConfig) {
    move |config| {
        pod_namespaces(config).userns_options =
            Some(api::UserNamespace { mode: mode as i32, uids: uids.clone(), gids: gids.clone() });
    }
}

fn pods() -> Vec<Row<api::PodSandboxConfig>> {
    use api::NamespaceMode::{Container, Pod, Target};
    let one = || vec![mapping(0, 200_000, 65536)];
    let two = || vec![mapping(0, 200_000, 1000), mapping(1000, 300_000, 1000)];
    let port = |host_port, container_port| {
        move |config: &mut api::PodSandboxConfig| {
            config.port_mappings = vec![api::PortMapping { host_port, container_port, ..Default::default() }];
        }
    };
    vec![
        row("two mappings of users", users(Pod, two(), one()), &["user"]),
        row("two mappings of groups", users(Pod, one(), two()), &["user"]),
        row("two mappings of both", users(Pod, two(), two()), &["user"]),
        row(
            "root is not mapped",
            users(Pod, vec![mapping(1, 200_000, 10)], vec![mapping(1, 200_000, 10)]),
            &["user"],
        ),
        row("users without groups", users(Pod, one(), vec![]), &["user"]),
        row("user namespace of a container", users(Container, one(), one()), &["user namespace mode"]),
        row("user namespace of a target", users(Target, one(), one()), &["user namespace mode"]),
        row("host port beyond 65535", port(65536, 80), &["host_port", "65536"]),
        row("host port of -1", port(-1, 80), &["host_port", "-1"]),
        row("host port without a container port", port(80, 0), &["container_port", "0"]),
        row("container port beyond 65535", port(80, 65536), &["container_port", "65536"]),
        row(
            "seccomp profile without a name",
            |config| {
                let context = pod_linux(config).security_context.get_or_insert_default();
                context.seccomp = Some(api::SecurityProfile { profile_type: 2, ..Default::default() });
            },
            &["seccomp"],
        ),
        row(
            "group without a user",
            |config| {
                let context = pod_linux(config).security_context.get_or_insert_default();
                context.run_as_group = Some(api::Int64Value { value: 5 });
            },
            &["run_as_group"],
        ),
        row("unknown network mode", |config| pod_namespaces(config).network = 4, &["network", "4"]),
        row("network of a target", |config| pod_namespaces(config).network = 3, &["network"]),
        row("IPC of a container", |config| pod_namespaces(config).ipc = 1, &["ipc"]),
        row("processes of a target", |config| pod_namespaces(config).pid = 3, &["pid"]),
    ]
}

fn volume(
    propagation: api::MountPropagation,
    readonly: bool,
    recursive_read_only: bool,
) -> impl Fn(&mut api::ContainerConfig) {
    move |config| {
        config.mounts.push(api::Mount {
            container_path: "/volume".into(),
            host_path: "/tmp".into(),
            propagation: propagation as i32,
            readonly,
            recursive_read_only,
            ..Default::default()
        });
    }
}

fn seccomp(kind: ProfileType, name: &str) -> impl Fn(&mut api::ContainerConfig) + 'static {
    let profile = api::SecurityProfile { profile_type: kind as i32, localhost_ref: name.to_owned() };
    move |config| security(config).seccomp = Some(profile.clone())
}

fn apparmor(kind: ProfileType, name: &str) -> impl Fn(&mut api::ContainerConfig) + 'static {
    let profile = api::SecurityProfile { profile_type: kind as i32, localhost_ref: name.to_owned() };
    move |config| security(config).apparmor = Some(profile.clone())
}

#[allow(deprecated)]
fn by_text(seccomp: &'static str, apparmor: &'static str) -> impl Fn(&mut api::ContainerConfig) {
    move |config| {
        security(config).seccomp_profile_path = seccomp.into();
        security(config).apparmor_profile = apparmor.into();
    }
}

fn capability(
    add: &'static [&'static str],
    drop: &'static [&'static str],
    ambient: &'static [&'static str],
) -> impl Fn(&mut api::ContainerConfig) {
    let owned = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
    move |config| {
        security(config).capabilities = Some(api::Capability {
            add_capabilities: owned(add),
            drop_capabilities: owned(drop),
            add_ambient_capabilities: owned(ambient),
        });
    }
}

fn run_as(user: Option<i64>, group: Option<i64>, name: &'static str) -> impl Fn(&mut api::ContainerConfig) {
    let id = |id: Option<i64>| id.map(|value| api::Int64Value { value });
    move |config| {
        security(config).run_as_user = id(user);
        security(config).run_as_group = id(group);
        security(config).run_as_username = name.into();
    }
}

fn target(id: &str) -> impl Fn(&mut api::ContainerConfig) + 'static {
    let id = id.to_owned();
    move |config| {
        let options = security(config).namespace_options.get_or_insert_default();
        (options.pid, options.target_id) = (api::NamespaceMode::Target as i32, id.clone());
    }
}

fn containers(profiles: &std::path::Path, stranger: &str, stopped: &str) -> Vec<Row<api::ContainerConfig>> {
    use api::MountPropagation::{PropagationBidirectional, PropagationHostToContainer, PropagationPrivate};
    let file = |name: &str| profiles.join(name).display().to_string();
    vec![
        row("recursive read-only, shared", volume(PropagationBidirectional, true, true), &["/volume"]),
        row("recursive read-only, slave", volume(PropagationHostToContainer, true, true), &["/volume"]),
        row("recursive read-only, writable", volume(PropagationPrivate, false, true), &["/volume"]),
        row("unknown seccomp profile", seccomp(ProfileType::Localhost, &file("none.json")), &["none.json"]),
        row("relative seccomp profile", seccomp(ProfileType::Localhost, "profile.json"), &["profile.json"]),
        row("empty Localhost profile", seccomp(ProfileType::Localhost, ""), &["seccomp"]),
        row("prefix and no seccomp profile", seccomp(ProfileType::Localhost, "localhost/"), &["seccomp"]),
        row("seccomp profile that is a directory", seccomp(ProfileType::Localhost, &file("")), &["profiles"]),
        row(
            "cut seccomp profile",
            seccomp(ProfileType::Localhost, &file("cut.json")),
            &["cut.json", "line 2 column"],
        ),
        row(
            "seccomp action that is none",
            seccomp(ProfileType::Localhost, &file("word.json")),
            &["word.json", "SCMP_ACT_PANIC"],
        ),
        row(
            "unknown kind of seccomp profile",
            |config| {
                security(config).seccomp =
                    Some(api::SecurityProfile { profile_type: 3, ..Default::default() })
            },
            &["seccomp", "3"],
        ),
        row("seccomp text without a file", by_text("localhost/", ""), &["seccomp"]),
        row(
            "seccomp text of an unknown file",
            by_text("localhost//none/such.json", ""),
            &["/none/such.json"],
        ),
        row("seccomp text that is none", by_text("confined", ""), &["seccomp", "confined"]),
        row("empty Localhost AppArmor profile", apparmor(ProfileType::Localhost, ""), &["apparmor"]),
        row("unloaded AppArmor profile", apparmor(ProfileType::Localhost, "ochre-none-such"), &["AppArmor"]),
        row("unloaded AppArmor profile by text", by_text("", "localhost/ochre-none-such"), &["AppArmor"]),
        row("AppArmor text that is none", by_text("", "ochre-none-such"), &["apparmor", "ochre-none-such"]),
        row("target that is not there", target(&"0".repeat(64)), &["0000"]),
        row("target without a name", target(""), &["target"]),
        row("target in another pod", target(stranger), &["target"]),
        row("target that has ended", target(stopped), &["target"]),
        row(
            "network of a container",
            |config| security(config).namespace_options.get_or_insert_default().network = 1,
            &["network"],
        ),
        row(
            "IPC of a target",
            |config| security(config).namespace_options.get_or_insert_default().ipc = 3,
            &["ipc"],
        ),
        row("capability that does not exist", capability(&["NET_ADMN"], &[], &[]), &["NET_ADMN"]),
        row("dropped capability that does not exist", capability(&[], &["CAP_FLY"], &[]), &["CAP_FLY"]),
        row("ambient capability that does not exist", capability(&[], &[], &["SYS_"]), &["SYS_"]),
        row("capability with the prefix twice", capability(&["CAP_CAP_KILL"], &[], &[]), &["CAP_CAP_KILL"]),
        row("capability without a name", capability(&[""], &[], &[]), &["capability"]),
        row("group without a user", run_as(None, Some(5), ""), &["run_as_group"]),
        row("user and user name", run_as(Some(5), None, "app"), &["run_as_user"]),
        row("user name the image does not have", run_as(None, None, "ghost"), &["ghost"]),
        row("privileged in a pod that is not", |config| security(config).privileged = true, &["privileged"]),
    ]
}

/// A pod below a parent.
fn pod_below(parent: &Parent, node: &Node, name: &str) -> api::PodSandboxConfig {
    let mut config = pod(node, name);
    pod_linux(&mut config).cgroup_parent = parent.given();
    config
}

#[tokio::test]
async fn forbidden_pods_are_refused_and_change_nothing() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let parent = Parent::new("rejected")?;
    // The bridge and the parent's groups are made with the first pod.
    for handler in HANDLERS {
        let neighbour = node.run_pod_with(&pod_below(&parent, &node, "neighbour"), handler).await?;
        let before = Present::on(&mut node, Some(parent.name())).await?;
        for (name, spoil, words) in pods() {
            let mut config = pod_below(&parent, &node, "wrong");
            spoil(&mut config);
            let refused = node.run_pod_with(&config, handler).await;
            let refused = refused.err().unwrap_or_else(|| panic!("{handler} {name}: accepted"));
            check(&format!("{handler} {name}"), &refused, words);
            Present::unchanged(&mut node, Some(parent.name()), &before, &format!("{handler} {name}")).await?;
        }
        let config = pod_below(&parent, &node, "wrong");
        let id = node.run_pod_with(&config, handler).await?;
        node.remove_pod(&id).await?;
        Present::unchanged(&mut node, Some(parent.name()), &before, "afterwards").await?;
        node.remove_pod(&neighbour).await?;
    }
    node.finish()
}

#[tokio::test]
async fn a_host_port_that_is_taken_is_refused_and_stays_where_it_is() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let parent = Parent::new("rejected")?;
    let port = |host_ip: &str, protocol: api::Protocol| api::PortMapping {
        host_port: 18_081,
        container_port: 80,
        host_ip: host_ip.into(),
        protocol: protocol as i32,
    };
    let with = |node: &Node, name: &str, mapping: api::PortMapping| {
        let mut config = pod_below(&parent, node, name);
        config.port_mappings = vec![mapping];
        config
    };
    let first = node.run_pod(&with(&node, "first", port("127.0.0.1", api::Protocol::Tcp))).await?;
    let before = Present::on(&mut node, Some(parent.name())).await?;
    for address in ["127.0.0.1", "", "0.0.0.0"] {
        let config = with(&node, "second", port(address, api::Protocol::Tcp));
        let refused = node.run_pod(&config).await.err().unwrap_or_else(|| panic!("{address:?}: accepted"));
        assert_eq!(refused.code(), Code::InvalidArgument, "{address:?}: {refused}");
        let said = refused.message();
        assert!(said.contains("18081") && said.contains("second"), "{address:?}: {refused}");
        Present::unchanged(&mut node, Some(parent.name()), &before, &format!("{address:?}")).await?;
    }
    // Another protocol and another address are other ports.
    let udp = node.run_pod(&with(&node, "udp", port("127.0.0.1", api::Protocol::Udp))).await?;
    let other = node.run_pod(&with(&node, "other", port("127.0.0.2", api::Protocol::Tcp))).await?;
    node.remove_pod(&first).await?;
    let second = node.run_pod(&with(&node, "second", port("127.0.0.1", api::Protocol::Tcp))).await?;
    for id in [udp, other, second] {
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn forbidden_containers_are_refused_and_change_nothing() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let parent = Parent::new("rejected")?;
    let profiles = node.path("profiles");
    std::fs::create_dir(&profiles)?;
    std::fs::write(profiles.join("cut.json"), "{ \"defaultAction\":\n")?;
    std::fs::write(profiles.join("word.json"), r#"{ "defaultAction": "SCMP_ACT_PANIC" }"#)?;
    for handler in HANDLERS {
        let id = node.run_pod_with(&pod_below(&parent, &node, handler), handler).await?;
        let elsewhere = node.run_pod_with(&pod_below(&parent, &node, "elsewhere"), handler).await?;
        let stranger = node.launch(&elsewhere, container("stranger", "sleep 1000")).await?;
        let stopped = node.launch(&id, container("stopped", "true")).await?;
        node.exited(&stopped).await?;
        // The end is seen before the kernel's last traces of it are gone.
        node.stop_container(&stopped, 0).await?;
        let running = node.launch(&id, container("running", "sleep 1000")).await?;
        let before = Present::on(&mut node, Some(parent.name())).await?;
        for (name, spoil, words) in containers(&profiles, &stranger, &stopped) {
            let mut config = container("wrong", "sleep 1000");
            spoil(&mut config);
            let refused = node.create(&id, config).await;
            let refused = refused.err().unwrap_or_else(|| panic!("{handler} {name}: accepted"));
            check(&format!("{handler} {name}"), &refused, words);
            assert!(refused.message().contains("wrong"), "{handler} {name}: {refused}");
            Present::unchanged(&mut node, Some(parent.name()), &before, &format!("{handler} {name}")).await?;
        }
        let mut guest = container("wrong", "sleep 1000");
        target(&running)(&mut guest);
        let guest = node.launch(&id, guest).await?;
        node.remove_container(&guest).await?;
        for id in [id, elsewhere] {
            node.remove_pod(&id).await?;
        }
    }
    node.finish()
}
