//! The unpack worker as a process: the same layer as in this process, and locked up while it works. Needs root.
//!
//! The binary is both sides: executed under the worker's name, it is the worker.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "what a test prepares either works or fails the test"
)]

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::ExitCode;

use ochre_archive::worker::{PROGRAM, Worker, WorkerError, main as worker};
use ochre_archive::{Applied, ApplyOptions, Limits, apply_layer};
use ochre_sys::rooted::Root;
use ochre_types::ErrorKind;

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    if arguments.next().as_deref() == Some(PROGRAM) {
        return worker(arguments);
    }
    let tests: [(&str, fn()); 5] = [
        ("a_worker_makes_the_layer_that_this_process_makes", same_layer),
        ("a_worker_is_locked_up_while_it_unpacks", locked_up),
        ("a_refusal_arrives_with_its_kind_and_words", refusals),
        ("a_blob_that_breaks_off_is_the_feeder_s_error_and_kills_the_worker", broken_feed),
        ("a_program_that_is_no_worker_is_an_error", no_worker),
    ];
    println!("\nrunning {} tests", tests.len());
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
    println!("\ntest result: ok. {} passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n", tests.len());
    ExitCode::SUCCESS
}

const SELF: &str = "/proc/self/exe";

fn options() -> ApplyOptions {
    ApplyOptions { device_nodes: true, ..ApplyOptions::default() }
}

/// An archive by GNU tar with one of everything.
fn archive(dir: &Path) -> Vec<u8> {
    let script =
        "set -e; mkdir -p t/etc t/opaque; cd t; echo hello > etc/file; ln etc/file hard; ln -s /etc/file soft
        mkfifo -m 0640 fifo; mknod -m 0666 null c 1 3; touch .wh.gone opaque/.wh..wh..opq opaque/new
        printf x > big; truncate -s 3M big; cp /bin/true suid; chmod 4755 suid; chown 1000:2000 etc/file
        tar --format=pax --numeric-owner -czf ../layer.tar.gz .";
    let status = std::process::Command::new("sh").args(["-c", script]).current_dir(dir).status().unwrap();
    assert!(status.success());
    std::fs::read(dir.join("layer.tar.gz")).unwrap()
}

fn by_worker(target: &Path, mut input: impl Read, options: &ApplyOptions) -> Result<Applied, WorkerError> {
    std::fs::create_dir(target).unwrap();
    let root = Root::open(target).unwrap();
    let split = std::fs::File::create(target.with_extension("split")).unwrap();
    Worker::start(Path::new(SELF), root.as_fd(), split.as_fd(), options)?.run(&mut input)
}

fn same_layer() {
    let dir = tempfile::tempdir().unwrap();
    let blob = archive(dir.path());
    let (here, there) = (dir.path().join("here"), dir.path().join("there"));
    std::fs::create_dir(&here).unwrap();
    let mut split = Vec::new();
    let expected = apply_layer(&blob[..], &Root::open(&here).unwrap(), Some(&mut split), &options()).unwrap();
    let applied = by_worker(&there, &blob[..], &options()).unwrap();
    assert_eq!(applied, expected);
    assert_eq!(std::fs::read(there.with_extension("split")).unwrap(), split);
    for name in ["etc/file", "hard", "soft", "fifo", "null", "gone", "opaque", "opaque/new", "big", "suid"] {
        let (a, b) =
            (here.join(name).symlink_metadata().unwrap(), there.join(name).symlink_metadata().unwrap());
        let seen = |m: &std::fs::Metadata| (m.mode(), m.uid(), m.gid(), m.rdev(), m.nlink(), m.mtime());
        assert_eq!(seen(&a), seen(&b), "{name}");
    }
    assert!(there.join("null").symlink_metadata().unwrap().file_type().is_char_device());
    assert_eq!(there.join("fifo").symlink_metadata().unwrap().permissions().mode() & 0o7777, 0o640);
}

/// Hands out the archive but for its last bytes, then looks at the worker, which waits for them.
struct Observed<'a> {
    bytes: &'a [u8],
    looked: bool,
    root: &'a Path,
}

impl Read for Observed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes.len() <= 64 && !self.looked {
            self.looked = true;
            look(self.root);
        }
        let rest = if self.looked { 0 } else { 64 };
        let count = buffer.len().min(self.bytes.len() - rest);
        buffer[..count].copy_from_slice(&self.bytes[..count]);
        self.bytes = &self.bytes[count..];
        Ok(count)
    }
}

/// What the kernel says of our only child.
fn look(layer: &Path) {
    let me = std::process::id();
    let children = std::fs::read_to_string(format!("/proc/{me}/task/{me}/children")).unwrap();
    let pid: u32 = children.split_whitespace().next().unwrap().parse().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
        };
        // It may still be on its way into the sandbox.
        if field("Seccomp:") != "2" && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(5));
            continue;
        }
        assert_eq!((field("Seccomp:").as_str(), field("NoNewPrivs:").as_str()), ("2", "1"));
        // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SYS_ADMIN, MKNOD, SETFCAP and nothing else.
        let effective = u64::from_str_radix(&field("CapEff:"), 16).unwrap();
        assert_eq!(effective & !0x8820_001b, 0, "{effective:x}");
        assert_eq!(std::fs::read_link(format!("/proc/{pid}/root")).unwrap(), layer);
        assert_eq!(std::fs::read(format!("/proc/{pid}/environ")).unwrap(), b"");
        return;
    }
}

fn locked_up() {
    let dir = tempfile::tempdir().unwrap();
    let blob = archive(dir.path());
    let layer = dir.path().join("layer");
    let mut input = Observed { bytes: &blob, looked: false, root: &layer };
    by_worker(&layer, &mut input, &options()).unwrap();
    assert!(input.looked);
}

fn refusals() {
    let dir = tempfile::tempdir().unwrap();
    let blob = archive(dir.path());
    let few = ApplyOptions { limits: Limits { max_entries: 3, ..Limits::default() }, device_nodes: true };
    for (name, blob, options, kind, words) in [
        ("few", &blob[..], few, ErrorKind::Exhausted, "more than 3 members"),
        ("none", &blob[..], ApplyOptions::default(), ErrorKind::Denied, "is a device node"),
        ("cut", &blob[..blob.len() / 2], options(), ErrorKind::InvalidArgument, ""),
        ("rubbish", &[7; 4096][..], options(), ErrorKind::InvalidArgument, ""),
    ] {
        let error = by_worker(&dir.path().join(name), blob, &options).unwrap_err();
        assert!(matches!(error, WorkerError::Refused { .. }), "{name}: {error:?}");
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(error.to_string().contains(words), "{name}: {error}");
    }
}

fn broken_feed() {
    struct Breaks;
    impl Read for Breaks {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let error = by_worker(&dir.path().join("layer"), Breaks, &options()).unwrap_err();
    assert!(
        matches!(&error, WorkerError::Feed { source } if source.kind() == io::ErrorKind::ConnectionReset)
    );
    let me = std::process::id();
    assert_eq!(std::fs::read_to_string(format!("/proc/{me}/task/{me}/children")).unwrap(), "");
}

fn no_worker() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    let split = tempfile::tempfile().unwrap();
    let start = |program: &str| Worker::start(Path::new(program), root.as_fd(), split.as_fd(), &options());
    assert!(matches!(start("/no/such/program"), Err(WorkerError::Start { .. })));
    let error = start("/bin/false").unwrap().run(&mut &[0; 1 << 20][..]).unwrap_err();
    assert!(matches!(error, WorkerError::Died { .. }), "{error:?}");
}
