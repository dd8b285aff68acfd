use std::io::Write;

use super::*;

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn unpack(input: &[u8]) -> Result<Vec<u8>, DecompressError> {
    let mut decompressor = Decompressor::new(input)?;
    let (mut output, mut buffer) = (Vec::new(), [0; 100]);
    loop {
        match decompressor.decompress(&mut buffer)? {
            0 => break,
            count => output.extend_from_slice(&buffer[..count]),
        }
    }
    assert_eq!(decompressor.input_bytes(), input.len() as u64, "the input is read to its end");
    assert_eq!(decompressor.output_bytes(), output.len() as u64);
    Ok(output)
}

#[test]
fn members_frames_and_plain_bytes_come_out_whole() {
    let text: Vec<u8> = (0..50_000u32).flat_map(u32::to_le_bytes).collect();
    let (first, second) = text.split_at(1234);
    let zstd = |content: &[u8]| zstd::encode_all(content, 1).unwrap();
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9][..]].concat();
    for (name, input) in [
        ("plain", text.clone()),
        ("gzip", gzip(&text)),
        ("two members", [gzip(first), gzip(second)].concat()),
        ("empty member between", [gzip(first), gzip(b""), gzip(second)].concat()),
        ("zero padding", [gzip(&text), vec![0; 700]].concat()),
        ("zstd", zstd(&text)),
        ("two frames", [zstd(first), zstd(second)].concat()),
        ("skippable in front", [skippable.clone(), zstd(&text)].concat()),
        ("skippable behind", [zstd(&text), skippable.clone()].concat()),
    ] {
        assert_eq!(unpack(&input).unwrap(), text, "{name}");
    }
    assert_eq!(unpack(b"").unwrap(), b"");
}

#[test]
fn damage_is_told_from_a_failing_input() {
    let text = vec![b'x'; 100_000];
    for packed in [gzip(&text), zstd::encode_all(&text[..], 1).unwrap()] {
        for cut in [7, packed.len() / 2, packed.len() - 1] {
            assert!(matches!(unpack(&packed[..cut]), Err(DecompressError::Corrupt { .. })), "cut at {cut}");
        }
        let garbage = [packed.clone(), b"garbage".to_vec()].concat();
        assert!(matches!(unpack(&garbage), Err(DecompressError::Corrupt { .. })));
    }
    let mut damaged = gzip(&text);
    let checksum = damaged.len() - 8;
    damaged[checksum] ^= 1;
    assert!(matches!(unpack(&damaged), Err(DecompressError::Corrupt { .. })));

    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let start = gzip(&text);
    let mut decompressor = Decompressor::new(start[..40].chain(Broken)).unwrap();
    let mut buffer = vec![0; 200_000];
    let error = loop {
        if let Err(error) = decompressor.decompress(&mut buffer) {
            break error;
        }
    };
    assert!(matches!(error, DecompressError::Input { .. }));
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[test]
fn other_compressions_are_refused_by_name() {
    for (start, compression) in [(&b"BZh91AY"[..], Compression::Bzip2), (b"\xfd7zXZ\0\0", Compression::Xz)] {
        let error = unpack(start).unwrap_err();
        assert!(matches!(error, DecompressError::Unsupported { compression: c } if c == compression));
    }
}

#[test]
fn a_zstd_window_over_128_mib_is_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(28).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(&[7; 4096]).unwrap();
    let packed = encoder.finish().unwrap();
    assert!(matches!(unpack(&packed), Err(DecompressError::Corrupt { .. })));
}
