#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

use super::*;
use std::collections::HashSet;

const WIDE: QueueSettings = QueueSettings { waiting_max: 1000, waiting_per_user_max: 100, wait: Duration::from_secs(60) };

fn turn(user: UserId, weight: u32, tokens: u64) -> Turn {
    Turn { run: RunId::random(), user, weight, tokens }
}

fn join(line: &mut Line, user: UserId, weight: u32) -> RunId {
    let turn = turn(user, weight, 1000);
    line.join(turn, &WIDE).expect("room");
    turn.run
}

fn all(line: &mut Line) -> Vec<RunId> {
    std::iter::from_fn(|| line.next()).collect()
}

/// The positions that were told after number `seen`.
fn positions(feed: &Feed, seen: u64) -> Vec<usize> {
    let events = futures_util::FutureExt::now_or_never(feed.after(seen)).unwrap_or_default();
    let position = |event: crate::Event| {
        let EventBody::Queued { position } = event.body else { panic!("{event:?}") };
        position
    };
    events.into_iter().map(position).collect()
}

#[test]
fn who_sends_many_messages_waits_for_their_own() {
    let (ada, bob, eve) = (UserId::random(), UserId::random(), UserId::random());
    let mut line = Line::default();
    let of_ada: Vec<RunId> = (0..3).map(|_| join(&mut line, ada, 1)).collect();
    let (of_bob, of_eve) = (join(&mut line, bob, 1), join(&mut line, eve, 1));
    assert_eq!(all(&mut line), [of_ada[0], of_bob, of_eve, of_ada[1], of_ada[2]]);
    assert!(line.shares.is_empty(), "where nobody waits nothing is remembered");
}

#[test]
fn who_keeps_the_line_full_starves_nobody() {
    let (ada, bob) = (UserId::random(), UserId::random());
    let mut line = Line::default();
    for _ in 0..3 {
        join(&mut line, ada, 1);
    }
    for _ in 0..50 {
        let of_bob = join(&mut line, bob, 1);
        let mut before = 0;
        while line.next().expect("somebody waits") != of_bob {
            before += 1;
            join(&mut line, ada, 1);
        }
        assert!(before <= 1, "{before} of the other's went first");
    }
}

#[test]
fn twice_the_weight_is_twice_the_share_and_long_messages_count_more() {
    let (ada, bob) = (UserId::random(), UserId::random());
    let mut line = Line::default();
    let of_bob: HashSet<RunId> = (0..30).map(|_| join(&mut line, bob, 2)).collect();
    for _ in 0..30 {
        join(&mut line, ada, 1);
    }
    let first: Vec<RunId> = all(&mut line).into_iter().take(30).collect();
    assert_eq!(first.iter().filter(|run| of_bob.contains(run)).count(), 20);

    let mut line = Line::default();
    (0..3).for_each(|_| line.join(turn(ada, 1, 3000), &WIDE).expect("room"));
    let short: Vec<RunId> = (0..3).map(|_| join(&mut line, bob, 1)).collect();
    let order = all(&mut line);
    assert_eq!(order[1..4], short[..], "three short ones for one long one");
    assert_eq!((Turn::tokens_of(""), Turn::tokens_of(&"x".repeat(8000))), (1000, 3000));
}

#[test]
fn room_is_bounded_for_all_and_for_one() {
    let settings = QueueSettings { waiting_max: 4, waiting_per_user_max: 3, wait: Duration::ZERO };
    let (ada, bob) = (UserId::random(), UserId::random());
    let mut line = Line::default();
    (0..3).for_each(|_| line.join(turn(ada, 1, 1), &settings).expect("room"));
    assert_eq!(line.join(turn(ada, 1, 1), &settings), Err(NoRoom::OfUser));
    let last = turn(bob, 1, 1);
    line.join(last, &settings).expect("room");
    assert_eq!(line.join(turn(UserId::random(), 1, 1), &settings), Err(NoRoom::Full));
    assert!(line.leave(last.run) && !line.leave(last.run), "once");
    line.join(turn(bob, u32::MAX, u64::MAX), &settings).expect("room again");
    assert_eq!(all(&mut line).len(), 4);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut line = Line::default();
    let staying = UserId::random();
    for _ in 0..5 * USERS_REMEMBERED_MAX {
        join(&mut line, staying, 1);
        join(&mut line, UserId::random(), 1);
        // So that somebody always waits.
        if line.waiting.len() > 20 {
            line.next();
            line.next();
        }
    }
    assert!(line.shares.len() <= USERS_REMEMBERED_MAX + 30, "{}", line.shares.len());
}

#[tokio::test]
async fn places_are_handed_on_in_order_and_positions_are_told() {
    let queue = Queue::new(1, WIDE);
    let (ada, bob) = (UserId::random(), UserId::random());
    let feeds: Vec<Feed> = (0..4).map(|_| Feed::new()).collect();
    let stop = CancellationToken::new();
    let enter = |user, feed: &Feed| queue.enter(turn(user, 1, 1000), feed).unwrap_or_else(|no_room| panic!("{no_room:?}"));
    let mut first = enter(ada, &feeds[0]);
    first.wait(&stop).await.expect("there is a place");
    let (mut second, third, mut of_bob) = (enter(ada, &feeds[1]), enter(ada, &feeds[2]), enter(bob, &feeds[3]));
    assert_eq!(positions(&feeds[0], 0), Vec::<usize>::new());
    assert_eq!((positions(&feeds[1], 0), positions(&feeds[2], 0), positions(&feeds[3], 0)), (vec![1], vec![2, 3], vec![2]));
    drop(first);
    second.wait(&stop).await.expect("its turn");
    assert_eq!((positions(&feeds[2], 2), positions(&feeds[3], 1)), (vec![2], vec![1]));
    drop(third);
    assert_eq!(queue.waiting(), 1, "who leaves is not waited for");
    drop(second);
    of_bob.wait(&stop).await.expect("the next turn");
    drop(of_bob);
    assert_eq!(queue.state.lock().free, 1, "no place is lost");
}

#[tokio::test]
async fn waiting_ends_by_time_and_by_the_stop_button() {
    let queue = Queue::new(1, QueueSettings { wait: Duration::from_millis(100), ..WIDE });
    let (stop, feed) = (CancellationToken::new(), Feed::new());
    let enter = || queue.enter(turn(UserId::random(), 1, 1000), &feed).unwrap_or_else(|no_room| panic!("{no_room:?}"));
    let (first, mut second, mut third) = (enter(), enter(), enter());
    let begun = std::time::Instant::now();
    assert_eq!(second.wait(&stop).await, Err(Left::Expired));
    assert!(begun.elapsed() >= Duration::from_millis(100));
    // One whose turn comes although it has given up hands the place on.
    drop(first);
    assert_eq!((queue.waiting(), queue.state.lock().free), (1, 0));
    drop(second);
    third.wait(&stop).await.expect("its turn");
    let mut fourth = enter();
    stop.cancel();
    assert_eq!(fourth.wait(&stop).await, Err(Left::Stopped));
    drop((third, fourth));
    assert_eq!((queue.waiting(), queue.state.lock().free), (0, 1));
}

/// Whatever order they come and go in, a place is never given twice and never lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_more_than_the_places_and_none_is_lost() {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    let queue = Queue::new(3, QueueSettings { wait: Duration::from_millis(20), ..WIDE });
    let running = Arc::new(AtomicUsize::new(0));
    let users: Vec<UserId> = (0..10).map(|_| UserId::random()).collect();
    let tasks: Vec<_> = (0..300_usize)
        .map(|number| {
            let (queue, running, user) = (Arc::clone(&queue), Arc::clone(&running), users[number % users.len()]);
            tokio::spawn(async move {
                let (stop, feed) = (CancellationToken::new(), Feed::new());
                let Ok(mut ticket) = queue.enter(turn(user, 1, 1000), &feed) else { return };
                if number % 7 == 0 {
                    stop.cancel();
                }
                if ticket.wait(&stop).await.is_ok() {
                    assert!(running.fetch_add(1, SeqCst) < 3, "more than there are places");
                    tokio::task::yield_now().await;
                    running.fetch_sub(1, SeqCst);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no task panics");
    }
    assert_eq!((queue.waiting(), queue.state.lock().free), (0, 3));
}
