//! Restricted surroundings: what the engine itself may not grant is clamped, and pods run all the same.

use ochre_cri_api as api;
use ochre_e2e::{Node, container, pod};

/// The effective capabilities of a process.
fn capabilities(pid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

#[tokio::test]
async fn privileged_all_capabilities_and_a_low_oom_score_work_as_far_as_the_engine_may() -> anyhow::Result<()>
{
    for handler in ["ochre", "runc", "crun"] {
        let mut node = Node::start().await?;
        let mut config = pod(&node, "restricted");
        config.linux.as_mut().unwrap().security_context.as_mut().unwrap().privileged = true;
        let id = node.run_pod_with(&config, handler).await?;

        let mut privileged = container("privileged", "sleep 1000");
        privileged.linux.as_mut().unwrap().security_context.as_mut().unwrap().privileged = true;
        let privileged = node.launch(&id, privileged).await?;
        let held = capabilities("self");
        let eff = node
            .exec(
                &privileged,
                "grep CapEff /proc/1/status; mkdir /tmp/m && mount -t tmpfs none /tmp/m && echo mounted",
            )
            .await?;
        let text = String::from_utf8_lossy(&eff.stdout).into_owned();
        assert!(text.contains(&format!("{held:016x}")), "{handler}: {text}, held {held:x}");
        assert!(text.contains("mounted"), "{handler}: {text} {}", String::from_utf8_lossy(&eff.stderr));

        let mut all = container("all", "sleep 1000");
        all.linux.as_mut().unwrap().security_context.as_mut().unwrap().capabilities =
            Some(api::Capability { add_capabilities: vec!["ALL".into()], ..Default::default() });
        all.linux.as_mut().unwrap().resources =
            Some(api::LinuxContainerResources { oom_score_adj: -997, ..Default::default() });
        let all = node.launch(&id, all).await?;
        let seen = node.exec(&all, "grep CapEff /proc/1/status; cat /proc/1/oom_score_adj").await?;
        let text = String::from_utf8_lossy(&seen.stdout).into_owned();
        assert!(text.contains(&format!("{held:016x}")), "{handler}: {text}");
        let score: i32 = text.lines().last().unwrap_or_default().trim().parse()?;
        let own: i32 = std::fs::read_to_string("/proc/self/oom_score_adj")?.trim().parse()?;
        let may_lower = held & (1 << 24) != 0;
        assert_eq!(score, if may_lower { -997 } else { own.max(-997) }, "{handler}");

        let mut none = container("none", "sleep 1000");
        none.linux.as_mut().unwrap().security_context.as_mut().unwrap().capabilities =
            Some(api::Capability { drop_capabilities: vec!["ALL".into()], ..Default::default() });
        let none = node.launch(&id, none).await?;
        let seen = node.exec(&none, "grep Cap /proc/1/status").await?;
        for line in String::from_utf8_lossy(&seen.stdout).lines() {
            assert!(line.ends_with("0000000000000000"), "{handler}: {line}");
        }
        node.remove_pod(&id).await?;
        node.finish()?;
    }
    Ok(())
}
