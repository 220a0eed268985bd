//! What becomes of sets when time passes, hosts restart, accounts come and go.

use super::*;
use crate::world::delivered;

#[test]
fn sets_outlive_restarts_with_what_they_know() {
    let mut world = World::new();
    let set = of_alice(&mut world, "m");
    let waiting = block(&mut world, USER, &set, "0", "");
    world.happens(delivered("inbox", "m"));
    world.now += 3_600_000;
    let at = world.at();
    world.notify.restarted(at, Restart { down_ms: 3_600_000, regressed: false });
    assert_eq!(world.notify.outstanding().requests, []);
    // The answer that was on its way is lost; the client comes back with its last number.
    assert_eq!(poll(&mut world, USER, &set, "0", ""), "seq=3 alice", "{}", waiting.request);
    assert_eq!(poll(&mut world, USER, &set, "3", ""), "seq=3");
}

#[test]
fn a_state_that_lost_changes_has_no_sets() {
    let mut world = World::new();
    let set = of_alice(&mut world, "m");
    world.happens(delivered("inbox", "m"));
    let at = world.at();
    world.notify.restarted(at, Restart { down_ms: 0, regressed: true });
    assert_eq!(poll(&mut world, USER, &set, "0", ""), "admin.NO_SUCH_WAITSET");
    // A token from the time that was lost is behind all that comes.
    let set = create(&mut world, USER, "m", "<add><a id='alice@example.org' token='500'/></add>");
    assert_eq!(poll(&mut world, USER, &set, "0", ""), "seq=2 alice");
}

#[test]
fn who_hangs_up_loses_nothing() {
    let mut world = World::new();
    let set = of_alice(&mut world, "m");
    let waiting = block(&mut world, USER, &set, "0", "");
    assert!(world.settle(waiting.request, 0, Some(End::Gone)).changed);
    assert!(!world.settle(waiting.request, 0, Some(End::Gone)).changed);
    assert_eq!(shorts(&world.happens(delivered("inbox", "m"))), [""; 0]);
    assert_eq!(poll(&mut world, USER, &set, "0", ""), "seq=2 alice");
}

#[test]
fn a_host_that_stops_ends_the_waiting() {
    let mut world = World::new();
    let set = of_alice(&mut world, "m");
    let waiting = block(&mut world, USER, &set, "0", "");
    let at = world.at();
    assert_eq!(shorts(&world.notify.drain(at)), [format!("r{} seq=0", waiting.request)]);
    assert_eq!(poll(&mut world, USER, &set, "0", ""), "seq=0");
}

#[test]
fn sets_that_nobody_uses_end() {
    let mut world = World::new();
    let (set, waited) = (of_alice(&mut world, "m"), of_alice(&mut world, "m"));
    for _ in 0..4 {
        block(&mut world, USER, &waited, "0", "timeout=\"1200\"");
        world.wait(1_200_000);
        world.wait(0);
    }
    assert_eq!(poll(&mut world, USER, &set, "0", ""), "admin.NO_SUCH_WAITSET");
    assert_eq!(poll(&mut world, USER, &waited, "0", ""), "seq=0");
}

#[test]
fn a_deleted_account_is_told_until_that_is_acknowledged() {
    let mut world = World::new();
    let set = create(&mut world, ROOT, "m", &add(&[ALICE, BOB]));
    let waiting = block(&mut world, ROOT, &set, "0", "");
    world.happens(Happening::VisitEnded(Visit::default()));
    let heard = shorts(&world.happens(Happening::AccountClosed));
    assert_eq!(heard, [format!("r{} seq=2 alice:MAILBOX_DELETED", waiting.request)]);
    assert_eq!(poll(&mut world, ROOT, &set, "0", ""), "seq=3 alice:MAILBOX_DELETED");
    assert_eq!(poll(&mut world, ROOT, &set, "3", ""), "seq=3");
    assert_eq!(poll(&mut world, ROOT, &set, "3", &add(&[ALICE])), "seq=3 alice:NO_SUCH_ACCOUNT");
    happens_to(&mut world, BOB, Happening::AccountUnavailable(Absence::Moved(String::new())));
    assert_eq!(poll(&mut world, ROOT, &set, "3", ""), "seq=4 bob:MAILBOX_DELETED");
    happens_to(&mut world, "carol@example.org", Happening::AccountUnavailable(Absence::Maintenance));
    assert_eq!(poll(&mut world, ROOT, &set, "4", &add(&["carol@example.org"])), "seq=4 carol:MAINTENANCE_MODE");
}

#[test]
fn rights_that_end_end_the_membership() {
    let mut world = World::new();
    let delegated = As { rank: Rank::DelegatedAdministrator, login: ALICE, path: "/service/soap" };
    let root = create(&mut world, ROOT, "m", &add(&[ALICE]));
    let own = create(&mut world, delegated, "m", &add(&[ALICE]));
    world.happens(Happening::AccessChanged(AccessChange::default()));
    assert_eq!(poll(&mut world, ROOT, &root, "0", ""), "seq=0");
    assert_eq!(poll(&mut world, delegated, &own, "0", ""), "seq=0");
}
