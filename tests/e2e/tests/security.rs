//! The security context of a container is what the process lives in: capabilities bit by bit, privilege, masks,
//! identities, AppArmor; with every handler, for the first process and for execs.

use anyhow::Context;
use ochre_cri_api as api;
use ochre_e2e::{HANDLERS, Node, busybox, check_refusal, container, pod, pod_linux, security};
use ochre_test_support::layout::Entry;
use tonic::Code;

type Ask = fn(&mut api::LinuxContainerSecurityContext);

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn idle(name: &str) -> api::ContainerConfig {
    container(name, "sleep 10000")
}

fn user(uid: i64) -> Option<api::Int64Value> {
    Some(api::Int64Value { value: uid })
}

fn allow_privileged(config: &mut api::PodSandboxConfig) {
    pod_linux(config).security_context.get_or_insert_default().privileged = true;
}

/// The engine's default set (`default_capabilities`): CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID,
/// SETPCAP, NET_BIND_SERVICE.
const DEFAULT: u64 = 1 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | NET_BIND_SERVICE;
const KILL: u64 = 1 << 5;
const NET_BIND_SERVICE: u64 = 1 << 10;
const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;
const SYS_ADMIN: u64 = 1 << 21;

/// Inheritable, permitted, effective, bounding, ambient: the order of `/proc/<pid>/status`.
type Sets = [u64; 5];

fn sets(status: &str) -> anyhow::Result<Sets> {
    let mut found = [0; 5];
    for (place, name) in found.iter_mut().zip(["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"]) {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("a capability line")?;
        *place = u64::from_str_radix(line.trim(), 16)?;
    }
    Ok(found)
}

/// What the engine itself holds, and can give.
fn held() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    sets(&status).unwrap()[1]
}

fn capabilities(
    add: &[&str],
    drop: &[&str],
    ambient: &[&str],
) -> impl Fn(&mut api::LinuxContainerSecurityContext) + 'static {
    let asked = api::Capability {
        add_capabilities: words(add),
        drop_capabilities: words(drop),
        add_ambient_capabilities: words(ambient),
    };
    move |context| context.capabilities = Some(asked.clone())
}

#[tokio::test]
async fn all_five_capability_sets_are_exactly_what_was_asked() -> anyhow::Result<()> {
    let all = held();
    let plain = |granted: u64| [0, granted & all, granted & all, granted & all, 0];
    // A program that another user executes keeps of the granted ones only the ambient ones.
    let of_user = |bounding: u64, ambient: u64| [ambient, ambient, ambient, bounding & all, ambient];
    type Change = Box<dyn Fn(&mut api::LinuxContainerSecurityContext)>;
    let as_user = |change: Change| -> Change {
        Box::new(move |context| {
            change(context);
            context.run_as_user = user(1000);
        })
    };
    let cases: Vec<(&str, Change, Sets)> = vec![
        ("nothing", Box::new(|_| {}), plain(DEFAULT)),
        ("add", Box::new(capabilities(&["NET_ADMIN"], &[], &[])), plain(DEFAULT | NET_ADMIN)),
        (
            "spellings",
            Box::new(capabilities(&["CAP_NET_ADMIN", "net_raw"], &["Cap_Kill", "CHOWN"], &[])),
            plain((DEFAULT | NET_ADMIN | NET_RAW) & !KILL & !1),
        ),
        ("add-all", Box::new(capabilities(&["ALL"], &[], &[])), plain(u64::MAX)),
        ("add-cap-all", Box::new(capabilities(&["cap_all"], &["SYS_ADMIN"], &[])), plain(!SYS_ADMIN)),
        ("drop-all", Box::new(capabilities(&[], &["ALL"], &[])), plain(0)),
        ("drop-all-but-one", Box::new(capabilities(&["KILL"], &["ALL"], &[])), plain(KILL)),
        ("add-and-drop-all", Box::new(capabilities(&["ALL"], &["ALL"], &[])), plain(0)),
        (
            "ambient",
            Box::new(capabilities(&[], &[], &["NET_RAW"])),
            [
                NET_RAW,
                (DEFAULT | NET_RAW) & all,
                (DEFAULT | NET_RAW) & all,
                (DEFAULT | NET_RAW) & all,
                NET_RAW,
            ],
        ),
        ("user", as_user(Box::new(|_| {})), of_user(DEFAULT, 0)),
        (
            "user-add",
            as_user(Box::new(capabilities(&["NET_ADMIN"], &[], &[]))),
            of_user(DEFAULT | NET_ADMIN, 0),
        ),
        (
            "user-ambient",
            as_user(Box::new(capabilities(&[], &["ALL"], &["NET_BIND_SERVICE"]))),
            of_user(NET_BIND_SERVICE, NET_BIND_SERVICE),
        ),
        (
            "user-ambient-dropped",
            as_user(Box::new(capabilities(&[], &["NET_RAW"], &["NET_RAW"]))),
            of_user(DEFAULT, 0),
        ),
        ("privileged", Box::new(|context| context.privileged = true), [all; 5]),
        ("user-privileged", as_user(Box::new(|context| context.privileged = true)), [all; 5]),
    ];
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let mut config = pod(&node, handler);
        allow_privileged(&mut config);
        let id = node.run_pod_with(&config, handler).await?;
        for (name, change, expected) in &cases {
            let mut app = idle(name);
            change(security(&mut app));
            let app = node.launch(&id, app).await?;
            let both = node.said(&app, "cat /proc/1/status; echo; cat /proc/self/status").await?;
            let (first, exec) = both.split_once("\n\n").context("two statuses")?;
            for (process, status) in [("process 1", first), ("exec", exec)] {
                let found = sets(status)?;
                assert_eq!(found, *expected, "{handler} {name} {process}: {found:x?} and not {expected:x?}");
            }
        }
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn the_inheritable_set_is_filled_by_an_option_only() -> anyhow::Result<()> {
    let mut node = Node::configured(
        "[crio.runtime]\nadd_inheritable_capabilities = true\ndefault_capabilities = [\"KILL\", \"CAP_NET_RAW\"]\n",
    )
    .await?;
    let granted = (KILL | NET_RAW) & held();
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let app = node.launch(&id, idle("app")).await?;
        let status = node.said(&app, "cat /proc/1/status").await?;
        assert_eq!(sets(&status)?, [granted, granted, granted, granted, 0], "{handler}");
        node.remove_pod(&id).await?;
    }
    node.finish()
}

/// The paths that the kubelet asks for in every container without `procMount: Unmasked`.
const MASKED: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn kubelets_paths(context: &mut api::LinuxContainerSecurityContext) {
    context.masked_paths = words(&MASKED);
    context.readonly_paths = words(&READ_ONLY);
}

#[tokio::test]
async fn privilege_takes_away_every_wall_that_others_have() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let on_sys = "grep ' /sys ' /proc/1/mountinfo | grep -o ' r[wo],' | head -n 1";
    let devices: Vec<String> = std::fs::read_dir("/dev")?
        .flatten()
        .filter(|entry| std::os::unix::fs::FileTypeExt::is_char_device(&entry.file_type().unwrap()))
        .map(|entry| entry.path().display().to_string())
        // A container's own: its terminal, and the way to its pseudo terminals.
        .filter(|path| !["/dev/console", "/dev/ptmx"].contains(&path.as_str()))
        .collect();
    for handler in HANDLERS {
        let mut config = pod(&node, handler);
        allow_privileged(&mut config);
        let id = node.run_pod_with(&config, handler).await?;
        for privileged in [false, true] {
            let mut app = idle(if privileged { "privileged" } else { "plain" });
            kubelets_paths(security(&mut app));
            security(&mut app).privileged = privileged;
            security(&mut app).seccomp = Some(api::SecurityProfile::default());
            security(&mut app).apparmor = Some(api::SecurityProfile::default());
            let app = node.launch(&id, app).await?;
            let (mode, filter) = if privileged { ("rw,", "0") } else { ("ro,", "2") };
            assert_eq!(node.said(&app, on_sys).await?, mode, "{handler} {privileged}");
            let groups = node.said(&app, "grep -E ' - cgroup2? ' /proc/1/mountinfo").await?;
            let read_only = groups.lines().filter(|line| line.contains(" ro,")).count();
            let expected = if privileged { 0 } else { groups.lines().count() };
            assert_eq!(read_only, expected, "{handler} {privileged}: {groups}");
            let masks =
                node.said(&app, "grep -c -E ' /proc/(keys|sys|kcore|bus) ' /proc/1/mountinfo").await?;
            assert_eq!(masks == "0", privileged, "{handler}: {masks} masks");
            let keys = node.said(&app, "cat /proc/keys | wc -c; cat /proc/interrupts | wc -c").await?;
            let interrupts = keys.lines().nth(1).unwrap_or_default();
            assert_eq!(interrupts != "0", privileged, "{handler}: {keys}");
            let seccomp = node.said(&app, "grep '^Seccomp:' /proc/1/status | tr -d '\\t'").await?;
            assert_eq!(seccomp, format!("Seccomp:{filter}"), "{handler} {privileged}");
            let written = node
                .said(&app, "cat /proc/sys/net/ipv4/ip_forward > /tmp/f; cat /tmp/f > /proc/sys/net/ipv4/ip_forward && echo written")
                .await?;
            assert_eq!(written == "written", privileged, "{handler}: {written}");
            // Device nodes of the node, and the right to use one that is made here.
            let seen = node.said(&app, "find /dev -maxdepth 1 -type c").await?;
            let missing: Vec<_> =
                devices.iter().filter(|path| !seen.lines().any(|line| line == *path)).collect();
            assert_eq!(missing.is_empty(), privileged, "{handler}: {missing:?}");
            if held() & 1 << 27 != 0 && privileged {
                let made = node.said(&app, "mknod /tmp/kmsg c 1 11 && : < /tmp/kmsg && echo opened").await?;
                assert_eq!(made, "opened", "{handler}");
            }
        }
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn masks_hide_also_what_links_lead_to_and_unmasked_shows_everything() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let mut image = busybox()?;
    image.entries.extend([
        Entry::Directory("secret".into(), 0o755),
        Entry::File("secret/key".into(), 0o644, b"hidden".to_vec()),
        Entry::File("secret/file".into(), 0o644, b"hidden".to_vec()),
        Entry::Link("to-dir".into(), "secret".into()),
        Entry::Link("to-file".into(), "../../../secret/file".into()),
        Entry::Link("to-nothing".into(), "/not/there".into()),
        Entry::Link("loop".into(), "loop".into()),
    ]);
    node.import(&image, "localhost/links:latest")?;
    let host_file = node.path("host");
    std::fs::write(&host_file, "host")?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let mut masked = idle("masked");
        masked.image.as_mut().unwrap().image = "localhost/links:latest".into();
        security(&mut masked).masked_paths = words(&["/to-dir", "/to-file", "/not/there", "/to-nothing"]);
        let masked = node.launch(&id, masked).await?;
        let seen = node.said(&masked, "ls -A /secret; cat /secret/key /secret/file /to-file").await?;
        assert!(!seen.contains("hidden"), "{handler}: {seen}");
        // The node's own list comes with any list of the request.
        let interrupts = node.said(&masked, "cat /proc/interrupts | wc -c").await?;
        assert_eq!(interrupts, "0", "{handler}");

        let mut open = idle("unmasked");
        security(&mut open).masked_paths.clear();
        let open = node.launch(&id, open).await?;
        let seen = node
            .said(&open, "grep -c -E ' /proc/[a-z]' /proc/1/mountinfo; cat /proc/interrupts | wc -l")
            .await?;
        let lines: Vec<usize> = seen.lines().map(|line| line.parse().unwrap()).collect();
        assert!(lines[0] == 0 && lines[1] > 1, "{handler}: {seen}");
        // Without read-only paths /proc/sys is what the kernel makes it: writable for this user.
        let written = node.said(&open, "echo 0 > /proc/sys/kernel/shm_rmid_forced && echo ok").await?;
        assert_eq!(written, "ok", "{handler}");
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn the_images_user_is_read_in_all_its_forms() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    // The image's USER, and who the process is.
    let forms: [(&str, i64, i64, &[i64]); 8] = [
        ("", 0, 0, &[0]),
        ("app", 1000, 1000, &[1000, 2000]),
        ("1000", 1000, 1000, &[1000, 2000]),
        ("app:extra", 1000, 2000, &[2000]),
        ("1000:2000", 1000, 2000, &[2000]),
        ("4321:77", 4321, 77, &[77]),
        ("app:", 1000, 1000, &[1000, 2000]),
        (":extra", 0, 2000, &[2000]),
    ];
    for (number, (form, ..)) in forms.iter().enumerate() {
        let mut image = busybox()?;
        image.config["User"] = (*form).into();
        node.import(&image, &format!("localhost/user{number}:latest"))?;
    }
    let id = node.run_pod(&pod(&node, "bad")).await?;
    for bad in ["ghost", "app:ghosts", "-1", "4294967295", "0x0", "1000:-5", "+0", "٣"] {
        let mut image = busybox()?;
        image.config["User"] = bad.into();
        node.import(&image, "localhost/bad:latest")?;
        let mut app = idle(&format!("app{}", bad.len()));
        app.image.as_mut().unwrap().image = "localhost/bad:latest".into();
        let refused = node.create(&id, app.clone()).await.unwrap_err();
        let word = bad.split(':').next_back().unwrap();
        check_refusal(bad, &refused, Code::InvalidArgument, &["app", word]);
        // The request's user takes the place of the image's.
        security(&mut app).run_as_user = user(5);
        let app = node.launch(&id, app).await?;
        assert_eq!(node.said(&app, "id -u").await?, "5");
        node.remove_container(&app).await?;
    }
    node.remove_pod(&id).await?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        for (number, (form, uid, gid, groups)) in forms.iter().enumerate() {
            let mut app = idle(&format!("app{number}"));
            app.image.as_mut().unwrap().image = format!("localhost/user{number}:latest");
            let app = node.launch(&id, app).await?;
            let of_status = node.status(&app).await?.user.and_then(|user| user.linux).unwrap();
            let said = node.said(&app, "id -u; id -g; grep Groups: /proc/1/status").await?;
            let numbers: Vec<i64> =
                said.replace("Groups:", "").split_whitespace().map(|word| word.parse().unwrap()).collect();
            let mut seen = numbers[2..].to_vec();
            seen.sort_unstable();
            assert_eq!(
                (numbers[0], numbers[1], seen.as_slice()),
                (*uid, *gid, *groups),
                "{handler} {form:?}"
            );
            assert_eq!(
                (of_status.uid, of_status.gid, of_status.supplemental_groups.as_slice()),
                (*uid, *gid, *groups),
                "{handler} {form:?}"
            );
        }
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn a_read_only_root_has_its_generated_files_and_nobody_can_write_them() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let mut app = idle("app");
        security(&mut app).readonly_rootfs = true;
        security(&mut app).run_as_user = user(4321);
        let app = node.launch(&id, app).await?;
        let seen =
            node.said(&app, "id -un; cat /etc/resolv.conf /etc/hostname > /dev/null && echo read").await?;
        assert_eq!(seen, "4321\nread", "{handler}");
        for file in ["/x", "/tmp/x", "/etc/passwd", "/etc/resolv.conf", "/etc/hostname", "/root/x"] {
            let said = node.said(&app, &format!("echo x >> {file} && echo written")).await?;
            assert!(!said.contains("written"), "{handler} {file}: {said}");
        }
        assert_eq!(node.said(&app, "echo x > /dev/shm/x && echo shm").await?, "shm", "{handler}");
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn no_new_privileges_keeps_a_set_uid_program_from_changing_the_user() -> anyhow::Result<()> {
    use ochre_e2e::system_calls::{Call, Interface, answers, program};
    let mut node = Node::start().await?;
    let mut image = busybox()?;
    let geteuid = Call { interface: Interface::Native, number: 107, arguments: [0; 6] };
    image.entries.push(Entry::File("bin/whoami".into(), 0o4755, program(&[geteuid])));
    node.import(&image, "localhost/setuid:latest")?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        for (name, no_new_privs, expected) in [("free", false, 0), ("kept", true, 1000)] {
            let mut app = idle(name);
            app.image.as_mut().unwrap().image = "localhost/setuid:latest".into();
            security(&mut app).run_as_user = user(1000);
            security(&mut app).no_new_privs = no_new_privs;
            let app = node.launch(&id, app).await?;
            let answer = node.exec(&app, "exec /bin/whoami").await?;
            assert_eq!(answers(&answer.stdout), [expected], "{handler} {name}");
        }
        node.remove_pod(&id).await?;
    }
    node.finish()
}

/// Loads an AppArmor profile into the kernel; taken out again when this is dropped.
struct Loaded(&'static str);

impl Loaded {
    fn new(name: &'static str, rules: &str) -> anyhow::Result<Self> {
        let text = format!("profile {name} flags=(attach_disconnected) {{\n{rules}\n}}\n");
        Self::parser("--replace", &text)?;
        Ok(Self(name))
    }

    fn parser(action: &str, text: &str) -> anyhow::Result<()> {
        use std::io::Write;
        let mut child = std::process::Command::new("apparmor_parser")
            .args([action, "--skip-cache", "--quiet"])
            .stdin(std::process::Stdio::piped())
            .spawn()?;
        child.stdin.take().context("a pipe")?.write_all(text.as_bytes())?;
        anyhow::ensure!(child.wait()?.success(), "apparmor_parser {action}");
        Ok(())
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        Self::parser("--remove", &format!("profile {} {{ }}\n", self.0)).ok();
    }
}

fn apparmor(kind: api::security_profile::ProfileType, name: &str) -> Option<api::SecurityProfile> {
    Some(api::SecurityProfile { profile_type: kind as i32, localhost_ref: name.into() })
}

#[tokio::test]
async fn apparmor_confines_where_the_kernel_has_it_and_is_refused_by_name_where_not() -> anyhow::Result<()> {
    use api::security_profile::ProfileType::{Localhost, RuntimeDefault, Unconfined};
    let mut node = Node::start().await?;
    let enabled = std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|t| t.starts_with(b"Y"));
    let refusal = |name: &str| apparmor(Localhost, name);
    if !enabled {
        for handler in HANDLERS {
            let config = pod(&node, handler);
            let id = node.run_pod_with(&config, handler).await?;
            for (name, profile) in
                [("default", apparmor(RuntimeDefault, "")), ("unconfined", apparmor(Unconfined, ""))]
            {
                let mut app = idle(name);
                security(&mut app).apparmor = profile;
                node.launch(&id, app).await?;
            }
            let mut app = idle("local");
            security(&mut app).apparmor = refusal("mine");
            let refused = node.create(&id, app).await.unwrap_err();
            check_refusal(handler, &refused, Code::InvalidArgument, &["local", "AppArmor"]);
            node.remove_pod(&id).await?;
        }
        return node.finish();
    }
    let _strict = Loaded::new("ochre-e2e-strict", "file,\ncapability,\nnetwork,\nsignal,\ndeny /tmp/** w,")?;
    let list = std::fs::read_to_string("/sys/kernel/security/apparmor/profiles")?;
    assert!(list.contains("crio-default (enforce)"), "{list}\n{}", node.log());
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        #[allow(deprecated)]
        let cases: [(&str, Ask, &str); 8] = [
            ("none", |_| {}, "crio-default (enforce)"),
            ("default", |s| s.apparmor = apparmor(RuntimeDefault, ""), "crio-default (enforce)"),
            ("default-text", |s| s.apparmor_profile = "runtime/default".into(), "crio-default (enforce)"),
            ("unconfined", |s| s.apparmor = apparmor(Unconfined, ""), "unconfined"),
            ("local", |s| s.apparmor = apparmor(Localhost, "ochre-e2e-strict"), "ochre-e2e-strict (enforce)"),
            (
                "prefix",
                |s| s.apparmor = apparmor(Localhost, "localhost/ochre-e2e-strict"),
                "ochre-e2e-strict (enforce)",
            ),
            (
                "text",
                |s| s.apparmor_profile = "localhost/ochre-e2e-strict".into(),
                "ochre-e2e-strict (enforce)",
            ),
            (
                "structured-wins",
                |s| {
                    s.apparmor = apparmor(Unconfined, "");
                    s.apparmor_profile = "localhost/ochre-e2e-strict".into();
                },
                "unconfined",
            ),
        ];
        for (name, ask, label) in cases {
            let mut app = idle(name);
            ask(security(&mut app));
            let app = node.launch(&id, app).await?;
            for process in ["1", "self"] {
                let said = node.said(&app, &format!("cat /proc/{process}/attr/current")).await?;
                assert_eq!(said, label, "{handler} {name} {process}");
            }
            let written = node.said(&app, "touch /tmp/x && echo made").await?;
            assert_eq!(written == "made", !label.starts_with("ochre-e2e"), "{handler} {name}: {written}");
            let set = node.said(&app, "echo 0 > /proc/sys/kernel/shm_rmid_forced && echo ok").await?;
            assert_eq!(set, "ok", "{handler} {name}: a parameter of the pod's own IPC namespace");
        }
        // Under the default profile even SYS_ADMIN mounts nothing and leaves the node's switches alone.
        let mut admin = idle("admin");
        security(&mut admin).capabilities =
            Some(api::Capability { add_capabilities: words(&["SYS_ADMIN"]), ..Default::default() });
        let admin = node.launch(&id, admin).await?;
        let said = node
            .said(&admin, "mkdir /tmp/m; mount -t tmpfs none /tmp/m && echo mounted; echo h > /proc/sysrq-trigger && echo sysrq; kill -0 1 && echo alive")
            .await?;
        assert_eq!(
            (said.lines().next(), said.matches("Permission denied").count()),
            (Some("alive"), 2),
            "{handler}: {said}"
        );
        let mut app = idle("unloaded");
        security(&mut app).apparmor = refusal("ochre-e2e-nowhere");
        let refused = node.create(&id, app).await.unwrap_err();
        check_refusal(
            handler,
            &refused,
            Code::InvalidArgument,
            &["unloaded", "ochre-e2e-nowhere", "not loaded"],
        );
        node.remove_pod(&id).await?;
    }
    node.finish()
}
