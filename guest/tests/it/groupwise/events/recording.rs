//! What is recorded, read, removed, cleaned; and what is refused.

use super::*;
use crate::world::{folder, item, moved};

/// Every type of event.
const ALL: &str = "AddressBookAdd AddressBookDelete AddressBookModify AddressBookItemAdd AddressBookItemDelete \
AddressBookItemModify FolderAccept FolderAdd FolderDelete FolderItemAdd FolderItemDelete FolderItemMove FolderModify \
ItemAccept ItemArchive ItemComplete ItemDecline ItemDelete ItemMarkPrivate ItemMarkRead ItemMarkUnread ItemModify \
ItemPurge ItemUnarchive ItemUndelete Login Logout ProxyAccessAdd ProxyAccessModify ProxyAccessDelete ProxyLogin \
SessionTimedOut TrustedApplicationLogin ItemMarkUnprivate ItemUnaccept ItemUncomplete PersonalGroupItemAdd \
PersonalGroupItemDelete UserMoveComplete";

fn altered(flags: (u64, u64), fields: &[&str]) -> Happening {
    let item = Item { flags: flags.1, ..item("inbox", "m1") };
    let fields = fields.iter().map(|field| field.to_string()).collect();
    Happening::ItemModified(ItemAlteration { item, flags_before: Some(flags.0), tags_before: None, fields })
}

fn relocated(before: Folder, after: Folder) -> Happening {
    Happening::FolderMoved(FolderRelocation { before, after })
}

fn person(folder: &str, id: &str) -> Item {
    Item { kind: "contact".into(), ..item(folder, id) }
}

fn visit(kind: &str, by: &str) -> Visit {
    Visit { kind: kind.into(), by: by.into() }
}

#[test]
fn each_change_causes_its_events() {
    let mut site = Site::new();
    assert_eq!(site.configure("k", &definition(ALL, "")), 0);
    let appointment = Item { kind: "appointment".into(), ..item("calendar", "a@1") };
    let access = |kind: &str| Happening::AccessChanged(AccessChange { kind: kind.into(), who: "bob".into() });
    let moved_away = || Happening::ItemDeleted(item("inbox", "m5"));
    let renumbered = ItemRelocation { before: item("inbox", "m5"), after: item("drafts", "m6") };
    let people = || Folder { holds: "contact".into(), ..folder("friends") };
    let renamed = Folder { name: "Post".into(), ..folder("inbox") };
    let expected: Vec<(Happening, &[&str])> = vec![
        (Happening::MessageDelivered(item("inbox", "m1")), &["FolderItemAdd m1 inbox@16<-- - Mail"]),
        (Happening::ItemCreated(appointment), &["FolderItemAdd a%401 calendar@19<-- - Appointment"]),
        (altered((0, 1), &["flags"]), &["ItemMarkRead m1 inbox@16<-- - Mail"]),
        (altered((1, 0), &[]), &["ItemMarkUnread m1 inbox@16<-- - Mail"]),
        (
            altered((0, 64 | 128), &["flags"]),
            &["ItemMarkPrivate m1 inbox@16<-- - Mail", "ItemComplete m1 inbox@16<-- - Mail"],
        ),
        (
            altered((64 | 128, 0), &["flags"]),
            &["ItemMarkUnprivate m1 inbox@16<-- - Mail", "ItemUncomplete m1 inbox@16<-- - Mail"],
        ),
        (altered((0, 256), &[]), &["ItemAccept m1 inbox@16<-- - Mail"]),
        (altered((256, 512), &[]), &["ItemUnaccept m1 inbox@16<-- - Mail", "ItemDecline m1 inbox@16<-- - Mail"]),
        (altered((512, 0), &[]), &["ItemModify m1 inbox@16<-- - Mail"]),
        (altered((0, 4), &["flags"]), &["ItemModify m1 inbox@16<-- - Mail"]),
        (
            altered((0, 1), &["subject", "accept-level"]),
            &["ItemMarkRead m1 inbox@16<-- - Mail", "ItemModify m1 inbox@16<-- AcceptLevel Subject Mail"],
        ),
        (moved(("inbox", "m1"), ("drafts", "m1")), &["FolderItemMove m1 drafts@16<-inbox@16 - Mail"]),
        (moved(("drafts", "m1"), ("trash", "m1")), &["ItemDelete m1 trash@16<-drafts@16 - Mail"]),
        (moved(("trash", "m1"), ("inbox", "m1")), &["ItemUndelete m1 inbox@16<-trash@16 - Mail"]),
        (moved(("inbox", "m1"), ("trash", "m1")), &["ItemDelete m1 trash@16<-inbox@16 - Mail"]),
        (Happening::ItemDeleted(item("trash", "m1")), &["ItemPurge m1 trash@16<-- - Mail"]),
        (
            Happening::ItemDeleted(item("inbox", "m2")),
            &["ItemDelete m2 inbox@16<-- - Mail", "ItemPurge m2 inbox@16<-- - Mail"],
        ),
        (
            Happening::ItemMoved(renumbered),
            &["FolderItemMove m6 drafts@16<-inbox@16 - Mail", "ItemPurge m5 inbox@16<-- - Mail"],
        ),
        (moved_away(), &[]),
        (
            Happening::ItemCopied(ItemRelocation { before: item("inbox", "m3"), after: item("drafts", "m4") }),
            &["FolderItemAdd m4 drafts@16<-- - Mail"],
        ),
        (Happening::ItemCreated(person("people", "p")), &["AddressBookItemAdd p people@5<-- - Contact"]),
        (
            Happening::ItemModified(ItemAlteration {
                item: person("people", "p"),
                tags_before: Some(vec!["t".into()]),
                ..ItemAlteration::default()
            }),
            &["AddressBookItemModify p people@5<-- Category Contact"],
        ),
        (Happening::ItemDeleted(person("people", "p")), &["AddressBookItemDelete p people@5<-- - Contact"]),
        (Happening::FolderCreated(people()), &["AddressBookAdd friends friends@5<-- - -"]),
        (Happening::FolderDeleted(people()), &["AddressBookDelete friends friends@5<-- - -"]),
        (Happening::FolderCreated(folder("lists")), &["FolderAdd lists lists@16<-- - -"]),
        (relocated(folder("inbox"), renamed.clone()), &["FolderModify inbox inbox@16<-- Name -"]),
        (
            relocated(folder("lists"), Folder { parent: "inbox".into(), ..folder("inbox/lists") }),
            &["FolderModify inbox/lists inbox/lists@16<-- Name Parent -", "FolderDelete lists lists@16<-- - -"],
        ),
        (
            Happening::FolderModified(FolderAlteration { folder: renamed, fields: vec!["rights".into()] }),
            &["FolderModify inbox inbox@16<-- Rights -"],
        ),
        (access("added"), &["ProxyAccessAdd - -<-bob - -"]),
        (access("modified"), &["ProxyAccessModify - -<-bob - -"]),
        (access("removed"), &["ProxyAccessDelete - -<-bob - -"]),
        (Happening::VisitBegan(visit("login", "")), &["Login - -<-- - -"]),
        (Happening::VisitBegan(visit("proxy", "bob")), &["ProxyLogin - -<-bob - -"]),
        (Happening::VisitBegan(visit("trusted-application", "app")), &["TrustedApplicationLogin - -<-app - -"]),
        (Happening::VisitEnded(visit("login", "")), &["Logout - -<-- - -"]),
        (Happening::Hinted(vec!["contact".into()]), &["AddressBookModify people people@5<-- - -"]),
        (Happening::Hinted(vec!["task".into()]), &["FolderModify - root@15<-- - -"]),
        (Happening::FreeBusyChanged(item("calendar", "a")), &[]),
        (Happening::AccountUnavailable(Absence::Moved("b".into())), &["UserMoveComplete - -<-- - -"]),
    ];
    for (what, events) in expected {
        let said = format!("{what:?}");
        assert_eq!(site.happens(what).rejections, [], "{said}");
        assert_eq!(site.events("k", "<remove>1</remove>"), events, "{said}");
    }
}

#[test]
fn a_definition_covers_what_it_says() {
    let mut site = Site::new();
    let inbox = "<containers><container>inbox@16</container></containers>";
    let elsewhere = inbox.replace("<containers>", "<containers not=\"1\">");
    for (key, events, rest) in [
        ("in", "FolderItemAdd FolderItemMove Logout", inbox),
        ("out", "FolderItemAdd FolderItemMove", elsewhere.as_str()),
        ("calendar", "FolderItemAdd", "<type>CalendarItem Contact</type>"),
        ("subjects", "ItemModify", "<field>Subject</field>"),
        ("none", "ItemArchive", ""),
    ] {
        assert_eq!(site.configure(key, &definition(events, rest)), 0);
    }
    assert_eq!(site.status(&configuration("off", &definition("FolderItemAdd", "")).replace("\"1\"", "\"0\"")), 0);
    site.happens(Happening::MessageDelivered(item("inbox", "m1")));
    site.happens(Happening::ItemCreated(Item { kind: "task".into(), ..item("drafts", "t1") }));
    site.happens(moved(("inbox", "m1"), ("drafts", "m1")));
    site.happens(altered((0, 0), &["body"]));
    site.happens(altered((0, 0), &["subject", "body"]));
    site.happens(altered((0, 0), &[]));
    site.happens(Happening::VisitEnded(Visit::default()));
    let moved = "FolderItemMove m1 drafts@16<-inbox@16 - Mail";
    assert_eq!(site.events("in", ""), ["FolderItemAdd m1 inbox@16<-- - Mail", moved, "Logout - -<-- - -"]);
    assert_eq!(site.events("out", ""), ["FolderItemAdd t1 drafts@16<-- - Task", moved]);
    assert_eq!(site.events("calendar", ""), ["FolderItemAdd t1 drafts@16<-- - Task"]);
    assert_eq!(
        site.events("subjects", ""),
        ["ItemModify m1 inbox@16<-- MessageBody Subject Mail", "ItemModify m1 inbox@16<-- - Mail",]
    );
    assert_eq!((site.events("none", ""), site.events("off", "")), (vec![], vec![]));
}

#[test]
fn a_configuration_is_given_back_and_removed() {
    let mut site = Site::new();
    // As the client of 2026 sends it.
    let said =
        format!("<persistence>1</persistence>{LISTENER}{}", definition("FolderItemAdd ItemPurge", "<type>Mail</type>"));
    assert_eq!(site.configure("k", &said), 0);
    let get = |key: &str| format!("<getEventConfigurationRequest>{key}</getEventConfigurationRequest>");
    let body = text(&site.ask(&get("<key>k</key>")).replies[0]);
    let expected = "<e:events><e:event enabled=\"1\"><e:key>k</e:key><e:persistence>P1D</e:persistence>\
<e:ipAddress>127.0.0.1</e:ipAddress><e:port>5221</e:port><e:http>0</e:http><e:definition><e:events>\
<e:event>FolderItemAdd</e:event><e:event>ItemPurge</e:event></e:events><e:type>Mail</e:type></e:definition></e:event>\
</e:events>";
    assert!(body.contains(expected), "{body}");

    // One that does not listen may say so by a port of 0.
    let silent = definition("FolderItemAdd", "");
    assert_eq!(site.configure("silent", &format!("<ipAddress/><port>0</port>{silent}")), 0);
    let body = text(&site.ask(&get("<key>silent</key>")).replies[0]);
    assert!(!body.contains("ipAddress") && !body.contains("port>"), "{body}");
    assert_eq!(site.status("<removeEventConfigurationRequest><key>silent</key></removeEventConfigurationRequest>"), 0);

    // To stop it, and to go on, its definition need not be said.
    site.happens(Happening::MessageDelivered(item("inbox", "m1")));
    assert_eq!(site.status("<configureEventsRequest><events><key>k</key></events></configureEventsRequest>"), 0);
    site.happens(Happening::MessageDelivered(item("inbox", "m2")));
    assert_eq!(site.configure("k", ""), 0);
    site.happens(Happening::MessageDelivered(item("inbox", "m3")));
    assert_eq!(site.events("k", "").len(), 2);

    let all = definition(ALL, "");
    assert_eq!(site.configure("all", &all), 0);
    let body = text(&site.ask(&get("")).replies[0]);
    assert_eq!((body.matches("<e:key>").count(), body.matches("<e:event>").count()), (2, 38), "36 are the most");
    assert_eq!(site.status(&get("<key>other</key>")), 53761);
    // The records outlive the configuration.
    let remove = "<removeEventConfigurationRequest><key>k</key></removeEventConfigurationRequest>";
    assert_eq!((site.status(remove), site.status(&get("<key>k</key>"))), (0, 53761));
    assert_eq!(site.events("k", "<remove>true</remove>").len(), 2);
    assert_eq!(site.events("k", ""), ["53761"]);
    assert_eq!(site.status("<cleanEventConfigurationRequest><all>1</all></cleanEventConfigurationRequest>"), 0);
    assert!(!text(&site.ask(&get("")).replies[0]).contains("<e:key>"));
    assert_eq!((site.status(remove), site.world.gauge("groupwise_event_bytes", "")), (0, 0.0));
}

#[test]
fn records_are_chosen_by_time_number_and_count() {
    let mut site = Site::new();
    site.configure("k", &definition("FolderItemAdd", ""));
    for number in 0..300 {
        site.happens(Happening::MessageDelivered(item("inbox", &format!("m{number}"))));
        site.world.now += 1000;
    }
    assert_eq!(site.events("k", "").len(), 256);
    assert_eq!(site.events("k", "<count>-1</count>").len(), 256);
    assert_eq!(site.events("k", "<count>999</count>").len(), 256);
    assert_eq!(site.events("k", "<count>0</count>").len(), 0);
    assert_eq!(site.events("k", "<uid>300</uid>"), ["FolderItemAdd m299 inbox@16<-- - Mail"]);
    let body = text(&site.ask(&get_events("k", "<uid>11</uid><count>3</count>")).replies[0]);
    let first = element(&body, "timeStamp");
    let dates = format!("<from>{first}</from><until>{}</until>", first.replace('Z', "+00:00"));
    assert_eq!(site.events("k", &dates), ["FolderItemAdd m10 inbox@16<-- - Mail"]);
    let remove = format!("<removeEventsRequest><key>k</key><until>{first}</until></removeEventsRequest>");
    assert_eq!(site.status(&remove), 0);
    assert_eq!(site.events("k", "<count>1</count><remove>1</remove>"), ["FolderItemAdd m11 inbox@16<-- - Mail"]);
    assert_eq!(site.events("k", "<count>1</count>"), ["FolderItemAdd m12 inbox@16<-- - Mail"]);
    assert_eq!(site.status("<removeEventsRequest><key>k</key></removeEventsRequest>"), 0);
    assert_eq!(site.events("k", ""), [""; 0]);
}

/// What an answer removes is with nobody else meanwhile, and comes again if the answer does not arrive.
#[test]
fn what_an_answer_removes_ends_when_it_arrives() {
    let mut site = Site::with(&[("groupwise-event-reads-per-account", "2")]);
    site.configure("k", &definition("FolderItemAdd", ""));
    (1..=3).for_each(|number| drop(site.happens(Happening::MessageDelivered(item("inbox", &format!("m{number}"))))));
    let one = get_events("k", "<count>1</count><remove>1</remove>");
    let first = site.ask(&one);
    let second = site.ask(&one);
    assert!(first.replies[0].confirm && short(&text(&second.replies[0])) == ["FolderItemAdd m2 inbox@16<-- - Mail"]);
    assert_eq!(site.world.notify.outstanding().requests, [first.replies[0].to, second.replies[0].to]);
    assert_eq!(site.status(&one), 59921);
    site.reload();
    assert_eq!(site.status(&one), 59921);
    site.settle(&second, 1);
    assert_eq!(site.events("k", ""), ["FolderItemAdd m3 inbox@16<-- - Mail"]);
    site.settle(&first, 0);
    assert_eq!(site.events("k", "<count>1</count>"), ["FolderItemAdd m1 inbox@16<-- - Mail"]);
    let third = site.ask(&one);
    let at = site.world.at();
    site.world.notify.restarted(at, Restart { down_ms: 0, regressed: false });
    assert_eq!(site.world.notify.outstanding().requests, [0; 0]);
    site.settle(&third, 1);
    assert_eq!(site.events("k", "").len(), 2);
    assert_eq!(site.world.gauge("groupwise_refusals", "event_reads"), 2.0);
}

#[test]
fn records_and_keys_end_at_midnight() {
    let mut site = Site::with(&[("groupwise-key-idle-days", "3")]);
    let kept = |days: u32| format!("<persistence>P{days}D</persistence>{}", definition("FolderItemAdd", ""));
    for (key, days) in [("short", 1), ("long", 2), ("none", 20)] {
        assert_eq!(site.configure(key, &kept(days)), 0);
    }
    let to_midnight = DAY - site.world.now % DAY;
    site.happens(Happening::MessageDelivered(item("inbox", "m1")));
    site.world.wait(DAY - 1000);
    site.happens(Happening::MessageDelivered(item("inbox", "m2")));
    site.world.wait(to_midnight + 999);
    assert_eq!(site.events("short", "").len(), 2);
    site.world.wait(1);
    assert_eq!(site.events("short", ""), ["FolderItemAdd m2 inbox@16<-- - Mail"]);
    // Its last record ends so: nobody has read it.
    site.world.wait(DAY);
    assert_eq!(site.events("short", ""), ["53761"]);
    assert_eq!(site.events("long", "").len(), 1);
    site.events("none", "<remove>1</remove>");
    site.world.wait(3 * DAY);
    assert_eq!(site.events("none", ""), [""; 0]);
    site.world.wait(4 * DAY);
    assert_eq!(site.events("none", ""), ["53761"]);
    assert_eq!(
        (site.world.gauge("groupwise_keys", ""), site.world.gauge("groupwise_keys_ended", "unread")),
        (0.0, 3.0)
    );
}

/// Who could not be given every record is told that there is no such key, and configures it anew.
#[test]
fn a_key_whose_records_are_lost_is_gone() {
    let mut site = Site::with(&[("groupwise-events-account-bytes", "4096")]);
    let all = definition("FolderItemAdd", "");
    site.configure("gap", &all);
    site.happens(Happening::MessageDelivered(item("inbox", "m1")));
    site.happens(Happening::Gap);
    assert_eq!(site.events("gap", ""), ["53761"]);
    assert_eq!(site.configure("gap", &all), 0);
    assert_eq!(site.events("gap", ""), [""; 0]);
    site.configure("other", &definition("ItemPurge", ""));
    (0..30).for_each(|number| drop(site.happens(Happening::MessageDelivered(item("inbox", &format!("m{number}"))))));
    site.reload();
    assert_eq!((site.events("gap", ""), site.events("other", "")), (vec!["53761".to_owned()], vec![]));
    let at = site.world.at();
    site.world.notify.restarted(at, Restart { down_ms: 0, regressed: true });
    assert_eq!(site.events("other", ""), ["53761"]);
    assert_eq!(
        (site.world.gauge("groupwise_keys_ended", "gap"), site.world.gauge("groupwise_keys_ended", "full")),
        (2.0, 1.0)
    );
    site.happens(Happening::AccountClosed);
    assert_eq!(site.world.gauge("groupwise_keys", ""), 0.0);
}

#[test]
fn what_is_wrong_is_refused() {
    let mut site = Site::with(&[("groupwise-keys-per-account", "2"), ("groupwise-key-bytes", "256")]);
    let all = definition("FolderItemAdd", "");
    let long = format!("<containers><container>{}</container></containers>", "x".repeat(300));
    for rest in [
        format!("<http>1</http>{all}"),
        format!("<ipAddress>10.0.0.1</ipAddress><port>1</port>{all}"),
        format!("<ipAddress>127.0.0.1</ipAddress><port>0</port>{all}"),
        format!("<ipAddress>127.0.0.1</ipAddress><port>65536</port>{all}"),
        format!("<persistence>P21D</persistence>{all}"),
        format!("<persistence>soon</persistence>{all}"),
        definition("ItemExplode", ""),
        definition("FolderItemAdd", "<type>Letter</type>"),
        definition("FolderItemAdd", "<field>Letter</field>"),
        definition("FolderItemAdd", &long),
        "<definition/>".to_owned(),
    ] {
        assert_eq!(site.configure("k", &rest), 59905, "{rest}");
    }
    assert_eq!(site.configure("", &all), 59905);
    assert_eq!(site.status("<configureEventsRequest/>"), 0);
    assert_eq!((site.configure("a", &all), site.configure("b", &all), site.configure("c", &all)), (0, 0, 53531));
    assert_eq!(site.configure("b", &all), 0);
    for rest in ["<count>-2</count>", "<uid>-1</uid>", "<from>now</from>", "<remove>perhaps</remove>"] {
        assert_eq!(site.events("a", rest), ["59905"], "{rest}");
    }
    assert_eq!((site.events("", ""), site.events("c", "")), (vec!["59905".to_owned()], vec!["53761".to_owned()]));
    assert_eq!(site.status("<cleanEventConfigurationRequest><all>no</all></cleanEventConfigurationRequest>"), 59905);
    assert_eq!(site.world.gauge("groupwise_refusals", "keys"), 1.0);
    assert_eq!(site.world.gauge("groupwise_refusals", "key_bytes"), 1.0);
    let gone = exchange(&mut site.world, &soap("", &get_events("a", "")));
    assert_eq!(status(&text(&gone.replies[0])), 59920);
}

/// A key with its configuration counts for a bound of all accounts together; what replaces one counts for the difference.
#[test]
fn what_all_keys_take_is_bounded() {
    let mut site = Site::with(&[("groupwise-keys-total-bytes", "65536"), ("groupwise-keys-per-account", "1000")]);
    let containers: String =
        (0..50).map(|number| format!("<container>{number}{}@16</container>", "x".repeat(60))).collect();
    let large = definition("FolderItemAdd", &format!("<containers>{containers}</containers>"));
    let small = definition("FolderItemAdd", "");
    let taken = |site: &Site| site.world.gauge("groupwise_key_bytes", "");
    let made = (0..100).take_while(|number| site.configure(&format!("k{number}"), &large) == 0).count();
    assert!((2..10).contains(&made), "{made}");
    assert!(taken(&site) <= 65_536.0, "{}", taken(&site));
    assert_eq!(site.configure("another", &large), 53531);
    assert_eq!(site.configure("k0", &large), 0, "it takes no more than it took");
    assert_eq!(site.configure("k0", &small), 0);
    assert_eq!(site.configure("another", &large), 0, "there is room again");
    let before = taken(&site);
    site.world.notify = crate::world::loaded(&mut site.world);
    assert_eq!(taken(&site), before, "it is counted anew");
    let keys: Vec<_> = (0..made).map(|number| format!("k{number}")).chain(["another".into()]).collect();
    for key in keys {
        assert_eq!(
            site.status(&format!(
                "<removeEventConfigurationRequest><key>{key}</key></removeEventConfigurationRequest>"
            )),
            0
        );
    }
    assert_eq!(taken(&site), 0.0);
}

/// Keys are of accounts: one for which the tenant has no room has none.
#[test]
fn an_account_that_has_no_room_has_no_keys() {
    let mut world = World::empty(&[("accounts", "1"), ("push-allow", "127.0.0.0/8")]);
    world.changes(
        "bob@example.org",
        vec![crate::world::change(crate::world::START, crate::world::delivered("inbox", "m"))],
    );
    let session = log_in(&mut world);
    let mut site = Site { world, session };
    assert_eq!(site.configure("k", &definition("FolderItemAdd", "")), 53531);
    assert_eq!(site.world.gauge("refused", "accounts"), 1.0);
}
