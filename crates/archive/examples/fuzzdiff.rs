//! scratch: writes bent archives to DIR/n.tar, and our listing of accepted ones to DIR/n.ours
use ochre_archive::tar::{Entry, Kind, Reader};
use std::io::Write;
fn list(b: &[u8]) -> Option<String> {
    let mut r = Reader::new(std::io::Cursor::new(b)); let mut e = Entry::default(); let mut o = String::new();
    loop { match r.next(&mut e) { Ok(true) => {}, Ok(false) => break, Err(_) => return None }
        let mut data = Vec::new();
        loop { match r.content() { Ok(Some(p)) => { data.extend_from_slice(p); let n = p.len(); r.advance(n); } Ok(None) => break, Err(_) => return None } }
        if let Some(m) = &e.sparse { if e.size > 1<<20 { return None } let mut full = vec![0u8; e.size as usize]; let mut at = 0; for x in m { full[x.offset as usize..(x.offset+x.length) as usize].copy_from_slice(&data[at..at+x.length as usize]); at += x.length as usize; } data = full; }
        let hex = |b: &[u8]| b.iter().map(|c| format!("{c:02x}")).collect::<String>();
        let k = match e.kind { Kind::File => "f".to_string(), Kind::HardLink => "h".into(), Kind::Symlink => "l".into(), Kind::Directory => "d".into(), Kind::Fifo => "p".into(), Kind::CharDevice{major,minor} => format!("c{major},{minor}"), Kind::BlockDevice{major,minor} => format!("b{major},{minor}") };
        o += &format!("{k} {} {} {:o} {} {} {} {} {} {}\n", hex(&e.name), hex(&e.link), e.mode, e.uid, e.gid, e.mtime.seconds, e.mtime.nanoseconds, e.size, hex(&data));
    }
    while match r.trailing() { Ok(x) => x, Err(_) => return None } {}
    Some(o)
}
fn main() {
    let dir = std::env::args().nth(1).unwrap(); let n: u64 = std::env::args().nth(2).unwrap().parse().unwrap();
    let seeds: Vec<Vec<u8>> = std::env::args().skip(3).map(|p| std::fs::read(p).unwrap()).collect();
    let mut x: u64 = 0x9e3779b97f4a7c15; let mut rnd = move || { x ^= x << 13; x ^= x >> 7; x ^= x << 17; x };
    let mut acc = 0;
    for i in 0..n {
        let mut b = seeds[(rnd() % seeds.len() as u64) as usize].clone();
        let nb = b.len() / 512;
        for _ in 0..rnd() % 4 { let blk = (rnd() % nb as u64) as usize * 512;
            let interesting = [0usize, 99, 100, 107, 108, 116, 124, 125, 134, 135, 136, 147, 156, 157, 257, 262, 263, 264, 265, 329, 345, 346, 357, 386, 398, 482, 483, 494, 504, 508];
            let off = if rnd() % 2 == 0 { interesting[(rnd() % interesting.len() as u64) as usize] } else { (rnd() % 512) as usize };
            let vals = [0u8, b' ', b'0', b'1', b'7', b'9', b'/', b'.', b'=', b'\n', 0x80, 0xff, b'x', b'S', b'L', b'5', b'-'];
            b[blk + off] = if rnd() % 4 == 0 { rnd() as u8 } else { vals[(rnd() % vals.len() as u64) as usize] };
        }
        if rnd() % 8 == 0 { let a = (rnd() % nb as u64) as usize * 512; let c = (rnd() % nb as u64) as usize * 512; let t: Vec<u8> = b[a..a + 512].to_vec(); b[c..c + 512].copy_from_slice(&t); }
        if rnd() % 16 == 0 { let a = (rnd() % nb as u64) as usize * 512; b.drain(a..a + 512); }
        for blk in b.chunks_exact_mut(512) { if &blk[257..262] == b"ustar" { blk[148..156].fill(b' '); let s: u32 = blk.iter().map(|c| *c as u32).sum(); blk[148..156].copy_from_slice(format!("{s:06o}\0 ").as_bytes()); } }
        if let Some(l) = list(&b) { acc += 1; std::fs::File::create(format!("{dir}/{i}.tar")).unwrap().write_all(&b).unwrap(); std::fs::write(format!("{dir}/{i}.ours"), l).unwrap(); }
    }
    eprintln!("{acc} of {n} accepted");
}
