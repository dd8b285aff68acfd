//! Sizes of the client's terminal: JSON objects, one after the other, on the resize stream.

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{mpsc, watch};

use crate::backend::TerminalSize;

/// Longest text of one size that is waited for, bytes.
const LIMIT: usize = 1024;

/// Finds the sizes in what comes, in pieces of any length.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    text: BytesMut,
}

impl Sizes {
    /// The last whole size in `bytes` and what came before; `Err` when it cannot be one.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<Option<TerminalSize>, NotASize> {
        self.text.extend_from_slice(bytes);
        let mut values = serde_json::Deserializer::from_slice(&self.text).into_iter::<serde_json::Value>();
        let (mut last, mut end) = (None, 0);
        loop {
            match values.next() {
                Some(Ok(value)) => {
                    end = values.byte_offset();
                    last = size(&value).or(last);
                }
                Some(Err(error)) if error.is_eof() => break,
                Some(Err(_)) => return Err(NotASize),
                None => break,
            }
        }
        let rest = self.text.split_off(end);
        self.text = rest;
        if self.text.len() > LIMIT { Err(NotASize) } else { Ok(last) }
    }
}

/// The client sends something else than sizes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotASize;

fn size(value: &serde_json::Value) -> Option<TerminalSize> {
    let number = |name: &str| {
        let (_, value) = value.as_object()?.iter().find(|(own, _)| own.eq_ignore_ascii_case(name))?;
        u16::try_from(value.as_u64()?).ok().filter(|number| *number > 0)
    };
    Some(TerminalSize { width: number("width")?, height: number("height")? })
}

/// Hands on the sizes of a resize stream until it ends or nobody listens.
pub(crate) async fn follow(mut stream: impl AsyncRead + Unpin, latest: watch::Sender<Option<TerminalSize>>) {
    let mut sizes = Sizes::default();
    let mut buffer = [0u8; LIMIT];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        match sizes.read(buffer.get(..count).unwrap_or_default()) {
            Ok(Some(size)) => {
                latest.send_replace(Some(size));
            }
            Ok(None) => {}
            Err(NotASize) => return,
        }
    }
}

/// Hands the latest size on when the process takes one: sizes in between are skipped, the last one never is.
pub(crate) async fn deliver(
    mut latest: watch::Receiver<Option<TerminalSize>>,
    process: mpsc::Sender<TerminalSize>,
) {
    while latest.changed().await.is_ok() {
        let Ok(place) = process.reserve().await else { return };
        let size = *latest.borrow_and_update();
        if let Some(size) = size {
            place.send(size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_in_pieces_of_any_length() {
        let text = "{\"Width\":80,\"Height\":24}\n{\"width\":100,\"height\":30} {\"Width\":0,\"Height\":7}\n";
        for piece in 1..text.len() {
            let (mut sizes, mut seen) = (Sizes::default(), Vec::new());
            for bytes in text.as_bytes().chunks(piece) {
                seen.extend(sizes.read(bytes).unwrap());
            }
            assert_eq!(seen.last(), Some(&TerminalSize { width: 100, height: 30 }), "pieces of {piece}");
        }
    }

    #[test]
    fn what_is_not_a_size_ends_the_stream() {
        assert_eq!(Sizes::default().read(b"hello"), Err(NotASize));
        assert_eq!(Sizes::default().read(&[b'['; LIMIT + 1]), Err(NotASize));
        assert_eq!(Sizes::default().read(b"[1, {}, 99999999999]"), Ok(None));
    }

    #[tokio::test]
    async fn the_last_size_is_never_lost() {
        let (latest, receiver) = watch::channel(None);
        let (process, mut sizes) = mpsc::channel(1);
        let task = tokio::spawn(deliver(receiver, process));
        for width in 1..=500 {
            latest.send_replace(Some(TerminalSize { width, height: 1 }));
            tokio::task::yield_now().await;
        }
        drop(latest);
        let mut last = 0;
        while let Some(size) = sizes.recv().await {
            last = size.width;
        }
        assert_eq!(last, 500);
        task.await.unwrap();
    }
}
