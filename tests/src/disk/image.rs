//! What is found on a disk after a crash, and what may happen to it before it is used again.

use super::pages::Pages;
use crate::seed::Seed;
use std::collections::BTreeMap;
use std::ops::Range;

/// The durable bytes of all files of a disk.
#[derive(Clone, Debug, Default)]
pub struct DiskImage {
    pub(super) files: BTreeMap<String, Pages>,
}

impl DiskImage {
    /// Length of a file in bytes; nothing if there is no such file.
    pub fn len_of(&self, file: &str) -> Option<u64> {
        self.files.get(file).map(Pages::len)
    }

    /// All bytes of a file; nothing if there is no such file.
    pub fn bytes_of(&self, file: &str) -> Option<Vec<u8>> {
        let pages = self.files.get(file)?;
        let mut bytes = vec![0; usize::try_from(pages.len()).ok()?];
        pages.read(0, &mut bytes).then_some(bytes)
    }

    /// Puts a file there, in the place of any of that name.
    pub fn put(&mut self, file: &str, bytes: &[u8]) {
        let mut pages = Pages::default();
        pages.write(0, bytes);
        self.files.insert(file.to_owned(), pages);
    }

    /// Takes a file away, as an operator's mistake would.
    pub fn remove(&mut self, file: &str) -> bool {
        self.files.remove(file).is_some()
    }

    /// Turns over single bits in a range of a file: media that rot. Panics if the range is not inside the file.
    pub fn flip_bits(&mut self, file: &str, range: Range<u64>, bits: u64, seed: &mut Seed) {
        let pages = self.files.get_mut(file).expect("a file of the image");
        for _ in 0..bits {
            let offset = seed.range(range.clone());
            let mut byte = [0];
            assert!(pages.read(offset, &mut byte), "the range lies inside the file");
            let [value] = byte;
            pages.write(offset, &[value ^ (1 << seed.range(0..8))]);
        }
    }
}
