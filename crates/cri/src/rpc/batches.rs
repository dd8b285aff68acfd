//! Lists as streams: the newest API's way around the largest message (KEP-5825).
//!
//! Every `Stream…` verb takes the rows of its list twin and sends them in messages of bounded size; the stream ends after
//! the last row. No rows are no messages.

use std::iter::Peekable;
use std::vec::IntoIter;

use prost::Message;
use tonic::codegen::BoxStream;

/// Bytes of rows in one message, unless one row alone is larger; clients take 16 MiB. Rows are of requests, which bound
/// their size (1 MiB of labels, as much of annotations).
const BATCH: usize = 1 << 20;
/// Rows in one message, so that the first ones do not wait for thousands.
const ROWS: usize = 1000;

/// The rows, packed into messages as they are asked for.
pub(crate) fn stream<Row, Packed>(rows: Vec<Row>, pack: fn(Vec<Row>) -> Packed) -> BoxStream<Packed>
where
    Row: Message + 'static,
    Packed: Send + 'static,
{
    let mut rows = rows.into_iter().peekable();
    Box::pin(futures_util::stream::iter(std::iter::from_fn(move || batch(&mut rows).map(pack).map(Ok))))
}

fn batch<Row: Message>(rows: &mut Peekable<IntoIter<Row>>) -> Option<Vec<Row>> {
    let first = rows.next()?;
    let mut size = first.encoded_len();
    let mut batch = vec![first];
    while let Some(next) = rows.next_if(|next| batch.len() < ROWS && size + next.encoded_len() <= BATCH) {
        size += next.encoded_len();
        batch.push(next);
    }
    Some(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ochre_cri_api as api;

    fn rows(sizes: &[usize]) -> Peekable<IntoIter<api::Container>> {
        let rows: Vec<_> = sizes
            .iter()
            .enumerate()
            .map(|(at, size)| api::Container {
                id: at.to_string(),
                image_ref: "x".repeat(*size),
                ..Default::default()
            })
            .collect();
        rows.into_iter().peekable()
    }

    #[test]
    fn every_row_comes_once_in_messages_of_bounded_size() {
        for (sizes, expected) in [
            (vec![], vec![]),
            (vec![0], vec![1]),
            (vec![10; 2500], vec![1000, 1000, 500]),
            (vec![BATCH / 2, BATCH / 2, BATCH / 2], vec![1, 1, 1]),
            (vec![BATCH / 3; 5], vec![2, 2, 1]),
            // A row that is larger than a batch goes alone.
            (vec![1, 3 * BATCH, 1, 1], vec![1, 1, 2]),
        ] {
            let mut rows = rows(&sizes);
            let batches: Vec<_> = std::iter::from_fn(|| batch(&mut rows)).collect();
            assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), expected);
            let ids: Vec<_> = batches.iter().flatten().map(|row| row.id.parse::<usize>().unwrap()).collect();
            assert_eq!(ids, (0..sizes.len()).collect::<Vec<_>>());
        }
    }
}
