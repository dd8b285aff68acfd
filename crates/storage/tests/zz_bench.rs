#![allow(clippy::unwrap_used)]
#[path = "support/lab.rs"]
mod lab;
use ochre_storage::NewContainer;
use ochre_types::ContainerId;
use std::time::Instant;
#[test]
fn bench() {
    let lab = lab::Lab::new();
    let t = Instant::now();
    let store = lab.open();
    println!("open {:?}", t.elapsed());
    let layers = [lab::blob(&[("a", Some("a"))]), lab::blob(&[("b", Some("b"))])];
    let t = Instant::now();
    let image = lab::add_image(&store, "x.io/a:1", &layers);
    println!("add image {:?}", t.elapsed());
    let mut ids = vec![];
    for n in 0..100 {
        let t = Instant::now();
        let c = store
            .create_container(NewContainer {
                id: ContainerId::generate(),
                names: vec![format!("{n}")],
                image: Some(image.id.clone()),
                metadata: "{}".repeat(100),
                mount_label: String::new(),
            })
            .unwrap();
        let t1 = t.elapsed();
        store.mount_container(&c.id).unwrap();
        let t2 = t.elapsed() - t1;
        if n < 3 || n % 33 == 0 {
            println!("{n} create {t1:?} mount {t2:?}");
        }
        ids.push(c.id.clone());
    }
    let t = Instant::now();
    for _ in 0..1000 {
        store.images().unwrap();
        store.container(&ids[0]).unwrap();
    }
    println!("images+container {:?}", t.elapsed() / 1000);
    for (n, id) in ids.iter().enumerate() {
        let t = Instant::now();
        store.unmount_container(id).unwrap();
        if n < 3 || n % 33 == 0 { println!("{n} unmount {:?}", t.elapsed()); }
        let t = Instant::now();
        store.delete_container(id).unwrap();
        if n < 3 || n % 33 == 0 {
            println!("{n} delete {:?}", t.elapsed());
        }
    }
    let t = Instant::now();
    std::thread::scope(|s| {
        for k in 0..8 {
            let store = store.clone();
            let image = image.id.clone();
            s.spawn(move || {
                for n in 0..20 {
                    let c = store
                        .create_container(NewContainer {
                            id: ContainerId::generate(),
                            names: vec![format!("{k}-{n}")],
                            image: Some(image.clone()),
                            metadata: "{}".into(),
                            mount_label: String::new(),
                        })
                        .unwrap();
                    store.mount_container(&c.id).unwrap();
                    store.unmount_container(&c.id).unwrap();
                    store.delete_container(&c.id).unwrap();
                }
            });
        }
    });
    println!("8 threads, 160 lives {:?} each", t.elapsed() / 160);
    println!("{:?}", lab::flaws(store.root()));
}
