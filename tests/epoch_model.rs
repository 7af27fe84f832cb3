//! Promise: whatever part of the WAL a failover takes back, a reader that is not refused has read exactly what the
//! feed holds up to its place; and a failover that takes nothing back refuses nobody.
//!
//! An exhaustive search of a model of src/feed/epochs.rs: two writers, a reader, and failovers between any two
//! steps, to any prefix of the WAL. `tests/watermark_model.rs` models how the watermark is determined; here it
//! is given. doc/watermark.md gives the argument in words.

use std::collections::{BTreeMap, BTreeSet, HashSet};

/// A deliberate mistake. The search must detect each of them, or it proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mutation {
    None,
    /// No epoch begins: positions go on from the sequence.
    NoEpoch,
    /// The epoch before is recorded as ended where the next begins, so that nobody is in a lost tail.
    NoLostTail,
    /// The epoch is taken to end with its last event, though an earlier one may be missing.
    EndsWithLastEvent,
    /// Events beyond the end of their epoch stay where they are.
    NothingMoves,
    /// The position up to which readers have read is taken from after the cut.
    ReadKeptElsewhere,
    /// Before the next epoch begins, readers read on to the last event.
    ReadsOnBeforeItBegins,
    /// The next position lies at the sequence, not above what was known.
    NoStride,
    /// Two failovers from the same server begin the same epoch.
    NoTimeline,
    /// A beginning that failed before it drew a position is not gone on with: the next takes one multiple more.
    GoesOnOnlyIfDrawn,
}

const STRIDE: u8 = 20;
const MARGIN: u8 = 2;

/// A record of the WAL.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Record {
    Commit { epoch: Option<Epoch>, moved: Vec<(u8, u8)>, events: Vec<(u8, u8)> },
    Read(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Epoch {
    timeline: u8,
    first: u8,
    previous_end: u8,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Open {
    key: u8,
    epoch: Option<Epoch>,
    moved: Vec<(u8, u8)>,
    /// Positions and the events' identities.
    events: Vec<(u8, u8)>,
}

/// What the WAL up to some point amounts to.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
struct Tables {
    /// The event at each position.
    events: BTreeMap<u8, u8>,
    epochs: Vec<Epoch>,
    read: u8,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct World {
    wal: Vec<Record>,
    tables: Tables,
    sequence: u8,
    /// Whether the latest epoch was written by another history.
    has_ended: bool,
    open: [Option<Open>; 2],
    reader: u8,
    seen: BTreeSet<u8>,
    next_event: u8,
    failovers: u8,
    /// Of transactions that were about to begin an epoch.
    failures: u8,
    timeline: u8,
    reads: u8,
    /// Whether any failover has taken something back.
    lost: bool,
    /// What was read before the last failover, whatever of it reached the WAL.
    read_elsewhere: u8,
}

impl Tables {
    fn apply(&mut self, record: &Record) {
        match record {
            Record::Read(read) => self.read = self.read.max(*read),
            Record::Commit { epoch, moved, events } => {
                self.epochs.extend(epoch);
                for (from, to) in moved {
                    let event = self.events.remove(from).expect("it is there");
                    self.events.insert(*to, event);
                }
                self.events.extend(events.iter().copied());
            }
        }
    }

    fn first_position(&self) -> u8 {
        self.epochs.last().map_or(1, |epoch| epoch.first)
    }

    fn last_event(&self) -> u8 {
        self.events.keys().next_back().copied().unwrap_or_default()
    }
}

impl World {
    fn new() -> Self {
        Self {
            wal: Vec::new(),
            tables: Tables::default(),
            sequence: 0,
            has_ended: false,
            open: [None, None],
            reader: 0,
            seen: BTreeSet::new(),
            next_event: 0,
            failovers: 0,
            failures: 0,
            timeline: 1,
            reads: 0,
            lost: false,
            read_elsewhere: 0,
        }
    }

    fn log(&mut self, record: Record) {
        self.tables.apply(&record);
        self.wal.push(record);
    }

    fn timeline_of_latest(&self) -> u8 {
        self.tables.epochs.last().map_or(1, |epoch| epoch.timeline)
    }

    fn end_of_latest(&self, mutation: Mutation) -> u8 {
        let last = self.tables.last_event();
        if mutation == Mutation::EndsWithLastEvent {
            return last;
        }
        let read = match mutation {
            Mutation::ReadKeptElsewhere => self.read_elsewhere,
            _ => self.tables.read,
        };
        let from = read.max(self.tables.first_position() - 1);
        let gap = (from + 1..=last).find(|position| !self.tables.events.contains_key(position));
        gap.map_or(last.max(from.min(last)), |gap| gap - 1)
    }

    /// The writer's next steps.
    fn write(&self, who: usize, mutation: Mutation) -> Vec<World> {
        let Some(open) = &self.open[who] else { return self.draw(who, mutation) };
        let mut aborted = self.clone();
        aborted.open[who] = None;
        let mut committed = aborted.clone();
        let Open { epoch, moved, events, .. } = open.clone();
        committed.has_ended &= epoch.is_none();
        committed.log(Record::Commit { epoch, moved, events });
        let more = if open.events.len() < 2 { self.draw(who, mutation) } else { Vec::new() };
        [vec![aborted, committed], more].concat()
    }

    /// Draws a position, and begins an epoch where none is recorded.
    fn draw(&self, who: usize, mutation: Mutation) -> Vec<World> {
        const EVENTS: u8 = 4;
        const FAILURES: u8 = 1;
        if self.next_event == EVENTS {
            return Vec::new();
        }
        let mut next = self.clone();
        let mut worlds = Vec::new();
        let mut open = self.open[who].clone().unwrap_or(Open {
            key: self.sequence,
            epoch: None,
            moved: Vec::new(),
            events: Vec::new(),
        });
        if self.open[who].is_none() && self.has_ended && mutation != Mutation::NoEpoch {
            // Waits for the transaction that begins one.
            if self.open.iter().flatten().any(|open| open.epoch.is_some()) {
                return Vec::new();
            }
            let end = self.end_of_latest(mutation);
            let first = self.next_first(mutation);
            let previous_end = if mutation == Mutation::NoLostTail { first - 1 } else { end };
            open.epoch = Some(Epoch { timeline: self.timeline, first, previous_end });
            next.sequence = self.sequence.max(first - 1);
            if self.failures < FAILURES {
                // It fails after it has moved the sequence.
                worlds.push(World { failures: self.failures + 1, ..next.clone() });
            }
            open.key = next.sequence;
            if mutation != Mutation::NothingMoves {
                for from in self.tables.events.keys().filter(|position| **position > end) {
                    next.sequence += 1;
                    open.moved.push((*from, next.sequence));
                }
            }
        }
        next.sequence += 1;
        open.events.push((next.sequence, next.next_event));
        next.next_event += 1;
        next.open[who] = Some(open);
        worlds.push(next);
        worlds
    }

    /// The first position of the epoch after the latest.
    fn next_first(&self, mutation: Mutation) -> u8 {
        if mutation == Mutation::NoStride {
            return self.sequence + 1;
        }
        let known = self.tables.last_event().max(self.tables.read);
        let above = |position: u8| (position + MARGIN).div_ceil(STRIDE);
        let mut next = above(known);
        let mut later_promotions = 0;
        if mutation != Mutation::NoTimeline {
            later_promotions = self.timeline - self.timeline_of_latest() - 1;
            next = next.max(self.tables.first_position() / STRIDE + 1) + later_promotions;
        }
        let begun = match mutation {
            Mutation::GoesOnOnlyIfDrawn => self.sequence,
            _ => self.sequence + 1,
        };
        if begun / STRIDE != next {
            next = next.max(above(self.sequence) + later_promotions);
        }
        next * STRIDE
    }

    /// Where the feed ends, whether the reader is refused, and how far it may read.
    fn bounds(&self, mutation: Mutation) -> (bool, u8) {
        let end = if !self.has_ended || mutation == Mutation::NoEpoch {
            self.sequence
        } else if mutation == Mutation::ReadsOnBeforeItBegins {
            self.tables.last_event()
        } else {
            self.end_of_latest(mutation)
        };
        let lowest_key = self.open.iter().flatten().map(|open| open.key).min();
        let complete_to = lowest_key.map_or(end, |key| key.min(end));
        let in_lost_tail = self
            .tables
            .epochs
            .iter()
            .any(|epoch| epoch.previous_end < self.reader && self.reader < epoch.first)
            && !self.tables.events.contains_key(&self.reader);
        (self.reader > end || in_lost_tail, complete_to)
    }

    /// The reader reads one event, or all; refused, it copies everything.
    fn read(&self, mutation: Mutation) -> Vec<World> {
        const READS: u8 = 3;
        if self.reads == READS {
            return Vec::new();
        }
        let (refused, complete_to) = self.bounds(mutation);
        let mut begin = self.clone();
        begin.reads += 1;
        if refused {
            begin.seen = self.tables.events.values().copied().collect();
            let events = self.tables.events.range(..=complete_to);
            begin.reader = events.last().map_or(0, |(position, _)| *position);
            // A copy may contain what lies beyond its place; versions decide when that is read.
            begin.seen.retain(|seen| {
                self.tables.events.range(..=complete_to).any(|(_, event)| event == seen)
            });
            begin.kept(complete_to);
            return vec![begin];
        }
        [1, usize::MAX]
            .map(|batch| {
                let mut next = begin.clone();
                let rest = self.tables.events.range(self.reader + 1..);
                let events: Vec<(u8, u8)> = rest
                    .map(|(position, event)| (*position, *event))
                    .take_while(|(position, _)| *position <= complete_to)
                    .take(batch)
                    .collect();
                if let Some((last, _)) = events.last() {
                    next.reader = *last;
                    next.seen.extend(events.iter().map(|(_, event)| *event));
                    next.kept(complete_to);
                }
                next
            })
            .to_vec()
    }

    fn kept(&mut self, complete_to: u8) {
        self.read_elsewhere = self.read_elsewhere.max(complete_to);
        if complete_to > self.tables.read {
            self.log(Record::Read(complete_to));
        }
    }

    /// Failovers to every prefix of the WAL.
    fn fail_over(&self) -> Vec<World> {
        const FAILOVERS: u8 = 2;
        if self.failovers == FAILOVERS {
            return Vec::new();
        }
        (0..=self.wal.len())
            .map(|length| {
                let mut next = self.clone();
                next.wal.truncate(length);
                next.tables = Tables::default();
                next.wal.iter().for_each(|record| next.tables.apply(record));
                // The least that the sequence can stand at.
                next.sequence = next.tables.last_event().max(next.tables.first_position() - 1);
                next.open = [None, None];
                next.has_ended = true;
                next.failovers += 1;
                next.timeline += 1;
                next.lost |= length < self.wal.len();
                next
            })
            .collect()
    }

    fn is_right(&self, mutation: Mutation) -> bool {
        let (refused, _) = self.bounds(mutation);
        if refused {
            return self.lost;
        }
        let behind: BTreeSet<u8> =
            self.tables.events.range(..=self.reader).map(|(_, event)| *event).collect();
        // A failover can give an event that was read another position; it is then read once more.
        let all: BTreeSet<u8> = self.tables.events.values().copied().collect();
        behind.is_subset(&self.seen) && self.seen.is_subset(&all)
    }
}

/// Searches every interleaving; returns the number of states, or None if the reader is wrong in one of them.
fn search(mutation: Mutation) -> Option<usize> {
    let mut known = HashSet::new();
    let mut open = vec![World::new()];
    while let Some(world) = open.pop() {
        if !world.is_right(mutation) {
            return None;
        }
        if !known.insert(world.clone()) {
            continue;
        }
        open.extend((0..2).flat_map(|who| world.write(who, mutation)));
        open.extend(world.read(mutation));
        open.extend(world.fail_over());
    }
    Some(known.len())
}

#[test]
fn no_failover_leaves_a_reader_wrong_that_is_not_refused() {
    let worlds = search(Mutation::None).expect("epochs are right");
    println!("{worlds} worlds");
    assert!(worlds > 10_000, "the search saw only {worlds} worlds");
}

#[test]
fn every_way_to_get_it_wrong_is_caught() {
    for mutation in [
        Mutation::NoEpoch,
        Mutation::NoLostTail,
        Mutation::EndsWithLastEvent,
        Mutation::NothingMoves,
        Mutation::ReadKeptElsewhere,
        Mutation::ReadsOnBeforeItBegins,
        Mutation::NoStride,
        Mutation::NoTimeline,
        Mutation::GoesOnOnlyIfDrawn,
    ] {
        assert_eq!(search(mutation), None, "{mutation:?} went unnoticed");
    }
}
