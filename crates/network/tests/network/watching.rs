//! The configuration directory is followed.

use crate::scene::{Scene, eventually};

fn named(name: &str) -> String {
    format!(r#"{{"cniVersion":"1.0.0","name":"{name}","plugins":[{{"type":"fake"}}]}}"#)
}

#[test]
fn changes_of_configurations_and_plugins_are_seen() {
    let scene = Scene::new();
    let network = scene.open();
    let is = |wanted: &str| network.status().is_ok_and(|name| name.as_str() == wanted);
    assert!(is("ochre-bridge"));
    scene.configure("20.conflist", &named("late"));
    eventually("the plugin is missed", || {
        network.status().is_err_and(|not_ready| not_ready.reason.contains("\"fake\""))
    });
    scene.plugin("fake", "exit 0");
    eventually("the plugin is found", || is("late"));
    scene.configure("10.conflist", &named("early"));
    eventually("the first file wins", || is("early"));
    scene.configure("10.conflist", "{");
    eventually("a broken file is passed over", || is("late"));
    assert!(network.describe()["files"][0]["error"].as_str().unwrap().contains("JSON"));
    std::fs::remove_file(scene.dir.path().join("net.d/20.conflist")).unwrap();
    eventually("a broken file alone is no reason for the built-in network", || {
        network.status().is_err_and(|not_ready| not_ready.reason.contains("10.conflist"))
    });
    std::fs::remove_file(scene.dir.path().join("net.d/10.conflist")).unwrap();
    eventually("no file at all is", || is("ochre-bridge"));
}

#[test]
fn a_directory_that_comes_later_is_seen() {
    let scene = Scene::new();
    let dir = scene.dir.path().join("net.d");
    std::fs::remove_dir(&dir).unwrap();
    scene.plugin("fake", "exit 0");
    let network = scene.open();
    std::fs::create_dir(&dir).unwrap();
    scene.configure("10.conflist", &named("net"));
    eventually("the network is seen", || network.status().is_ok_and(|name| name.as_str() == "net"));
    // And later changes in it as well.
    scene.configure("05.conflist", &named("other"));
    eventually("the change is seen", || network.status().is_ok_and(|name| name.as_str() == "other"));
}

#[test]
fn only_the_named_network_counts_when_one_is_named() {
    let scene = Scene::new();
    scene.plugin("fake", "exit 0");
    scene.configure("10.conflist", &named("a"));
    let mut config = scene.config();
    config.default_network = Some("b".into());
    let network = ochre_network::Network::open(config).unwrap();
    let reason = network.status().unwrap_err().reason;
    assert!(reason.contains("\"b\""), "{reason}");
    scene.configure("20.conflist", &named("b"));
    eventually("it appears", || network.status().is_ok_and(|name| name.as_str() == "b"));
}

#[test]
fn the_watcher_ends_with_the_network() {
    let scene = Scene::new();
    let watchers = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names =
            tasks.flatten().map(|task| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default());
        names.filter(|name| name.starts_with("ochre-cni-watch")).count()
    };
    // Other tests of this program come and go: many at once cannot be theirs.
    let networks: Vec<_> = (0..64).map(|_| scene.open()).collect();
    eventually("they run", || watchers() >= 64);
    drop(networks);
    eventually("they are gone", || watchers() < 64);
}
