//! A layer on its way from the registry: piece by piece into a bounded channel, continued where it broke.
//!
//! ```text
//!   open ──► pieces ──► all of them ──► done
//!     ▲         │ broken, stalled, busy
//!     └─ pause ─┘  (3 failures without a new byte: next source, or give up)
//! ```
//!
//! The receiver verifies the digest, so a source may take over in the middle of another one's blob.

use std::sync::Arc;

use bytes::Bytes;
use http::{StatusCode, header};
use ochre_types::Digest;
use tokio::sync::mpsc;

use super::RegistryError;
use super::client::RegistryClient;
use crate::pull::progress::Progress;

/// Bytes that must have come before a stall for it not to count against the registry.
const STALL_WORTH: u64 = 1 << 20;

/// A blob to download.
pub(crate) struct Download<'a> {
    pub(crate) digest: &'a Digest,
    /// Size by the descriptor.
    pub(crate) size: u64,
    pub(crate) progress: &'a Progress,
}

impl Download<'_> {
    /// Sends the blob from the first of `sources` that has it. Returns early, without an error, when nobody listens.
    pub(crate) async fn run(
        &self,
        sources: &[Arc<RegistryClient>],
        sink: mpsc::Sender<Bytes>,
    ) -> Result<(), RegistryError> {
        let mut sent = 0;
        let mut result = Ok(());
        for source in sources {
            result = self.take_from(source, &sink, &mut sent).await;
            if result.is_ok() {
                return Ok(());
            }
        }
        result
    }

    async fn take_from(
        &self,
        source: &RegistryClient,
        sink: &mpsc::Sender<Bytes>,
        sent: &mut u64,
    ) -> Result<(), RegistryError> {
        let mut tried = 0;
        loop {
            let before = *sent;
            let error = match self.attempt(source, sink, sent).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // Getting on is no failure, however often the connection breaks; but a registry that stalls after every
            // few bytes would keep a pull for ever.
            let enough = if matches!(error, RegistryError::Stalled { .. }) { STALL_WORTH } else { 1 };
            tried = if *sent - before >= enough { 1 } else { tried + 1 };
            let Some(pause) = source.timing().retry.pause_after(tried, &error) else { return Err(error) };
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(
        &self,
        source: &RegistryClient,
        sink: &mpsc::Sender<Bytes>,
        sent: &mut u64,
    ) -> Result<(), RegistryError> {
        if *sent == self.size && self.size > 0 {
            return Ok(());
        }
        let (url, response) = source.blob(self.digest, *sent).await?;
        // A registry that does not know ranges starts again; what is here already is passed over.
        let mut skip = match response.status() {
            StatusCode::PARTIAL_CONTENT => self.check_range(&url, response.headers(), *sent)?,
            _ => *sent,
        };
        let announced = response
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if let Some(announced) = announced
            && announced.saturating_add(*sent - skip) != self.size
        {
            return Err(self.wrong_size(url, announced.saturating_add(*sent - skip)));
        }
        let mut body = response.into_body();
        while let Some(mut piece) = source.frame(&url, &mut body).await? {
            let known = skip.min(piece.len() as u64);
            skip -= known;
            // `known` is at most the length of a piece in memory.
            drop(piece.split_to(usize::try_from(known).unwrap_or(usize::MAX)));
            if sent.saturating_add(piece.len() as u64) > self.size {
                return Err(self.wrong_size(url, sent.saturating_add(piece.len() as u64)));
            }
            *sent += piece.len() as u64;
            self.progress.add_bytes(piece.len() as u64);
            if !piece.is_empty() && sink.send(piece).await.is_err() {
                return Ok(());
            }
        }
        if *sent < self.size {
            let source = format!("it ended after {sent} of {} bytes", self.size).into();
            return Err(RegistryError::Exchange { url, source });
        }
        Ok(())
    }

    /// `Content-Range: bytes <from>-<to>/<size>` must continue where we are. Returns how many bytes to pass over: none.
    fn check_range(&self, url: &str, headers: &http::HeaderMap, from: u64) -> Result<u64, RegistryError> {
        let range =
            headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let start =
            range.strip_prefix("bytes ").and_then(|rest| rest.split('-').next()?.trim().parse::<u64>().ok());
        if start == Some(from) {
            return Ok(0);
        }
        Err(RegistryError::Status {
            url: url.to_owned(),
            status: 206,
            detail: ": another range than asked for".to_owned(),
        })
    }

    fn wrong_size(&self, url: String, actual: u64) -> RegistryError {
        RegistryError::Size { url, digest: self.digest.clone(), expected: self.size, actual }
    }
}
