//! What an image and a container are called is the same in every answer, and how a container ends has one reason.

use ochre_cri_api as api;
use ochre_e2e::{BUSYBOX, HANDLERS, Node, container, limits, pod};

#[tokio::test]
async fn an_image_has_one_id_in_every_answer() -> anyhow::Result<()> {
    let mut node = Node::configured("[crio.image]\npinned_images = [\"*busybox*\"]\n").await?;
    let spec = |image: &str| Some(api::ImageSpec { image: image.into(), ..Default::default() });
    let listed = node.client.image.list_images(api::ListImagesRequest { filter: None }).await?.into_inner();
    let [image] = listed.images.as_slice() else { anyhow::bail!("one image was expected: {listed:?}") };
    assert!(image.pinned);
    assert_eq!(image.repo_tags, [BUSYBOX]);
    for name in [BUSYBOX, &image.id, &format!("sha256:{}", image.id), &image.id[..12]] {
        let request = api::ImageStatusRequest { image: spec(name), verbose: false };
        let status = node.client.image.image_status(request).await?.into_inner().image;
        assert_eq!(status.as_ref(), Some(image), "{name}");
        let filter = Some(api::ImageFilter { image: spec(name) });
        let found = node.client.image.list_images(api::ListImagesRequest { filter }).await?.into_inner();
        assert_eq!(found.images.as_slice(), std::slice::from_ref(image), "{name}");
    }
    let config = pod(&node, "names");
    let id = node.run_pod(&config).await?;
    let mut asked = container("one", "exec sleep 1000");
    asked.image = Some(api::ImageSpec {
        image: image.id.clone(),
        user_specified_image: "busybox:as-written".into(),
        ..Default::default()
    });
    let one = node.launch(&id, asked).await?;
    for _ in 0..2 {
        let status = node.status(&one).await?;
        let request = api::ListContainersRequest::default();
        let rows = node.client.runtime.list_containers(request).await?.into_inner().containers;
        let [row] = rows.as_slice() else { anyhow::bail!("one container was expected: {rows:?}") };
        assert_eq!((&status.image_id, &row.image_id), (&image.id, &image.id));
        assert_eq!(status.image_ref, row.image_ref);
        // A digest of a repository where there is one, or the id.
        assert_eq!(status.image_ref, image.repo_digests.first().unwrap_or(&image.id).as_str());
        let (of_status, of_row) = (status.image.unwrap_or_default(), row.image.clone().unwrap_or_default());
        assert_eq!((of_status.image.as_str(), of_row.image.as_str()), (BUSYBOX, image.id.as_str()));
        for spec in [of_status, of_row] {
            assert_eq!(spec.user_specified_image, "busybox:as-written");
        }
        node.engine.kill()?;
        node.engine.start_again()?;
        node.client = ochre_client::Client::connect(&node.engine.socket()).await?;
    }
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn memory_that_is_used_up_has_its_own_reason_with_every_handler() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let mut greedy = container("greedy", "x=x; while :; do x=$x$x; done");
        limits(&mut greedy).memory_limit_in_bytes = 16 << 20;
        let greedy = node.launch(&id, greedy).await?;
        let ended = node.exited(&greedy).await?;
        assert_eq!((ended.reason.as_str(), ended.exit_code), ("OOMKilled", 137), "{handler}: {ended:?}");
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn the_requests_stop_signal_wins_over_the_images_and_is_shown() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let mut image = ochre_e2e::busybox()?;
    image.config["StopSignal"] = "SIGUSR2".into();
    node.import(&image, "example.test/signal:1")?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let traps = "trap 'exit 10' USR1; trap 'exit 12' USR2; trap 'exit 15' TERM; echo ready; while :; do sleep 0.02; done";
        for (name, image, asked, shown, code) in [
            ("of-request", "example.test/signal:1", api::Signal::Sigusr1, api::Signal::Sigusr1, 10),
            ("of-image", "example.test/signal:1", api::Signal::RuntimeDefault, api::Signal::Sigusr2, 12),
            ("of-nobody", BUSYBOX, api::Signal::RuntimeDefault, api::Signal::Sigterm, 15),
        ] {
            let mut one = container(name, traps);
            one.image = Some(api::ImageSpec { image: image.into(), ..Default::default() });
            one.stop_signal = asked as i32;
            let one = node.launch(&id, one).await?;
            ochre_e2e::file_with(&node.path(&format!("logs/{handler}/{name}.log")), "ready").await?;
            assert_eq!(node.status(&one).await?.stop_signal, shown as i32, "{handler} {name}");
            node.stop_container(&one, 20).await?;
            assert_eq!(node.exited(&one).await?.exit_code, code, "{handler} {name}");
        }
        node.remove_pod(&id).await?;
    }
    node.finish()
}

/// What the kernel of a node does not have is refused before anything is made.
#[tokio::test]
async fn limits_that_the_node_cannot_keep_are_refused() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let config = pod(&node, "limits");
    let id = node.run_pod(&config).await?;
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        let mut one = container("unified", "cat /sys/fs/cgroup/memory.high; exec sleep 1000");
        limits(&mut one).unified = [("memory.high".to_owned(), "33554432".to_owned())].into();
        let one = node.launch(&id, one).await?;
        let shown = node.status(&one).await?.resources.and_then(|r| r.linux).unwrap_or_default();
        assert_eq!(shown.unified["memory.high"], "33554432");
    } else {
        let mut one = container("unified", "true");
        limits(&mut one).unified = [("memory.high".to_owned(), "33554432".to_owned())].into();
        let refused = node.create(&id, one).await.unwrap_err();
        ochre_e2e::check_refusal(
            "unified",
            &refused,
            tonic::Code::InvalidArgument,
            &["unified", "cgroup v2"],
        );
    }
    let mut swap = container("swap", "true");
    *limits(&mut swap) = api::LinuxContainerResources {
        memory_limit_in_bytes: 64 << 20,
        memory_swap_limit_in_bytes: 32 << 20,
        ..Default::default()
    };
    let refused = node.create(&id, swap).await.unwrap_err();
    ochre_e2e::check_refusal(
        "swap below memory",
        &refused,
        tonic::Code::InvalidArgument,
        &["33554432", "67108864"],
    );
    // The kubelet sends a limit for every page size; a container gets it where the node has huge pages.
    let mut huge = container("huge", "exec sleep 1000");
    limits(&mut huge).hugepage_limits = vec![api::HugepageLimit { page_size: "2MB".into(), limit: 0 }];
    let huge = node.launch(&id, huge).await?;
    let shown = node.status(&huge).await?.resources.and_then(|r| r.linux).unwrap_or_default();
    assert_eq!(shown.hugepage_limits, [api::HugepageLimit { page_size: "2MB".into(), limit: 0 }]);
    node.remove_pod(&id).await?;
    node.finish()
}
