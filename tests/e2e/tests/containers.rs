//! Containers are what the request and the image say: process, identity, confinement, stdio, limits, exit.

use std::path::Path;

use anyhow::Context;
use ochre_cri_api as api;
use ochre_e2e::{
    HANDLERS, Node, Parent, busybox, container, eventually, file_with, limits, pod, pod_linux,
    pod_sharing_pids, security,
};
use serde_json::json;

/// An image with everything that a request can override.
const OPINIONATED: &str = "localhost/opinionated:latest";

fn opinionated() -> anyhow::Result<ochre_test_support::layout::Image> {
    let mut image = busybox()?;
    image.config = json!({
        "Entrypoint": ["/bin/echo", "entry"], "Cmd": ["cmd"], "Env": ["PATH=/bin", "A=image", "B=image"],
        "WorkingDir": "/not/there/yet", "User": "app", "StopSignal": "SIGUSR1", "Volumes": { "/data": {} },
    });
    Ok(image)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A container that stays until it is removed.
fn idle(name: &str) -> api::ContainerConfig {
    container(name, "sleep 10000")
}

#[tokio::test]
async fn command_and_arguments_merge_with_the_images_as_in_kubernetes() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    node.import(&opinionated()?, OPINIONATED)?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let cases: [(&str, &[&str], &[&str], &str); 4] = [
            ("neither", &[], &[], "entry cmd"),
            ("args", &[], &["args"], "entry args"),
            ("command", &["/bin/echo", "own"], &[], "own"),
            ("both", &["echo", "own"], &["args"], "own args"),
        ];
        for (name, command, args, expected) in cases {
            let mut config = container(name, "");
            config.image.as_mut().unwrap().image = OPINIONATED.into();
            (config.command, config.args) = (words(command), words(args));
            let app = node.launch(&id, config).await?;
            assert_eq!(node.exited(&app).await?.exit_code, 0, "{handler} {name}");
            let log = std::fs::read_to_string(node.path(&format!("logs/{handler}/{name}.log")))?;
            assert!(log.ends_with(&format!(" stdout F {expected}\n")), "{handler} {name}: {log}");
        }
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn environment_directory_user_signal_and_volumes_come_from_image_and_request() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    node.import(&opinionated()?, OPINIONATED)?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let mut by_image = container(
            "image",
            "echo $A $B $C; pwd; id -un; trap 'exit 9' USR1; while :; do sleep 0.05; done",
        );
        by_image.image.as_mut().unwrap().image = OPINIONATED.into();
        let mut by_request = by_image.clone();
        by_request.metadata.as_mut().unwrap().name = "request".into();
        by_request.log_path = "request.log".into();
        by_request.envs = [("A", "request"), ("C", "x=y z"), ("C2", "")]
            .map(|(key, value)| api::KeyValue { key: key.into(), value: value.into() })
            .to_vec();
        by_request.working_dir = "/made/here".into();
        by_request.stop_signal = api::Signal::Sigint as i32;
        by_request.command[2] =
            "echo $A $B $C; pwd; id -un; trap 'exit 8' INT; while :; do sleep 0.05; done".into();
        security(&mut by_request).run_as_user = Some(api::Int64Value { value: 0 });

        for (request, lines, signal, code) in [
            (by_image, ["image image", "/not/there/yet", "app"], api::Signal::Sigusr1, 9),
            (by_request, ["request image x=y z", "/made/here", "root"], api::Signal::Sigint, 8),
        ] {
            let name = request.metadata.as_ref().unwrap().name.clone();
            let app = node.launch(&id, request).await?;
            let log = file_with(&node.path(&format!("logs/{handler}/{name}.log")), lines[2]).await?;
            let said: Vec<_> = log
                .lines()
                .filter_map(|line| line.split_once(" stdout F "))
                .map(|(_, text)| text.trim())
                .collect();
            assert_eq!(said, lines, "{handler} {name}");
            let owner = node.said(&app, "stat -c %U /data").await?;
            assert_eq!(owner, lines[2], "{handler} {name}: the image's volume");
            let status = node.status(&app).await?;
            assert_eq!(status.stop_signal, signal as i32, "{handler} {name}");
            // The shell looks at its traps between two sleeps.
            node.stop_container(&app, 10).await?;
            assert_eq!(node.status(&app).await?.exit_code, code, "{handler} {name}");
        }
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn the_identity_of_the_process_is_that_of_the_status() -> anyhow::Result<()> {
    type Ask = fn(&mut api::LinuxContainerSecurityContext);
    let cases: [(&str, Ask, i64, i64, &[i64]); 7] = [
        ("nothing", |_| {}, 0, 0, &[0]),
        ("uid", |s| s.run_as_user = Some(api::Int64Value { value: 1000 }), 1000, 1000, &[1000, 2000]),
        ("name", |s| s.run_as_username = "app".into(), 1000, 1000, &[1000, 2000]),
        (
            "group",
            |s| {
                s.run_as_user = Some(api::Int64Value { value: 1000 });
                s.run_as_group = Some(api::Int64Value { value: 65534 });
            },
            1000,
            65534,
            &[2000, 65534],
        ),
        (
            "merge",
            |s| {
                s.run_as_user = Some(api::Int64Value { value: 1000 });
                s.supplemental_groups = vec![3000];
            },
            1000,
            1000,
            &[1000, 2000, 3000],
        ),
        (
            "strict",
            |s| {
                s.run_as_user = Some(api::Int64Value { value: 1000 });
                s.supplemental_groups = vec![3000];
                s.supplemental_groups_policy = api::SupplementalGroupsPolicy::Strict as i32;
            },
            1000,
            1000,
            &[1000, 3000],
        ),
        ("unknown", |s| s.run_as_user = Some(api::Int64Value { value: 4321 }), 4321, 0, &[0]),
    ];
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        for (name, ask, uid, gid, groups) in cases {
            let mut config = idle(name);
            ask(security(&mut config));
            let app = node.launch(&id, config).await?;
            let status = node.status(&app).await?;
            let user = status.user.and_then(|user| user.linux).unwrap();
            assert_eq!(
                (user.uid, user.gid, user.supplemental_groups.as_slice()),
                (uid, gid, groups),
                "{handler} {name}"
            );
            // The first process and an exec alike.
            for process in ["1", "self"] {
                let text =
                    node.said(&app, &format!("grep -E '^(Uid|Gid|Groups):' /proc/{process}/status")).await?;
                let mut lines = text.lines().map(|line| {
                    line.split_once(':')
                        .unwrap()
                        .1
                        .split_whitespace()
                        .map(|n| n.parse::<i64>().unwrap())
                        .collect::<Vec<_>>()
                });
                assert_eq!(lines.next().unwrap(), [uid; 4], "{handler} {name}");
                assert_eq!(lines.next().unwrap(), [gid; 4], "{handler} {name}");
                let mut seen = lines.next().unwrap();
                seen.sort_unstable();
                assert_eq!(seen, groups, "{handler} {name}");
            }
            if name == "unknown" {
                let record = node.said(&app, "grep :4321: /etc/passwd; id -un").await?;
                assert_eq!(record.lines().count(), 2, "{handler}: {record}");
                assert!(record.ends_with("\n4321"), "{handler}: {record}");
            }
        }
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn capabilities_are_the_default_ones_plus_added_minus_dropped() -> anyhow::Result<()> {
    const CHOWN: u64 = 1;
    const NET_BIND_SERVICE: u64 = 1 << 10;
    const NET_ADMIN: u64 = 1 << 12;
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let mut app = idle("app");
        security(&mut app).capabilities = Some(api::Capability {
            add_capabilities: words(&["NET_ADMIN"]),
            drop_capabilities: words(&["CHOWN"]),
            ..Default::default()
        });
        let app = node.launch(&id, app).await?;
        let sets = node.said(&app, "grep -E '^Cap' /proc/1/status").await?;
        let set = |name: &str| {
            let line = sets.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        for name in ["CapPrm:", "CapEff:", "CapBnd:"] {
            let held = set(name);
            assert_eq!(
                held & (CHOWN | NET_BIND_SERVICE | NET_ADMIN),
                NET_BIND_SERVICE | NET_ADMIN,
                "{handler} {sets}"
            );
        }
        // Never inherited or ambient unless asked (CVE-2022-27652, CVE-2018-1000400).
        assert_eq!((set("CapInh:"), set("CapAmb:")), (0, 0), "{handler} {sets}");
        let denied = node.said(&app, "touch /tmp/x; chown 5 /tmp/x && echo changed").await?;
        assert!(denied.contains("Operation not permitted"), "{handler}: {denied}");
        assert_eq!(node.said(&app, "ip link set lo mtu 5000 && echo set").await?, "set", "{handler}");
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn paths_are_masked_and_read_only_as_asked() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let mut app = idle("app");
        let context = security(&mut app);
        context.masked_paths = words(&["/etc/group", "/root", "/not/there"]);
        context.readonly_paths = words(&["/tmp", "/proc/sys", "/not/there"]);
        let app = node.launch(&id, app).await?;
        assert_eq!(node.said(&app, "cat /etc/group; ls -A /root").await?, "", "{handler}");
        let written = node
            .said(&app, "touch /tmp/x; echo 1 > /proc/sys/net/ipv4/ip_forward; touch /free && echo ok")
            .await?;
        assert_eq!(written.matches("Read-only file system").count(), 2, "{handler}: {written}");
        assert!(written.starts_with("ok"), "{handler}: {written}");

        let mut frozen = idle("frozen");
        security(&mut frozen).readonly_rootfs = true;
        let frozen = node.launch(&id, frozen).await?;
        let seen = node
            .said(
                &frozen,
                "touch /tmp/x; touch /etc/hosts; echo > /etc/resolv.conf; touch /dev/shm/x && echo shm",
            )
            .await?;
        assert_eq!(seen.matches("Read-only file system").count(), 3, "{handler}: {seen}");
        assert!(seen.starts_with("shm"), "{handler}: {seen}");
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn no_new_privileges_and_seccomp_are_what_was_asked() -> anyhow::Result<()> {
    use api::security_profile::ProfileType;
    let mut node = Node::start().await?;
    let profile = node.path("no-mkdir.json");
    let denied = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95 }],
    });
    std::fs::write(&profile, denied.to_string())?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let cases = [
            (None, "", "0"),
            (Some(ProfileType::Unconfined), "", "0"),
            (Some(ProfileType::RuntimeDefault), "", "2"),
            (Some(ProfileType::Localhost), profile.to_str().unwrap(), "2"),
        ];
        for (kind, file, mode) in cases {
            let name = kind.map_or("none".to_owned(), |kind| format!("{kind:?}").to_lowercase());
            let mut app = idle(&name);
            security(&mut app).no_new_privs = kind.is_some();
            security(&mut app).seccomp = kind
                .map(|kind| api::SecurityProfile { profile_type: kind as i32, localhost_ref: file.into() });
            let app = node.launch(&id, app).await?;
            for process in ["1", "self"] {
                let script =
                    format!("grep -E '^(NoNewPrivs|Seccomp):' /proc/{process}/status | tr -d '\\n\\t'");
                let expected = format!("NoNewPrivs:{}Seccomp:{mode}", u8::from(kind.is_some()));
                assert_eq!(node.said(&app, &script).await?, expected, "{handler} {name} {process}");
            }
            let made = node.said(&app, "mkdir /tmp/made && echo made").await?;
            match kind {
                Some(ProfileType::Localhost) => assert!(made.contains("not supported"), "{handler}: {made}"),
                _ => assert_eq!(made, "made", "{handler} {name}"),
            }
        }
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn privileged_sees_the_nodes_devices_and_writes_to_sys() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let mut config = pod(&node, handler);
        config.linux.as_mut().unwrap().security_context.as_mut().unwrap().privileged = true;
        let id = node.run_pod_with(&config, handler).await?;
        let plain = node.launch(&id, idle("plain")).await?;
        let mut app = idle("privileged");
        security(&mut app).privileged = true;
        let app = node.launch(&id, app).await?;
        let on_sys = "grep -E ' /sys ' /proc/1/mountinfo | cut -d' ' -f6 | cut -d, -f1; test -e /dev/kmsg && echo kmsg";
        let on_sys =
            on_sys.replace("cut -d' ' -f6 | cut -d, -f1", "grep -o ' r[wo],' | head -n 1 | tr -d ' ,'");
        assert_eq!(node.said(&plain, &on_sys).await?, "ro", "{handler}");
        assert_eq!(node.said(&app, &on_sys).await?, "rw\nkmsg", "{handler}");
        let status = node
            .said(&app, "grep -E '^Seccomp:' /proc/1/status | tr -d '\\t'; head -c 1 /dev/kmsg | wc -c")
            .await?;
        assert_eq!(status, "Seccomp:0\n1", "{handler}");
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn a_mapped_device_works_and_an_unlisted_one_is_denied() -> anyhow::Result<()> {
    // Anything that can be read, and that containers do not have by themselves.
    let device = ["/dev/cpu_dma_latency", "/dev/hwrng"].into_iter().find(|path| Path::new(path).exists());
    let device = device.ok_or_else(|| anyhow::anyhow!("no device to map"))?;
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let mut app = idle("app");
        app.devices.push(api::Device {
            container_path: "/dev/timer".into(),
            host_path: device.into(),
            permissions: "r".into(),
        });
        security(&mut app).capabilities =
            Some(api::Capability { add_capabilities: words(&["MKNOD"]), ..Default::default() });
        let app = node.launch(&id, app).await?;
        assert_eq!(node.said(&app, "head -c 4 /dev/timer | wc -c").await?, "4", "{handler}");
        let written = node.said(&app, ": >> /dev/timer && echo opened").await?;
        assert!(written.contains("Operation not permitted"), "{handler}: {written}");
        // Its node can be made, but not opened: the device cgroup.
        let denied =
            node.said(&app, "mknod /tmp/kmsg c 1 11 && echo made; : < /tmp/kmsg && echo opened").await?;
        assert!(
            denied.starts_with("made") && denied.contains("Operation not permitted"),
            "{handler}: {denied}"
        );
        assert_eq!(
            node.said(&app, "echo x > /dev/null && head -c 3 /dev/zero | wc -c").await?,
            "3",
            "{handler}"
        );
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn limits_are_in_the_cgroup_and_in_the_status() -> anyhow::Result<()> {
    let mut node = Node::configured("[crio.runtime]\npids_limit = 321\n").await?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let mut app = idle("app");
        let asked = api::LinuxContainerResources {
            cpu_shares: 512,
            cpu_quota: 50_000,
            cpu_period: 100_000,
            cpuset_cpus: "0".into(),
            memory_limit_in_bytes: 64 << 20,
            oom_score_adj: 500,
            ..Default::default()
        };
        *limits(&mut app) = asked.clone();
        let app = node.launch(&id, app).await?;
        let files: [(&str, &str, &str); 6] = [
            ("cpu", "cpu.shares", "512"),
            ("cpu", "cpu.cfs_quota_us", "50000"),
            ("cpu", "cpu.cfs_period_us", "100000"),
            ("cpuset", "cpuset.cpus", "0"),
            ("memory", "memory.limit_in_bytes", "67108864"),
            ("pids", "pids.max", "321"),
        ];
        let unified: [(&str, &str); 4] = [
            ("cpu.max", "50000 100000"),
            ("cpuset.cpus", "0"),
            ("memory.max", "67108864"),
            ("pids.max", "321"),
        ];
        if node.cgroup(&app, "memory").await?.join("memory.max").exists() {
            let directory = node.cgroup(&app, "").await?;
            for (file, expected) in unified {
                assert_eq!(
                    std::fs::read_to_string(directory.join(file))?.trim(),
                    expected,
                    "{handler} {file}"
                );
            }
        } else {
            for (controller, file, expected) in files {
                let path = node.cgroup(&app, controller).await?.join(file);
                assert_eq!(std::fs::read_to_string(&path)?.trim(), expected, "{handler} {}", path.display());
            }
        }
        assert_eq!(node.said(&app, "cat /proc/1/oom_score_adj").await?, "500", "{handler}");
        let status = node.status(&app).await?;
        assert_eq!(status.resources.and_then(|resources| resources.linux), Some(asked), "{handler}");
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn a_terminal_is_one_for_the_process_and_the_log() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let script = "for i in 0 1 2; do test -t $i && echo tty $i; done; echo err >&2; test -e /dev/console && echo $TERM";
        let mut with = container("with", script);
        with.tty = true;
        let with = node.launch(&id, with).await?;
        assert_eq!(node.exited(&with).await?.exit_code, 0, "{handler}");
        let log = std::fs::read_to_string(node.path(&format!("logs/{handler}/with.log")))?;
        let said: Vec<_> = log
            .lines()
            .filter_map(|line| line.split_once(" stdout F "))
            .map(|(_, text)| text.trim_end())
            .collect();
        assert_eq!(said, ["tty 0", "tty 1", "tty 2", "err", "xterm"], "{handler}");
        let without = node.launch(&id, container("without", script)).await?;
        node.exited(&without).await?;
        let log = std::fs::read_to_string(node.path(&format!("logs/{handler}/without.log")))?;
        assert!(log.contains(" stderr F err") && !log.contains("tty"), "{handler}: {log}");
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn standard_input_waits_when_asked_for_and_is_empty_otherwise() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let script = "echo reading; cat; echo end";
        let closed = node.launch(&id, container("closed", script)).await?;
        assert_eq!(node.exited(&closed).await?.exit_code, 0, "{handler}");
        let mut open = container("open", script);
        open.stdin = true;
        let open = node.launch(&id, open).await?;
        file_with(&node.path(&format!("logs/{handler}/open.log")), "reading").await?;
        // cat is the shell's child and waits: it has neither ended nor spins.
        eventually("cat waiting", async || {
            let child = node.said(&open, "cat /proc/1/task/1/children").await?;
            let state = node
                .said(&open, &format!("grep -E '^(Name|State)' /proc/{child}/status | tr -d '\\n\\t'"))
                .await?;
            Ok(Some(()).filter(|()| state == "Name:catState:S (sleeping)"))
        })
        .await?;
        let status = node.status(&open).await?;
        assert_eq!(status.state, api::ContainerState::ContainerRunning as i32, "{handler}");
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn exit_codes_are_the_processs_or_128_plus_the_signal() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let cases = [
            ("exit 0", 0, "Completed"),
            ("exit 255", 255, "Error"),
            ("exit 77", 77, "Error"),
            ("sleep 1000 & wait", 137, "Error"),
        ];
        for (number, (script, code, reason)) in cases.into_iter().enumerate() {
            let app = node.launch(&id, container(&format!("app{number}"), script)).await?;
            if code == 137 {
                node.stop_container(&app, 0).await?;
            }
            let ended = node.exited(&app).await?;
            assert_eq!((ended.exit_code, ended.reason.as_str()), (code, reason), "{handler} {script}");
        }
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn a_process_that_dies_of_a_signal_exits_with_128_plus_its_number() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let config = pod_sharing_pids(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        // Not process 1 of its PID namespace, which ignores signals that it has no handler for.
        for (signal, code) in [("TERM", 143), ("SEGV", 139), ("HUP", 129)] {
            let mut app = idle(signal);
            security(&mut app).namespace_options = Some(api::NamespaceOption::default());
            let app = node.launch(&id, app).await?;
            let pid = node.pid(&app).await?;
            ochre_e2e::run("kill", &[&format!("-{signal}"), &pid.to_string()])?;
            let ended = node.exited(&app).await.with_context(|| format!("{handler} {signal}"))?;
            assert_eq!((ended.exit_code, ended.reason.as_str()), (code, "Error"), "{handler} {signal}");
        }
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn a_signal_before_the_start_is_not_lost() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let id = node.run_pod(&pod_sharing_pids(&node, "early")).await?;
    for (signal, code) in [("TERM", 143), ("SEGV", 139), ("BUS", 135)] {
        let mut app = idle(signal);
        security(&mut app).namespace_options = Some(api::NamespaceOption::default());
        let app = node.create(&id, app).await?;
        let pid = node.pid(&app).await?;
        ochre_e2e::run("kill", &[&format!("-{signal}"), &pid.to_string()])?;
        let ended = node.exited(&app).await.with_context(|| signal)?;
        assert_eq!(ended.exit_code, code, "{signal}");
    }
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn a_missing_program_is_a_start_error_that_names_it_and_the_container_can_be_removed()
-> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let parent = Parent::new("start")?;
    for handler in HANDLERS {
        let mut config = pod(&node, handler);
        pod_linux(&mut config).cgroup_parent = parent.given();
        let id = node.run_pod_with(&config, handler).await?;
        for (name, program) in
            [("absolute", "/no/such/program"), ("searched", "no-such-program"), ("directory", "/tmp")]
        {
            let mut app = container(name, "");
            app.command = words(&[program]);
            // Runtimes find out at create or at start; the container is there in the second case only.
            let refused = match node.create(&id, app).await {
                Err(refused) => refused,
                Ok(app) => {
                    let refused = node.start_container(&app).await.unwrap_err();
                    let status = node.status(&app).await?;
                    assert_eq!(status.state, api::ContainerState::ContainerExited as i32, "{handler} {name}");
                    assert_eq!(
                        (status.exit_code, status.reason.as_str()),
                        (128, "StartError"),
                        "{handler} {name}"
                    );
                    assert!(status.message.contains(program), "{handler} {name}: {}", status.message);
                    node.remove_container(&app).await?;
                    refused
                }
            };
            // crun 1.8 has no word about what it could not execute when that is a directory.
            if (handler, name) != ("crun", "directory") {
                assert!(refused.message().contains(program), "{handler} {name}: {refused}");
            }
            assert!(refused.message().contains(name), "{handler} {name}: {refused}");
            let filter = api::ContainerFilter { pod_sandbox_id: id.clone(), ..Default::default() };
            let request = api::ListContainersRequest { filter: Some(filter) };
            let left = node.client.runtime.list_containers(request).await?.into_inner().containers;
            assert!(left.is_empty(), "{handler} {name}: {left:?}");
        }
        assert_eq!(parent.groups(), Vec::<std::path::PathBuf>::new(), "{handler}");
        let good = node.launch(&id, container("absolute", "exit 0")).await?;
        assert_eq!(node.exited(&good).await?.exit_code, 0, "{handler}");
        node.remove_pod(&id).await?;
    }
    drop(parent);
    node.finish()
}
