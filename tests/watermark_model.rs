//! Promise: no interleaving of two writers and a reader makes the reader miss an event or see one twice, moves
//! the end of the feed back behind what was read, or makes a writer find the sequence set back that was not.
//!
//! An exhaustive search of a model of src/feed/positions.rs. A step that is atomic here is atomic there:
//! reading or drawing from the sequence, taking or releasing a lock, listing the locks, taking a snapshot,
//! becoming visible. doc/watermark.md gives the argument in words.

use std::collections::{BTreeSet, HashSet};

/// A deliberate mistake. The search must detect each of them, or it proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mutation {
    None,
    /// The first position is drawn before the lock is taken.
    LockAfterDraw,
    /// The lock belongs to the savepoint and is released by its rollback.
    LockOwnedBySavepoint,
    /// The lock is released before the commit is visible.
    ReleaseBeforeVisible,
    /// The reader lists the locks before it reads the sequence.
    LocksBeforeSequence,
    /// The reader's snapshot is older than the watermark.
    SnapshotFirst,
    /// The reader ignores the locks: it reads everything after its last position.
    NoMark,
    /// The writer keeps the lock whose key it read before it held the lock.
    EarlyKey,
    /// The writer that compares the sequence with the tables reads it before them.
    SequenceBeforeTables,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Step {
    /// The highest position that the tables show.
    ReadTables,
    CompareWithSequence,
    ReadSequence,
    CompareWithTables,
    ReadKey,
    TakeLock,
    ReadKeyAgain,
    TakeLaterLock,
    ReleaseEarlierLock,
    DrawFirst,
    EndSavepoint,
    DrawSecond,
    BecomeVisible,
    ReleaseLock,
    Done,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Writer {
    program: Vec<Step>,
    at: usize,
    /// What was read first of what is compared.
    compared: u8,
    is_refused: bool,
    key: u8,
    locks: BTreeSet<u8>,
    drawn: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Hash, Default)]
struct Reader {
    step: usize,
    rounds: u8,
    sequence: u8,
    lowest_key: Option<u8>,
    snapshot: BTreeSet<u8>,
    position: u8,
    seen: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct World {
    sequence: u8,
    visible: BTreeSet<u8>,
    writers: [Writer; 2],
    reader: Reader,
}

fn program(mutation: Mutation) -> Vec<Step> {
    use Step::*;
    let compare = match mutation {
        Mutation::SequenceBeforeTables => vec![ReadSequence, CompareWithTables],
        _ => vec![ReadTables, CompareWithSequence],
    };
    let lock = match mutation {
        Mutation::EarlyKey => vec![ReadKey, TakeLock],
        _ => vec![ReadKey, TakeLock, ReadKeyAgain, TakeLaterLock, ReleaseEarlierLock],
    };
    let parts = match mutation {
        Mutation::LockAfterDraw => {
            vec![vec![DrawFirst], lock, vec![EndSavepoint, DrawSecond, BecomeVisible, ReleaseLock]]
        }
        Mutation::ReleaseBeforeVisible => {
            vec![lock, vec![DrawFirst, EndSavepoint, DrawSecond, ReleaseLock, BecomeVisible]]
        }
        _ => vec![lock, vec![DrawFirst, EndSavepoint, DrawSecond, BecomeVisible, ReleaseLock]],
    };
    [compare, parts.concat(), vec![Done]].concat()
}

impl World {
    fn new(mutation: Mutation) -> Self {
        let writer = Writer {
            program: program(mutation),
            at: 0,
            compared: 0,
            is_refused: false,
            key: 0,
            locks: BTreeSet::new(),
            drawn: Vec::new(),
        };
        Self {
            sequence: 0,
            visible: BTreeSet::new(),
            writers: [writer.clone(), writer],
            reader: Reader::default(),
        }
    }

    /// Every state that one step of this writer leads to.
    fn write(&self, who: usize, mutation: Mutation) -> Vec<World> {
        let mut next = self.clone();
        let highest = next.visible.last().copied().unwrap_or(0);
        let writer = &mut next.writers[who];
        let step = writer.program[writer.at];
        writer.at += 1;
        match step {
            Step::Done => return Vec::new(),
            Step::ReadTables => writer.compared = highest,
            Step::CompareWithSequence => writer.is_refused = next.sequence < writer.compared,
            Step::ReadSequence => writer.compared = next.sequence,
            Step::CompareWithTables => writer.is_refused = writer.compared < highest,
            Step::ReadKey | Step::ReadKeyAgain => writer.key = next.sequence,
            Step::TakeLock | Step::TakeLaterLock => drop(writer.locks.insert(writer.key)),
            Step::ReleaseEarlierLock => writer.locks.retain(|key| *key == writer.key),
            Step::DrawFirst | Step::DrawSecond => {
                next.sequence += 1;
                writer.drawn.push(next.sequence);
            }
            Step::EndSavepoint => {
                let mut rolled_back = next.clone();
                let writer = &mut rolled_back.writers[who];
                writer.drawn.clear();
                if mutation == Mutation::LockOwnedBySavepoint {
                    writer.locks.clear();
                }
                return vec![next, rolled_back];
            }
            Step::BecomeVisible => {
                let mut aborted = next.clone();
                aborted.writers[who].drawn.clear();
                let drawn = std::mem::take(&mut next.writers[who].drawn);
                next.visible.extend(drawn);
                return vec![next, aborted];
            }
            Step::ReleaseLock => writer.locks.clear(),
        }
        vec![next]
    }

    /// The reader's next step: sequence, locks, snapshot, then the events.
    fn read(&self, mutation: Mutation) -> World {
        let order: [fn(&mut World); 3] = match mutation {
            Mutation::LocksBeforeSequence => [Self::list_locks, Self::ask_sequence, Self::snapshot],
            Mutation::SnapshotFirst => [Self::snapshot, Self::ask_sequence, Self::list_locks],
            _ => [Self::ask_sequence, Self::list_locks, Self::snapshot],
        };
        let mut next = self.clone();
        order[next.reader.step](&mut next);
        next.reader.step += 1;
        if next.reader.step == order.len() {
            next.reader.take(mutation);
        }
        next
    }

    fn ask_sequence(&mut self) {
        self.reader.sequence = self.sequence;
    }

    fn list_locks(&mut self) {
        self.reader.lowest_key = self.lowest_key();
    }

    fn lowest_key(&self) -> Option<u8> {
        self.writers.iter().flat_map(|writer| writer.locks.iter().copied()).min()
    }

    fn snapshot(&mut self) {
        self.reader.snapshot = self.visible.clone();
    }

    /// A position that was read lies within the feed, so that it can be acknowledged, except while a writer
    /// exchanges its lock.
    fn may_acknowledge(&self) -> bool {
        let exchanges = |writer: &Writer| {
            let next = writer.program.get(writer.at);
            use Step::{ReadKeyAgain, ReleaseEarlierLock, TakeLaterLock};
            matches!(next, Some(ReadKeyAgain | TakeLaterLock | ReleaseEarlierLock))
        };
        let end = self.lowest_key().map_or(self.sequence, |key| key.min(self.sequence));
        self.writers.iter().any(exchanges) || self.reader.position <= end
    }

    fn is_right(&self) -> bool {
        let is_refused = self.writers.iter().any(|writer| writer.is_refused);
        self.sees_all_once() && self.may_acknowledge() && !is_refused
    }

    /// No visible event at or below the reader's position was missed, and none was seen twice.
    fn sees_all_once(&self) -> bool {
        let seen: BTreeSet<u8> = self.reader.seen.iter().copied().collect();
        let behind = self.visible.iter().filter(|position| **position <= self.reader.position);
        seen.len() == self.reader.seen.len() && behind.into_iter().all(|event| seen.contains(event))
    }
}

impl Reader {
    fn take(&mut self, mutation: Mutation) {
        let mark = match mutation {
            Mutation::NoMark => u8::MAX,
            _ => self.lowest_key.map_or(self.sequence, |key| key.min(self.sequence)),
        };
        let batch: Vec<u8> =
            self.snapshot.iter().copied().filter(|p| *p > self.position && *p <= mark).collect();
        self.position = batch.last().copied().unwrap_or(self.position);
        *self = Self {
            rounds: self.rounds + 1,
            position: self.position,
            seen: [std::mem::take(&mut self.seen), batch].concat(),
            ..Self::default()
        };
    }
}

/// Searches every interleaving; returns the number of states, or None if the reader is wrong in one of them.
fn search(mutation: Mutation) -> Option<usize> {
    const ROUNDS: u8 = 3;
    let mut known = HashSet::new();
    let mut open = vec![World::new(mutation)];
    while let Some(world) = open.pop() {
        if !world.is_right() {
            return None;
        }
        if !known.insert(world.clone()) {
            continue;
        }
        open.extend((0..2).flat_map(|who| world.write(who, mutation)));
        if world.reader.rounds < ROUNDS {
            open.push(world.read(mutation));
        }
    }
    Some(known.len())
}

#[test]
fn no_interleaving_makes_the_reader_miss_an_event_or_see_one_twice() {
    let worlds = search(Mutation::None).expect("the watermark is right");
    println!("{worlds} worlds");
    assert!(worlds > 10_000, "the search saw only {worlds} worlds");
}

#[test]
fn every_way_to_get_it_wrong_is_caught() {
    for mutation in [
        Mutation::LockAfterDraw,
        Mutation::LockOwnedBySavepoint,
        Mutation::ReleaseBeforeVisible,
        Mutation::LocksBeforeSequence,
        Mutation::SnapshotFirst,
        Mutation::NoMark,
        Mutation::EarlyKey,
        Mutation::SequenceBeforeTables,
    ] {
        assert_eq!(search(mutation), None, "{mutation:?} went unnoticed");
    }
}
