//! The bytes of one simulated file, in pages that copies share until one of them writes.
//!
//! A world takes many copies of a file: durable beside live, images of crashes, templates to start from. Copying costs one
//! reference per page, and a page that was never written takes no memory, as on a file system with sparse files.

use std::sync::Arc;

pub(super) const PAGE_BYTES: usize = 4096;

/// The bytes of one file at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    len: u64,
    pages: Vec<Option<Arc<[u8; PAGE_BYTES]>>>,
}

impl Pages {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes that take up room: those of pages ever written.
    pub(super) fn allocated(&self) -> u64 {
        (self.pages.iter().flatten().count() * PAGE_BYTES) as u64
    }

    /// How many bytes a write would newly take up.
    pub(super) fn allocated_by(&self, offset: u64, len: usize) -> u64 {
        let pieces = pieces(offset, len);
        let new = pieces.filter(|piece| !matches!(self.pages.get(piece.page), Some(Some(_)))).count();
        (new * PAGE_BYTES) as u64
    }

    /// Sets the length; new bytes are zero, and bytes cut off are gone even if the file grows again.
    pub(super) fn set_len(&mut self, len: u64) {
        let pages = usize::try_from(len.div_ceil(PAGE_BYTES as u64)).expect("a simulated file fits in memory");
        self.pages.resize(pages, None);
        let tail = usize::try_from(len % PAGE_BYTES as u64).expect("an offset in a page");
        if len < self.len
            && tail > 0
            && let Some(Some(page)) = self.pages.last_mut()
            && let Some(cut) = Arc::make_mut(page).get_mut(tail..)
        {
            cut.fill(0);
        }
        self.len = len;
    }

    /// Fills `out` from `offset`; false if that is beyond the end.
    pub(super) fn read(&self, offset: u64, mut out: &mut [u8]) -> bool {
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > self.len) {
            return false;
        }
        for piece in pieces(offset, out.len()) {
            let (here, rest) = out.split_at_mut(piece.len);
            match self
                .pages
                .get(piece.page)
                .and_then(Option::as_ref)
                .and_then(|page| page.get(piece.start..piece.start + piece.len))
            {
                Some(bytes) => here.copy_from_slice(bytes),
                None => here.fill(0),
            }
            out = rest;
        }
        true
    }

    /// Writes `data` at `offset`, growing the file if it must.
    pub(super) fn write(&mut self, offset: u64, mut data: &[u8]) {
        let end = offset + data.len() as u64;
        if end > self.len {
            self.set_len(end);
        }
        for piece in pieces(offset, data.len()) {
            let (here, rest) = data.split_at(piece.len);
            if let Some(slot) = self.pages.get_mut(piece.page) {
                let page = Arc::make_mut(slot.get_or_insert_with(|| Arc::new([0; PAGE_BYTES])));
                if let Some(bytes) = page.get_mut(piece.start..piece.start + piece.len) {
                    bytes.copy_from_slice(here);
                }
            }
            data = rest;
        }
    }
}

/// A run of bytes within one page.
struct Piece {
    page: usize,
    start: usize,
    len: usize,
}

/// Cuts a run of bytes at page boundaries.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = Piece> {
    let mut at = usize::try_from(offset).expect("a simulated file fits in memory");
    let end = at + len;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let (page, start) = (at / PAGE_BYTES, at % PAGE_BYTES);
        let len = (PAGE_BYTES - start).min(end - at);
        at += len;
        Some(Piece { page, start, len })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::Pages;
    use crate::seed::Seed;

    #[test]
    fn pages_behave_as_one_run_of_bytes() {
        let mut seed = Seed::new(3);
        let (mut pages, mut bytes) = (Pages::default(), Vec::<u8>::new());
        for step in 0..2000_u32 {
            match seed.range(0..10) {
                0 => {
                    let len = seed.index(20_000);
                    pages.set_len(len as u64);
                    bytes.resize(len, 0);
                }
                1..6 => {
                    let (offset, len) = (seed.index(20_000), seed.index(9000));
                    let data = vec![step.to_le_bytes()[0]; len];
                    pages.write(offset as u64, &data);
                    bytes.resize(bytes.len().max(offset + len), 0);
                    bytes[offset..offset + len].copy_from_slice(&data);
                }
                _ => {
                    let (offset, len) = (seed.index(20_000), seed.index(9000));
                    let mut out = vec![0xEE; len];
                    let inside = pages.read(offset as u64, &mut out);
                    assert_eq!(inside, offset + len <= bytes.len());
                    if inside {
                        assert_eq!(out, bytes[offset..offset + len]);
                    }
                }
            }
            assert_eq!(pages.len(), bytes.len() as u64);
        }
    }

    #[test]
    fn a_copy_keeps_its_bytes_when_the_other_writes() {
        let mut pages = Pages::default();
        pages.write(10, b"before");
        let copy = pages.clone();
        pages.write(10, b"after!");
        let mut out = [0; 6];
        assert!(copy.read(10, &mut out));
        assert_eq!(&out, b"before");
    }
}
