//! scratch
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let root = ochre_sys::rooted::Root::open(std::path::Path::new(&a[2])).unwrap();
    let mut split = std::fs::File::create(&a[3]).unwrap();
    let t = std::time::Instant::now();
    let r = ochre_archive::apply_layer(std::fs::File::open(&a[1]).unwrap(), &root, Some(&mut split), &Default::default());
    eprintln!("{r:#?} {:?}", t.elapsed());
}
