//! WaitSets for all accounts.

use super::*;
use crate::world::delivered;

fn everyone(world: &mut World, who: As) -> String {
    let operation = "<AdminCreateWaitSetRequest xmlns=\"urn:zimbraAdmin\" defTypes=\"m\" allAccounts=\"1\"/>";
    send(world, who, &soap(operation)).body()
}

fn seq(said: &str) -> String {
    said.split(' ').next().expect("a seq").trim_start_matches("seq=").to_owned()
}

#[test]
fn every_account_is_heard_also_later_ones() {
    let mut world = World::new();
    let set = id_of(&everyone(&mut world, ROOT));
    assert!(set.starts_with("AllWaitSet-"));
    assert_eq!(poll(&mut world, ROOT, &set, "0", ""), "seq=0");
    world.happens(delivered("inbox", "m"));
    happens_to(&mut world, BOB, Happening::AccountOpened(account(BOB)));
    let first = poll(&mut world, ROOT, &set, "0", "");
    assert!(first.ends_with(" alice"), "{first}");
    happens_to(&mut world, BOB, delivered("inbox", "m"));
    // Whoever brings another number than the last one is told everything again.
    let both = poll(&mut world, ROOT, &set, "0", "");
    assert!(both.ends_with(" alice bob"), "{both}");
    let parts: Vec<u64> = seq(&both).split('-').map(|part| part.parse().expect("a number")).collect();
    assert!(parts.len() == 4 && parts[0] > 0);
    assert_eq!(poll(&mut world, ROOT, &set, "x", ""), both, "without news, the same number again");
    assert_eq!(poll(&mut world, ROOT, &set, &seq(&both), ""), format!("seq={}", seq(&both)));
    let waiting = block(&mut world, ROOT, &set, &seq(&both), "");
    assert!(waiting.is_parked());
    let said = shorts(&happens_to(&mut world, BOB, delivered("inbox", "m")));
    assert!(said.len() == 1 && said[0].ends_with(" bob"), "{said:?}");
    // Other types are not heard, members cannot be chosen.
    happens_to(&mut world, ALICE, Happening::ItemCreated(of_kind("contact", "inbox", "c")));
    let last = seq(said[0].split_once(' ').expect("a reply").1);
    assert_eq!(poll(&mut world, ROOT, &set, &last, &add(&[ALICE])), format!("seq={last}"));
}

#[test]
fn only_administrators_have_them() {
    let mut world = World::new();
    for who in [USER, As { rank: Rank::DelegatedAdministrator, ..ROOT }] {
        let create = "<CreateWaitSetRequest xmlns=\"urn:zimbraMail\" defTypes=\"m\" allAccounts=\"true\"/>";
        assert_eq!(short(&send(&mut world, who, &soap(create)).body()), "service.PERM_DENIED");
        let set = "AllWaitSet-7b0c3a52-8d1e-4c62-9f0b-1a2b3c4d5e6f";
        assert_eq!(poll(&mut world, who, set, "0", ""), "service.PERM_DENIED");
    }
}

#[test]
fn one_that_ended_is_made_again_from_where_its_client_is() {
    let mut world = World::new();
    let set = "AllWaitSet-7b0c3a52-8d1e-4c62-9f0b-1a2b3c4d5e6f";
    let again = |world: &mut World, seq: &str| {
        short(&send(world, ROOT, &soap(&wait_operation(set, seq, "defTypes=\"m\"", ""))).body())
    };
    assert_eq!(again(&mut world, "0"), "service.PARSE_ERROR");
    assert_eq!(again(&mut world, "1-1-0-1"), "mail.INVALID_COMMIT_ID");
    let first = id_of(&everyone(&mut world, ROOT));
    world.happens(delivered("inbox", "m"));
    let heard = seq(&poll(&mut world, ROOT, &first, "0", ""));
    happens_to(&mut world, BOB, delivered("inbox", "m"));
    assert_eq!(again(&mut world, "1-1-0-1"), "mail.INVALID_COMMIT_ID");
    let future = format!("999999999{heard}");
    assert_eq!(again(&mut world, &future), "service.FAILURE");
    // What is refused makes no set.
    let wrong = wait_operation(set, &heard, "defTypes=\"m\"", "<add><a id='alice@example.org' types='x'/></add>");
    assert_eq!(short(&send(&mut world, ROOT, &soap(&wrong)).body()), "service.INVALID_REQUEST");
    assert_eq!(world.gauge("wait_sets", "all_accounts"), 1.0);
    let said = again(&mut world, &heard);
    assert!(said.ends_with(" bob") && !said.contains("alice"), "{said}");
}

#[test]
fn a_closed_account_is_told_no_more() {
    let mut world = World::new();
    let set = id_of(&everyone(&mut world, ROOT));
    world.happens(delivered("inbox", "m"));
    world.happens(Happening::AccountClosed);
    assert_eq!(poll(&mut world, ROOT, &set, "0", ""), "seq=0");
}
