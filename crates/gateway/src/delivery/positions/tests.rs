//! What is delivered, awaited and read, in various orders.

use super::*;
use crate::store::follow::RecordId;

type Tested = Positions<u64, ()>;

const CONV: ConvId = ConvId([1; 16]);
const NOTHING: [u64; 0] = [];

/// A moment at which these messages were committed, except those of a transaction that was running.
fn point(last: i64, running: Option<i64>) -> Arc<Point> {
    let running = running.map(|id| (RecordId(id), RecordId(id)));
    Arc::new(Point::new(RecordId(last), running))
}

/// Message `seq` has the number 100 + `seq`.
fn place(seq: u64) -> Place {
    Place {
        conv: CONV,
        first: Seq(seq),
        last: Seq(seq),
        numbers: Some(Numbers {
            own: RecordId(100 + seq as i64),
            before: RecordId(if seq == 1 { 0 } else { 99 + seq as i64 }),
        }),
    }
}

fn offer(positions: &mut Tested, seq: u64) -> Vec<u64> {
    offer_as(positions, seq, false)
}

fn offer_as(positions: &mut Tested, seq: u64, is_own: bool) -> Vec<u64> {
    positions.offer(place(seq), (seq, 1, is_own), Instant::now(), || ());
    delivered(positions)
}

/// What can be delivered now.
fn delivered(positions: &mut Tested) -> Vec<u64> {
    let mut delivered = Vec::new();
    loop {
        match positions.next(CONV, |_| true) {
            Next::Deliver(item, 0) => delivered.push(item),
            Next::Deliver(..) | Next::Unready(_) => unreachable!(),
            Next::Repeated(_) => {}
            Next::Wait(_) | Next::Nothing => return delivered,
        }
    }
}

fn gap(after: Option<u64>, through: u64) -> Option<(Gap, ())> {
    let (after, through) = (after.map(Seq), Seq(through));
    Some((
        Gap {
            conv: CONV,
            after,
            through,
        },
        (),
    ))
}

#[test]
fn messages_are_delivered_in_order_and_once() {
    let mut positions = Tested::new(point(100, None));
    assert_eq!(offer(&mut positions, 2), NOTHING);
    assert_eq!(offer(&mut positions, 3), NOTHING);
    assert_eq!(offer(&mut positions, 1), [1, 2, 3]);
    for seq in 1..=3 {
        assert_eq!(offer(&mut positions, seq), NOTHING);
    }
    assert_eq!(offer(&mut positions, 4), [4]);
    assert_eq!(positions.bytes, 0);
}

#[test]
fn what_the_follower_has_handled_is_not_awaited() {
    // The conversation is unknown, and its messages up to 4 were handled.
    let mut positions = Tested::new(point(104, None));
    assert_eq!(offer(&mut positions, 5), [5]);
    // The same, but a transaction with a smaller number was running: it may be that of message 4.
    let mut positions = Tested::new(point(104, Some(90)));
    assert_eq!(offer(&mut positions, 5), NOTHING);
    assert_eq!(positions.overdue(CONV), gap(None, 4));
    // A packet that is very late.
    let mut positions = Tested::new(point(104, None));
    assert_eq!(offer(&mut positions, 4), NOTHING);
    assert_eq!(positions.next(CONV, |_| true), Next::Nothing);
    assert_eq!(positions.begin_reading(CONV), None);
}

#[test]
fn what_is_missing_is_read() {
    let mut positions = Tested::new(point(100, None));
    assert_eq!(offer(&mut positions, 1), [1]);
    positions.offer(place(4), (4, 1, false), Instant::now(), || ());
    assert_eq!(positions.next(CONV, |_| true), Next::Wait(true));
    assert_eq!(positions.next(CONV, |_| true), Next::Wait(false), "it is timed");
    assert_eq!(positions.overdue(CONV), gap(Some(1), 3));
    assert_eq!(positions.overdue(CONV), None, "it is being read");
    // One of them comes meanwhile, and the other was deleted.
    assert_eq!(offer(&mut positions, 2), [2]);
    assert!(!positions.read(CONV, Seq(2), |_| false));
    positions.end_reading(CONV, Seq(3), Instant::now());
    assert_eq!(delivered(&mut positions), [4]);
    assert_eq!(positions.begin_reading(CONV), None);
}

#[test]
fn an_own_message_that_was_read_is_delivered_once() {
    for is_own in [true, false] {
        let mut positions = Tested::new(point(100, None));
        assert_eq!(offer_as(&mut positions, 2, is_own), NOTHING);
        assert_eq!(positions.overdue(CONV), gap(None, 1));
        assert!(positions.read(CONV, Seq(1), |_| is_own));
        // The follower's reading goes further than was asked for.
        assert_eq!(positions.read(CONV, Seq(2), |_| is_own), !is_own);
        assert_eq!(delivered(&mut positions), if is_own { vec![2] } else { vec![] });
        positions.end_reading(CONV, Seq(2), Instant::now());
        assert_eq!(offer(&mut positions, 3), [3]);
    }
}

#[test]
fn the_follower_finds_what_did_not_come() {
    let mut positions = Tested::new(point(100, None));
    let found = |after, through| Stretch {
        conv: CONV,
        after: Seq(after),
        through: Seq(through),
    };
    let now = Instant::now();
    assert_eq!(offer(&mut positions, 1), [1]);
    assert_eq!(positions.found(found(0, 1), now, ()), None);
    assert_eq!(positions.found(found(1, 3), now, ()), gap(Some(1), 3));
    assert_eq!(positions.found(found(3, 4), now, ()), None, "it is being read");
    assert!(positions.read(CONV, Seq(2), |_| false) && positions.read(CONV, Seq(3), |_| false));
    positions.end_reading(CONV, Seq(3), now);
    assert_eq!(delivered(&mut positions), NOTHING);
    assert_eq!(positions.begin_reading(CONV), gap(Some(3), 4));
    // The record cannot be read; later it can.
    positions.failed(CONV);
    assert_eq!(positions.overdue(CONV), gap(Some(3), 4));
    positions.end_reading(CONV, Seq(4), now);
    assert_eq!(positions.begin_reading(CONV), None);
}

#[test]
fn what_does_not_fit_is_read() {
    let mut positions = Tested::new(point(100, None));
    let offer = |positions: &mut Tested, seq, is_own| {
        positions.offer(place(seq), (seq, MOST_HELD, is_own), Instant::now(), || ());
    };
    offer(&mut positions, 2, false);
    offer(&mut positions, 3, false);
    offer(&mut positions, 4, true);
    assert_eq!(positions.next(CONV, |_| true), Next::Wait(true));
    assert_eq!(positions.overdue(CONV), gap(None, 1));
    assert!(positions.read(CONV, Seq(1), |_| false));
    positions.end_reading(CONV, Seq(1), Instant::now());
    assert_eq!(delivered(&mut positions), [2]);
    assert_eq!(positions.overdue(CONV), gap(Some(2), 3));
    assert!(positions.read(CONV, Seq(3), |_| false));
    positions.end_reading(CONV, Seq(3), Instant::now());
    assert_eq!(delivered(&mut positions), [4]);
    assert_eq!(positions.bytes, 0);
}

#[test]
fn a_part_of_several_may_have_been_read() {
    let mut positions = Tested::new(point(100, None));
    let place = Place {
        last: Seq(4),
        ..place(1)
    };
    assert!(
        positions
            .found(
                Stretch {
                    conv: CONV,
                    after: Seq(0),
                    through: Seq(2)
                },
                Instant::now(),
                ()
            )
            .is_some()
    );
    assert!(positions.read(CONV, Seq(1), |_| true) && positions.read(CONV, Seq(2), |_| true));
    positions.end_reading(CONV, Seq(2), Instant::now());
    positions.offer(place, (7, 0, true), Instant::now(), || ());
    assert_eq!(positions.next(CONV, |_| true), Next::Deliver(7, 2));
    assert_eq!(offer(&mut positions, 5), [5]);
}

#[test]
fn conversations_are_forgotten_unless_something_waits() {
    let mut positions = Tested::new(point(100, None));
    let later = Instant::now() + std::time::Duration::from_secs(60);
    assert_eq!(offer(&mut positions, 2), NOTHING);
    positions.set_handled(point(100, None), later);
    assert!(positions.knows(CONV));
    assert_eq!(offer(&mut positions, 1), [1, 2]);
    positions.overdue(CONV);
    positions.set_handled(point(102, None), later);
    assert!(!positions.knows(CONV));
    // It is recognised by its number.
    assert_eq!(offer(&mut positions, 2), NOTHING);
    assert_eq!(offer(&mut positions, 3), [3]);
}
