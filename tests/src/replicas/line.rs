//! Lines between nodes, as TCP has them: what is sent arrives in its order or not at all, and whoever is cut off learns it
//! late.
//!
//! ```text
//!   send ─► cut? it waits for the end of the cut ─► a time under way, behind what was sent before ─► arrives
//!                                                    now and then with a bit turned over, or cut short
//!   an end hangs up, or goes down ─► the other end learns it behind all that was sent before, unless it is cut off
//! ```

use std::collections::BTreeMap;

use holdfast_core::time::Millis;

use crate::seed::Seed;

/// One connection; its number says who has dialled.
pub type LineId = u64;

/// What arrives at an end.
#[derive(Debug, Clone)]
pub enum Item {
    /// A frame, whole or not.
    Frame {
        /// Its bytes.
        bytes: Vec<u8>,
        /// Whether they are others than were sent.
        is_garbled: bool,
    },
    /// The other end is gone.
    End,
}

/// Something on its way.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// When it is there.
    pub at: Millis,
    /// On which line.
    pub line: LineId,
    /// From whom.
    pub from: usize,
    /// To whom.
    pub to: usize,
    /// What.
    pub item: Item,
}

#[derive(Debug)]
struct Line {
    dialler: usize,
    listener: usize,
    /// When the newest of what was sent arrives, by sender.
    free: [Millis; 2],
    /// What waits for the end of a cut, by sender.
    held: [Vec<Item>; 2],
}

/// All lines, and what goes wrong with them.
#[derive(Debug)]
pub struct Lines {
    open: BTreeMap<LineId, Line>,
    /// How many cuts lie on a way; they may overlap.
    cuts: BTreeMap<(usize, usize), u32>,
    delay_max: Millis,
    garbled_percent: u64,
    seed: Seed,
}

impl Lines {
    /// None yet.
    pub fn new(delay_max: Millis, garbled_percent: u64, seed: Seed) -> Self {
        Self { open: BTreeMap::new(), cuts: BTreeMap::new(), delay_max, garbled_percent, seed }
    }

    /// The number of a node's so-manieth line.
    pub fn id(dialler: usize, number: u64) -> LineId {
        ((dialler as u64) << 32) | number
    }

    /// Whether nothing gets through now.
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.get(&(from, to)).is_some_and(|cuts| *cuts > 0)
    }

    /// Makes a line, unless one of both ways is cut.
    pub fn dial(&mut self, id: LineId, dialler: usize, listener: usize) -> bool {
        if self.is_cut(dialler, listener) || self.is_cut(listener, dialler) {
            return false;
        }
        let line = Line { dialler, listener, free: [Millis(0); 2], held: [Vec::new(), Vec::new()] };
        self.open.insert(id, line);
        true
    }

    /// Sends something; what is sent behind a cut waits.
    pub fn send(&mut self, now: Millis, id: LineId, from: usize, item: Item) -> Option<Arrival> {
        let item = self.spoil(item);
        let delay = self.seed.range(1..self.delay_max.0 + 2);
        let line = self.open.get(&id)?;
        let (end, to) = if from == line.dialler { (0, line.listener) } else { (1, line.dialler) };
        let is_cut = self.is_cut(from, to);
        let line = self.open.get_mut(&id)?;
        let (held, free) = (line.held.get_mut(end)?, line.free.get_mut(end)?);
        if is_cut || !held.is_empty() {
            held.push(item);
            return None;
        }
        *free = (now + Millis(delay)).max(*free + Millis(1));
        Some(Arrival { at: *free, line: id, from, to, item })
    }

    /// The ends of every line of a node, for when it goes down: who is at the other one.
    pub fn of(&self, node: usize) -> Vec<(LineId, usize)> {
        let other = |line: &Line| match (line.dialler == node, line.listener == node) {
            (true, _) => Some(line.listener),
            (_, true) => Some(line.dialler),
            _ => None,
        };
        self.open.iter().filter_map(|(id, line)| Some((*id, other(line)?))).collect()
    }

    /// Forgets a line that neither end has any more; what is on its way still arrives.
    pub fn forget(&mut self, id: LineId) {
        self.open.remove(&id);
    }

    /// Nothing gets through one way from now on.
    pub fn cut(&mut self, from: usize, to: usize) {
        *self.cuts.entry((from, to)).or_default() += 1;
    }

    /// The end of a cut: what has waited goes.
    pub fn mend(&mut self, now: Millis, from: usize, to: usize) -> Vec<Arrival> {
        let cuts = self.cuts.entry((from, to)).or_default();
        *cuts = cuts.saturating_sub(1);
        if *cuts > 0 {
            return Vec::new();
        }
        let mut arrivals = Vec::new();
        for (id, line) in &mut self.open {
            let end = usize::from(from != line.dialler);
            let is_this = [line.dialler, line.listener] == [from, to] || [line.listener, line.dialler] == [from, to];
            let (Some(held), Some(free)) = (line.held.get_mut(end).filter(|_| is_this), line.free.get_mut(end)) else {
                continue;
            };
            for item in held.drain(..) {
                *free = (now + Millis(self.seed.range(1..self.delay_max.0 + 2))).max(*free + Millis(1));
                arrivals.push(Arrival { at: *free, line: *id, from, to, item });
            }
        }
        arrivals
    }

    /// From now on everything arrives, whole and soon. Gives what has waited.
    pub fn heal(&mut self, now: Millis) -> Vec<Arrival> {
        (self.delay_max, self.garbled_percent) = (Millis(20), 0);
        let cut: Vec<(usize, usize)> = self.cuts.keys().copied().collect();
        self.cuts.values_mut().for_each(|cuts| *cuts = (*cuts).min(1));
        cut.into_iter().flat_map(|(from, to)| self.mend(now, from, to)).collect()
    }

    fn spoil(&mut self, item: Item) -> Item {
        match item {
            Item::Frame { mut bytes, .. } if self.garbled_percent > 0 && self.seed.chance(self.garbled_percent) => {
                let at = self.seed.index(bytes.len());
                if self.seed.chance(30) {
                    bytes.truncate(at);
                } else if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << self.seed.range(0..8);
                }
                Item::Frame { bytes, is_garbled: true }
            }
            item => item,
        }
    }
}
