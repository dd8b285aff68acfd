//! The seccomp filter is what the profile says: system calls made in containers, by all three interfaces of x86-64.
#![cfg(target_arch = "x86_64")]

use anyhow::Context;
use ochre_cri_api as api;
use ochre_e2e::system_calls::{Call, Interface, answers, program};
use ochre_e2e::{HANDLERS, Node, container, pod, security};
use serde_json::{Value, json};

const EPERM: i32 = -1;
const EFAULT: i32 = -14;
const EINVAL: i32 = -22;
const ENOSYS: i32 = -38;

const X32: u32 = 0x4000_0000;
const AF_ALG: u64 = 38;
const AF_VSOCK: u64 = 40;
const CLONE_NEWUSER: u64 = 0x1000_0000;
/// Together with a new user namespace the kernel itself refuses this as invalid.
const CLONE_FS: u64 = 0x200;

/// Calls that x32 has under another number than x86-64.
const OWN_NUMBERS: [&str; 3] = ["kexec_load", "move_pages", "ptrace"];

/// The interfaces that the machine's kernel has: some are built without the 32-bit one, and a call by it is then a fault
/// or, under User-Mode Linux, another call. (x32 shares its entry with the native one: the filter sees its calls anyway.)
fn interfaces() -> anyhow::Result<Vec<Interface>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("getpid");
    std::fs::write(&path, program(&[Call { interface: Interface::I386, number: 20, arguments: [0; 6] }]))?;
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let child = std::process::Command::new(&path).stdout(std::process::Stdio::piped()).spawn()?;
    let pid = i32::try_from(child.id())?;
    let output = child.wait_with_output()?;
    let mut all = vec![Interface::Native, Interface::X32];
    if answers(&output.stdout) == [pid] {
        all.push(Interface::I386);
    }
    Ok(all)
}

/// A call of an interface by its name; `None` if the interface has none such.
fn call(interface: Interface, name: &str, arguments: [u64; 6]) -> Option<Call> {
    let number = match interface {
        Interface::Native => name.parse::<syscalls::x86_64::Sysno>().ok()?.id() as u32,
        Interface::X32 if OWN_NUMBERS.contains(&name) => return None,
        Interface::X32 => X32 | name.parse::<syscalls::x86_64::Sysno>().ok()?.id() as u32,
        Interface::I386 => name.parse::<syscalls::x86::Sysno>().ok()?.id() as u32,
    };
    Some(Call { interface, number, arguments })
}

/// The error number that a profile answers for a call whose arguments are all zero; `None` if the kernel gets to see it.
fn expected(profile: &Value, name: &str) -> Option<i32> {
    let errno = |action: &Value, number: &Value| match action.as_str() {
        Some("SCMP_ACT_ERRNO") => Some(-i32::try_from(number.as_i64().unwrap_or(1)).unwrap()),
        _ => None,
    };
    let matches = |rule: &&Value| {
        let named = rule["names"].as_array().unwrap().iter().any(|known| known == name);
        named
            && rule["args"].as_array().into_iter().flatten().all(|condition| {
                let value = condition["value"].as_u64().unwrap();
                match condition["op"].as_str().unwrap() {
                    "SCMP_CMP_EQ" => value == 0,
                    "SCMP_CMP_LT" => value > 0,
                    "SCMP_CMP_MASKED_EQ" => condition["valueTwo"].as_u64().unwrap_or(0) == 0,
                    other => panic!("the profile uses {other}"),
                }
            })
    };
    match profile["syscalls"].as_array().unwrap().iter().find(matches) {
        Some(rule) => errno(&rule["action"], &rule["errnoRet"]),
        None => errno(&profile["defaultAction"], &profile["defaultErrnoRet"]),
    }
}

/// A node, one of its pods, and a directory of programs that every container of it sees.
struct Scene {
    node: Node,
    pod: String,
    count: usize,
}

impl Scene {
    async fn start(node: Node, handler: &str) -> anyhow::Result<Self> {
        let mut node = node;
        std::fs::create_dir_all(node.path("programs"))?;
        let config = pod(&node, handler);
        let pod = node.run_pod_with(&config, handler).await?;
        Ok(Self { node, pod, count: 0 })
    }

    async fn end(mut self) -> anyhow::Result<Node> {
        self.node.remove_pod(&self.pod).await?;
        Ok(self.node)
    }

    /// A container with a profile and capabilities beyond the default ones.
    async fn container(
        &mut self,
        profile: Option<api::SecurityProfile>,
        add: &[&str],
    ) -> anyhow::Result<String> {
        self.count += 1;
        let mut config = container(&format!("app{}", self.count), "sleep 1000");
        config.mounts.push(api::Mount {
            container_path: "/programs".into(),
            host_path: self.node.path("programs").to_string_lossy().into_owned(),
            ..Default::default()
        });
        security(&mut config).seccomp = profile;
        security(&mut config).capabilities = Some(api::Capability {
            add_capabilities: add.iter().map(|name| (*name).to_owned()).collect(),
            ..Default::default()
        });
        Ok(self.node.launch(&self.pod, config).await?)
    }

    /// Makes the calls in a container; the kernel's answers.
    async fn make(&mut self, id: &str, calls: &[Call]) -> anyhow::Result<Vec<i32>> {
        self.count += 1;
        let name = format!("calls{}", self.count);
        let path = self.node.path("programs").join(&name);
        std::fs::write(&path, program(calls))?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let request = api::ExecSyncRequest {
            container_id: id.into(),
            cmd: vec![format!("/programs/{name}")],
            timeout: 10,
        };
        let answer = self.node.client.runtime.exec_sync(request).await?.into_inner();
        let answers = answers(&answer.stdout);
        anyhow::ensure!(
            answer.exit_code == 0 && answers.len() == calls.len(),
            "{} of {} answers, exit code {}: {}",
            answers.len(),
            calls.len(),
            answer.exit_code,
            String::from_utf8_lossy(&answer.stderr)
        );
        Ok(answers)
    }

    /// The profile in the specification a container was made with.
    async fn profile(&mut self, id: &str) -> anyhow::Result<Value> {
        let request = api::ContainerStatusRequest { container_id: id.into(), verbose: true };
        let answer = self.node.client.runtime.container_status(request).await?.into_inner();
        let info: Value = serde_json::from_str(answer.info.get("info").context("a verbose status")?)?;
        Ok(info["runtimeSpec"]["linux"]["seccomp"].clone())
    }

    /// Makes these calls by all interfaces and fails for each answer that is not one of the expected ones.
    async fn check(&mut self, id: &str, what: &str, wanted: &[Wanted]) -> anyhow::Result<()> {
        for interface in interfaces()? {
            let calls: Vec<_> = wanted
                .iter()
                .filter_map(|(name, arguments, fits)| Some((name, call(interface, name, *arguments)?, fits)))
                .collect();
            let made: Vec<_> = calls.iter().map(|(_, call, _)| *call).collect();
            let answers = self.make(id, &made).await?;
            let wrong: Vec<_> = calls
                .iter()
                .zip(answers)
                .filter(|((_, _, fits), answer)| {
                    // Kernels without x32 know none of its calls, but the filter comes first.
                    let no_x32 = interface == Interface::X32 && *answer == ENOSYS && !fits(EPERM);
                    !fits(*answer) && !no_x32
                })
                .map(|((name, call, _), answer)| (name, call.arguments[0], answer))
                .collect();
            anyhow::ensure!(wrong.is_empty(), "{what} {interface:?}: {wrong:?}");
        }
        Ok(())
    }
}

type Wanted = (&'static str, [u64; 6], fn(i32) -> bool);

fn first(value: u64) -> [u64; 6] {
    [value, 0, 0, 0, 0, 0]
}

fn runtime_default() -> Option<api::SecurityProfile> {
    Some(api::SecurityProfile::default())
}

fn localhost(path: &std::path::Path) -> Option<api::SecurityProfile> {
    Some(api::SecurityProfile { profile_type: 2, localhost_ref: path.to_string_lossy().into_owned() })
}

/// Every name of a call that some interface has.
fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = syscalls::x86_64::Sysno::iter().map(|call| call.name()).collect();
    names.extend(syscalls::x86::Sysno::iter().map(|call| call.name()));
    names.sort_unstable();
    names.dedup();
    names
}

/// A call of the kernel's own code in traced programs, which no filter gets to see (Linux 6.18).
const UNFILTERED: &str = "uprobe";

/// Calls that libseccomp 2.5.4, which Debian's runc and crun are built with, does not know, or not on x32: their rules
/// are skipped, and the profile's default answers.
const UNKNOWN_THERE: [&str; 3] = ["nfsservctl", "open_tree_attr", "quotactl_fd"];

#[tokio::test]
async fn every_call_the_default_profile_does_not_allow_is_refused_by_every_interface() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let mut scene = Scene::start(node, handler).await?;
        let id = scene.container(runtime_default(), &[]).await?;
        let profile = scene.profile(&id).await?;
        for interface in interfaces()? {
            let refused: Vec<_> = names()
                .into_iter()
                .filter(|name| *name != UNFILTERED)
                .filter_map(|name| Some((name, call(interface, name, [0; 6])?, expected(&profile, name)?)))
                .collect();
            assert!(refused.len() > 50, "{handler} {interface:?}: {refused:?}");
            let calls: Vec<_> = refused.iter().map(|(_, call, _)| *call).collect();
            let answers = scene.make(&id, &calls).await?;
            let wrong: Vec<_> = refused
                .iter()
                .zip(answers)
                .filter(|((name, _, expected), answer)| {
                    answer != expected
                        && !(handler != "ochre" && UNKNOWN_THERE.contains(name) && *answer == ENOSYS)
                })
                .map(|((name, call, expected), answer)| (name, call.number, *expected, answer))
                .collect();
            assert!(wrong.is_empty(), "{handler} {interface:?}: {wrong:?}");
        }
        node = scene.end().await?;
    }
    node.finish()
}

#[tokio::test]
async fn kernel_crypto_hypervisor_sockets_and_namespaces_are_out_of_reach_by_default() -> anyhow::Result<()> {
    let denied: fn(i32) -> bool = |answer| answer == EPERM;
    let unknown: fn(i32) -> bool = |answer| answer == ENOSYS;
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let mut scene = Scene::start(node, handler).await?;
        let confined = scene.container(runtime_default(), &[]).await?;
        scene
            .check(
                &confined,
                handler,
                &[
                    ("socket", [AF_ALG, 5, 0, 0, 0, 0], denied),
                    ("socket", [AF_VSOCK, 1, 0, 0, 0, 0], denied),
                    ("socketcall", first(1), denied),
                    ("unshare", first(CLONE_NEWUSER), denied),
                    ("clone", first(CLONE_NEWUSER | CLONE_FS), denied),
                    ("clone3", [0; 6], unknown),
                    ("keyctl", [0; 6], denied),
                    ("add_key", [0; 6], denied),
                    ("request_key", [0; 6], denied),
                    ("bpf", first(999), denied),
                    ("perf_event_open", [0; 6], denied),
                    ("mount", [0; 6], denied),
                    ("umount2", [0; 6], denied),
                    ("move_mount", [0; 6], denied),
                    ("fsopen", [0; 6], denied),
                    ("setns", first(99), denied),
                    ("pivot_root", [0; 6], denied),
                    ("reboot", [0; 6], denied),
                    ("kexec_file_load", [0; 6], denied),
                    ("init_module", [0; 6], denied),
                    ("delete_module", [0; 6], denied),
                    ("swapon", [0; 6], denied),
                    ("syslog", first(3), denied),
                    ("open_by_handle_at", [0; 6], denied),
                    ("userfaultfd", [0; 6], denied),
                    ("io_uring_setup", [0; 6], denied),
                    ("settimeofday", [0; 6], denied),
                    ("getpid", [0; 6], |answer| answer > 0),
                ],
            )
            .await?;
        // A filter compares 64 bits of what the kernel takes as an int.
        let hidden: Vec<_> = [1 << 32, 0xffff_ffff << 32]
            .into_iter()
            .filter_map(|upper| call(Interface::Native, "socket", [upper | AF_ALG, 5, 0, 0, 0, 0]))
            .collect();
        for answer in scene.make(&confined, &hidden).await? {
            assert!([EPERM, ENOSYS].contains(&answer), "{handler}: {answer}");
        }
        // What containers live from.
        let everyday: [(&str, [u64; 6]); 4] = [
            ("socket", [1, 1, 0, 0, 0, 0]),
            ("socket", [2, 1, 0, 0, 0, 0]),
            ("getppid", [0; 6]),
            ("sync", [0; 6]),
        ];
        for interface in interfaces()?.into_iter().filter(|interface| *interface != Interface::X32) {
            let calls: Vec<_> =
                everyday.iter().filter_map(|(name, arguments)| call(interface, name, *arguments)).collect();
            let answers = scene.make(&confined, &calls).await?;
            assert!(answers.iter().all(|answer| *answer >= 0), "{handler} {interface:?}: {answers:?}");
        }
        // The other way round: without a filter the kernel is asked, and answers for itself.
        let free = scene.container(None, &[]).await?;
        assert_eq!(scene.profile(&free).await?, Value::Null, "{handler}");
        let own: fn(i32) -> bool = |answer| ![EPERM, ENOSYS].contains(&answer);
        scene
            .check(
                &free,
                handler,
                &[
                    ("clone3", [0; 6], |answer| answer == EINVAL),
                    ("clone", first(CLONE_NEWUSER | CLONE_FS), |answer| answer == EINVAL),
                    ("keyctl", first(99), own),
                    ("socket", [AF_ALG, 5, 0, 0, 0, 0], own),
                ],
            )
            .await?;
        node = scene.end().await?;
    }
    node.finish()
}

#[tokio::test]
async fn a_capability_opens_its_calls_and_nothing_opens_the_forbidden_ones() -> anyhow::Result<()> {
    let denied: fn(i32) -> bool = |answer| answer == EPERM;
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let mut scene = Scene::start(node, handler).await?;
        let admin = scene.container(runtime_default(), &["SYS_ADMIN"]).await?;
        scene
            .check(
                &admin,
                handler,
                &[
                    ("unshare", [0; 6], |answer| answer == 0),
                    ("clone3", [0; 6], |answer| answer == EINVAL),
                    ("clone", first(CLONE_NEWUSER | CLONE_FS), |answer| answer == EINVAL),
                    ("mount", [0, 1, 0, 0, 0, 0], |answer| answer == EFAULT),
                    ("setns", first(99), |answer| answer == -9),
                    ("bpf", first(999), |answer| answer == EINVAL),
                    ("perf_event_open", [0; 6], |answer| answer != EPERM),
                    ("socket", [AF_ALG, 5, 0, 0, 0, 0], denied),
                    ("socket", [AF_VSOCK, 1, 0, 0, 0, 0], denied),
                    ("socketcall", first(1), denied),
                    ("keyctl", [0; 6], denied),
                    ("add_key", [0; 6], denied),
                    ("io_uring_setup", [0; 6], denied),
                    ("reboot", [0; 6], denied),
                ],
            )
            .await?;
        let boot = scene.container(runtime_default(), &["SYS_BOOT", "SYS_CHROOT"]).await?;
        scene
            .check(
                &boot,
                handler,
                &[
                    // Without its magic numbers.
                    ("reboot", [0; 6], |answer| answer == EINVAL),
                    ("chroot", first(1), |answer| answer == EFAULT),
                    ("unshare", [0; 6], denied),
                    ("mount", [0, 1, 0, 0, 0, 0], denied),
                ],
            )
            .await?;
        node = scene.end().await?;
    }
    node.finish()
}

/// A profile that answers one call with an error number of its own.
fn marked(path: &std::path::Path, errno: i32) -> anyhow::Result<()> {
    // crun 1.21 takes profiles that differ in numbers only for one and the same, and its compiled copy of the first.
    let different = ["acct", "nice", "vhangup", "times"].iter().cycle().nth(errno.unsigned_abs() as usize);
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "archMap": [{ "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"] }],
        "syscalls": [
            { "names": ["sync", different], "action": "SCMP_ACT_ERRNO", "errnoRet": errno },
            { "names": ["sched_get_priority_max"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "includes": { "caps": ["CAP_SYS_TIME"] } },
        ],
    });
    Ok(std::fs::write(path, profile.to_string())?)
}

#[tokio::test]
async fn the_default_is_the_handlers_profile_then_the_nodes_then_the_built_in_one() -> anyhow::Result<()> {
    let configuration = "[crio.runtime]\nseccomp_profile = \"{dir}/node.json\"\nprivileged_seccomp_profile = \"{dir}/privileged.json\"\n\
        [crio.runtime.runtimes.own]\nruntime_path = \"/usr/bin/crun\"\nruntime_root = \"{dir}/own\"\nseccomp_profile = \"{dir}/handler.json\"\n\
        [crio.runtime.runtimes.broken]\nruntime_path = \"/usr/bin/crun\"\nseccomp_profile = \"{dir}/none.json\"\n";
    let mut node = Node::prepared(configuration, |directory| {
        for (name, errno) in [("node", 71), ("handler", 72), ("privileged", 73), ("asked", 74)] {
            marked(&directory.join(name).with_extension("json"), errno)?;
        }
        Ok(())
    })
    .await?;
    let refused = node.run_pod_with(&pod(&node, "broken"), "broken").await.unwrap_err();
    ochre_e2e::check_refusal("broken handler", &refused, tonic::Code::InvalidArgument, &["broken"]);
    assert!(node.log().contains("handler left out") && node.log().contains("none.json"), "{}", node.log());
    for (handler, default) in [("ochre", -71), ("runc", -71), ("crun", -71), ("own", -72)] {
        let mut config = pod(&node, handler);
        let context = ochre_e2e::pod_linux(&mut config).security_context.get_or_insert_default();
        context.privileged = true;
        // The pod's own profile is for its pause process: containers bring theirs.
        context.seccomp = localhost(&node.path("privileged.json"));
        std::fs::create_dir_all(node.path("programs"))?;
        let id = node.run_pod_with(&config, handler).await?;
        let asked = localhost(&node.path("asked.json"));
        let deprecated = format!("localhost/{}", node.path("asked.json").display());
        let unconfined = Some(api::SecurityProfile { profile_type: 1, ..Default::default() });
        type Change = Box<dyn Fn(&mut api::LinuxContainerSecurityContext)>;
        let with = |profile: Option<api::SecurityProfile>, text: &str| -> Change {
            let text = text.to_owned();
            #[allow(deprecated)]
            Box::new(move |context| {
                context.seccomp.clone_from(&profile);
                context.seccomp_profile_path.clone_from(&text);
            })
        };
        let cases: [(&str, Change, i32); 10] = [
            ("none", with(None, ""), 0),
            ("default", with(runtime_default(), ""), default),
            ("default-text", with(None, "runtime/default"), default),
            ("docker-text", with(None, "docker/default"), default),
            ("asked", with(asked.clone(), ""), -74),
            ("asked-text", with(None, &deprecated), -74),
            ("unconfined", with(unconfined.clone(), ""), 0),
            ("structured-wins", with(unconfined, &deprecated), 0),
            ("structured-wins-too", with(asked, "unconfined"), -74),
            (
                "privileged",
                Box::new(|context| (context.privileged, context.seccomp) = (true, runtime_default())),
                -73,
            ),
        ];
        let mut scene = Scene { node, pod: id, count: 0 };
        for (name, change, answer) in cases {
            let mut app = container(name, "sleep 1000");
            app.mounts.push(api::Mount {
                container_path: "/programs".into(),
                host_path: scene.node.path("programs").to_string_lossy().into_owned(),
                ..Default::default()
            });
            change(security(&mut app));
            let app = scene.node.launch(&scene.pod, app).await?;
            let calls: Vec<_> = interfaces()?
                .into_iter()
                .filter(|interface| *interface != Interface::X32)
                .filter_map(|interface| call(interface, "sync", [0; 6]))
                .collect();
            assert_eq!(scene.make(&app, &calls).await?, vec![answer; calls.len()], "{handler} {name}");
        }
        // Conditions of a profile follow the container's capabilities.
        let plain = scene.container(runtime_default(), &[]).await?;
        let time = scene.container(runtime_default(), &["SYS_TIME"]).await?;
        let limited = call(Interface::Native, "sched_get_priority_max", [0; 6]).context("a call")?;
        assert!(scene.make(&plain, &[limited]).await?[0] >= 0, "{handler}");
        assert_eq!(scene.make(&time, &[limited]).await?, [default], "{handler}");
        node = scene.end().await?;
    }
    node.finish()
}
